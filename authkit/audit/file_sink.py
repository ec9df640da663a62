"""Audit events as JSON lines in a file that several processes may share."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, cast

from authkit.audit.audit_file import AuditFile, PartlyWritten
from authkit.audit.lifetime import Reentrant
from authkit.audit.one_thread import OneThread
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.event_lines import json_line
from authkit.interfaces import AuditEvent, AuditSink

__all__ = ["FileAuditSink"]

T = TypeVar("T")

_Batch = tuple[tuple[str, int], ...]

# One trail has one batch under way; a few more, in case several trails share the sink.
_MAX_UNFINISHED: Final = 16
# Somebody has to do something about these; waiting changes nothing.
_UNUSABLE: Final = frozenset(
    {
        errno.EACCES,
        errno.EISDIR,
        errno.ELOOP,
        errno.EINVAL,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


class FileAuditSink(Reentrant):
    """Appends each event to a file as one line of JSON, in ASCII.

    A batch stands in the file whole, or not at all: what a failed write has left is taken back
    before it raises.  A line that a crash has torn is cut off by the next process that writes.
    A batch that is given again after a failure or a cancellation is not written twice.

    Several processes of one user may share the file: each batch is written under a lock of the
    operating system (`flock`), which ends with its process.  It is that of an empty file beside
    it, named with `.lock` behind, which nobody else can open: so whoever may only read the trail
    cannot keep it from being written.  The file may be rotated by renaming it; the next batch then
    makes a new one, which its owner alone can read and write.

    A symbolic link is not followed, and what another user owns is appended to, but never cut.

    Files block, so each batch is written in a thread, one batch at a time.

    Entered, it opens the file, and makes it where it is missing.  It works on POSIX systems.

    Args:
        path: the file's.
        fsync: has each batch reach the disk before it counts as written.  Without it a crash of the
            machine, though not of the process, can lose what the system had not written yet.

    Raises:
        ConfigurationError: the path is none; on entering, it is not that of a file that can be
            written, or there is no such directory, or the file of the lock cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool = True) -> None:
        super().__init__()
        text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
        if not isinstance(text, str) or not text or "\0" in text:
            raise ConfigurationError("path must be that of a file, as a str or a pathlib.Path")
        self._path = text
        self._file = AuditFile(self._path, fsync=fsync)
        self._thread = OneThread()
        # Batches whose write has not returned, with the lines of each that are in the file.
        self._unfinished: dict[_Batch, int] = {}

    async def write(self, events: Sequence[AuditEvent]) -> None:
        """Writes the batch, unless an earlier write that did not return has written it.

        Raises:
            BackendUnavailable: the file cannot be written, or another process holds its lock.
        """
        events = tuple(events)
        batch = tuple([(event.producer, event.sequence) for event in events])
        await self._in_thread(lambda: self._append(batch, events))
        self._unfinished.pop(batch, None)

    async def _open(self) -> None:
        try:
            await self._in_thread(self._file.open)
        except BackendUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _UNUSABLE:
                message = f"the audit trail cannot be written to {self._path}: {_words(cause)}"
                raise ConfigurationError(message) from cause
            raise

    async def _close(self) -> None:
        await self._in_thread(self._file.close)

    async def _in_thread(self, act: Callable[[], T]) -> T:
        try:
            return await self._thread.run(act)
        except OSError as error:
            raise BackendUnavailable("audit", f"{self._path}: {_words(error)}") from error

    def _append(self, batch: _Batch, events: tuple[AuditEvent, ...]) -> None:
        """In the thread: writes those lines of the batch that are not in the file."""
        done = self._unfinished.pop(batch, 0)
        try:
            self._file.append([f"{json_line(event)}\n".encode() for event in events[done:]])
            done = len(events)
        except PartlyWritten as error:
            done += error.lines
            raise cast("OSError", error.__cause__) from None
        finally:
            # Known until the write returns: one that is cancelled goes on here.
            self._unfinished[batch] = done
            if len(self._unfinished) > _MAX_UNFINISHED:
                del self._unfinished[next(iter(self._unfinished))]


def _words(error: OSError) -> str:
    return error.strerror or type(error).__name__


_: type[AuditSink] = FileAuditSink
