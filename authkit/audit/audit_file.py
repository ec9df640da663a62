"""A file of lines to which several processes append whole batches."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import sleep
from typing import Final

from authkit.audit.log_lines import log_lines
from authkit.errors import ConfigurationError
from authkit.event_lines import MAX_LINE_BYTES, NotAnEvent, event_of_line

if sys.platform != "win32":
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

__all__ = ["AuditFile", "PartlyWritten"]

# How every line of an audit event begins.
_BEGINNING: Final = b'{"schema":'
_LOCK_ATTEMPTS: Final = 400
_LOCK_PAUSE_SECONDS: Final = 0.005


class PartlyWritten(Exception):
    """A batch failed, and what it had written could not be taken back; the cause says why.

    Attributes:
        lines: how many whole lines of it are in the file.
    """

    def __init__(self, lines: int) -> None:
        super().__init__()
        self.lines = lines


class AuditFile:
    """The file, opened when it is needed, and anew when another one stands in its place.

    Every method blocks, and all belong to one thread at a time.

    Args:
        path: the file's.
        fsync: whether a batch must have reached the disk.
    """

    def __init__(self, path: str, *, fsync: bool) -> None:
        if sys.platform == "win32":
            raise ConfigurationError("a FileAuditSink needs a POSIX system")
        self._path = path
        self._fsync = fsync
        self._descriptor: int | None = None

    def open(self) -> int:
        """The descriptor of the file that is at the path now; makes it where there is none.

        Raises:
            OSError: it cannot be opened, or is no regular file.
        """
        # The process may go to another directory later.
        self._path = os.path.abspath(self._path)
        if self._descriptor is not None:
            if self._is_in_place(self._descriptor):
                return self._descriptor
            self.close()
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        is_new = False
        try:
            descriptor = os.open(self._path, flags)
        except FileNotFoundError:
            descriptor = os.open(self._path, flags | os.O_CREAT, 0o600)
            is_new = True
        self._descriptor = descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            self.close()
            raise OSError(errno.EINVAL, "Not a regular file")
        if is_new and self._fsync:
            self._sync_directory()
        return descriptor

    def close(self) -> None:
        """Closes the file; it is opened again when it is needed."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def append(self, lines: Sequence[bytes]) -> None:
        """Appends all of the lines, or none of them.

        Raises:
            OSError: none is written.
            PartlyWritten: it cannot be written any more, nor be shortened.
        """
        with self._locked() as descriptor:
            lead = _mend(descriptor, self._path)
            start = os.fstat(descriptor).st_size
            data = lead + b"".join(lines)
            written = 0
            try:
                while written < len(data):
                    written += os.write(descriptor, data[written:] if written else data)
                if self._fsync:
                    os.fsync(descriptor)
            except OSError as error:
                try:
                    os.ftruncate(descriptor, start)
                except OSError:
                    whole = data[len(lead) : written].count(b"\n")
                    raise PartlyWritten(whole) from error
                raise

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, under the lock that all who append hold in turn."""
        _lock(descriptor := self.open())
        # While this one waited, somebody may have renamed the file.
        while not self._is_in_place(descriptor):
            _lock(descriptor := self.open())
        try:
            yield descriptor
        finally:
            flock(descriptor, LOCK_UN)

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _sync_directory(self) -> None:
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _lock(descriptor: int) -> None:
    for _ in range(_LOCK_ATTEMPTS):
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            # Waiting for ever would keep this process from ending when the other one is stopped.
            sleep(_LOCK_PAUSE_SECONDS)
        else:
            return
    raise OSError(errno.EAGAIN, "Another process holds the file's lock")


def _mend(descriptor: int, path: str) -> bytes:
    """Cuts a torn last line off, and returns what has to stand before the next line."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return b""
    start = max(0, size - MAX_LINE_BYTES)
    end = os.pread(descriptor, size - start, start)
    torn = end[end.rfind(b"\n") + 1 :]
    try:
        event_of_line(torn)
    except NotAnEvent:
        # After a crash of the machine there may be zeros where nothing was written yet.
        text = torn.rstrip(b"\0")
        if not (text.startswith(_BEGINNING) or _BEGINNING.startswith(text)):
            raise OSError(errno.EINVAL, "It ends in something that is no audit line") from None
    else:
        return b"\n"
    try:
        os.ftruncate(descriptor, size - len(torn))
    except OSError:
        # A file may be append-only.
        return b"\n"
    log_lines.warning("audit: cut a torn line of %d bytes off %s", len(torn), path)
    return b""
