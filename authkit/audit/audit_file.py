"""A file of lines to which several processes append whole batches."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Final

from authkit.audit.file_lock import FileLock, is_in_place, open_file
from authkit.audit.log_lines import log_lines
from authkit.errors import ConfigurationError
from authkit.event_lines import MAX_LINE_BYTES, NotAnEvent, event_of_line

__all__ = ["AuditFile", "PartlyWritten"]

# How every line of an audit event begins.
_BEGINNING: Final = b'{"schema":'
_OTHERS_MAY_WRITE: Final = 0o022


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
        self._lock = FileLock(f"{path}.lock")
        self._descriptor: int | None = None

    def open(self) -> int:
        """The descriptor of the file that is at the path now; makes it where there is none.

        Raises:
            OSError: it cannot be opened, or is no regular file, or its lock cannot be.
        """
        if self._descriptor is not None:
            if is_in_place(self._descriptor, self._path):
                return self._descriptor
            self._close()
        elif not os.path.isabs(self._path):
            # The process may go to another directory later.
            self._path = os.path.abspath(self._path)
            self._lock = FileLock(f"{self._path}.lock")
        self._descriptor, is_new = open_file(self._path)
        try:
            self._lock.open()
        except OSError:
            self._close()
            raise
        if os.fstat(self._descriptor).st_mode & _OTHERS_MAY_WRITE:
            log_lines.warning("audit: others than its owner may write to %s", self._path)
        if is_new and self._fsync:
            self._sync_directory()
        return self._descriptor

    def close(self) -> None:
        """Closes the file; it is opened again when it is needed."""
        self._close()
        self._lock.close()

    def append(self, lines: Sequence[bytes]) -> None:
        """Appends all of the lines, or none of them.

        Raises:
            OSError: none is written.
            PartlyWritten: it cannot be written any more, nor be shortened.
        """
        with self._lock.held():
            descriptor = self.open()
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

    def _close(self) -> None:
        """Without the lock, which may be held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _sync_directory(self) -> None:
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _mend(descriptor: int, path: str) -> bytes:
    """Cuts a torn last line off, and returns what has to stand before the next line."""
    status = os.fstat(descriptor)
    size = status.st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return b""
    end = _end_of_text(descriptor, size)
    start = max(0, end - MAX_LINE_BYTES)
    last = os.pread(descriptor, end - start, start)
    last = last[last.rfind(b"\n") + 1 :]
    is_whole = _is_event(last)
    if not (is_whole or _may_begin_a_line(last)) or not _is_audit_file(descriptor):
        raise OSError(errno.EINVAL, "It ends in something that is no audit line")
    kept = end if is_whole else end - len(last)
    # What another user has written is not ours to cut.
    if kept == size or status.st_uid != os.geteuid():
        return b"\n"
    try:
        os.ftruncate(descriptor, kept)
    except OSError:
        # A file may be append-only.
        return b"\n"
    log_lines.warning("audit: cut a torn line of %d bytes off %s", size - kept, path)
    return b"\n" if is_whole else b""


def _end_of_text(descriptor: int, size: int) -> int:
    """Where the zeros begin that a crash of the machine leaves where nothing was written yet."""
    end = size
    while end:
        start = max(0, end - MAX_LINE_BYTES)
        text = os.pread(descriptor, end - start, start).rstrip(b"\0")
        if text:
            return start + len(text)
        end = start
    return 0


def _is_event(line: bytes) -> bool:
    try:
        event_of_line(line)
    except NotAnEvent:
        return False
    return True


def _may_begin_a_line(text: bytes) -> bool:
    return text.startswith(_BEGINNING) or _BEGINNING.startswith(text)


def _is_audit_file(descriptor: int) -> bool:
    """Nothing is cut off a file that does not begin as ours do, whatever it ends in."""
    return _may_begin_a_line(os.pread(descriptor, len(_BEGINNING), 0).rstrip(b"\0"))
