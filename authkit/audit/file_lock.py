"""Opens files that others may have a hand in, and locks one that nobody else can open."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from typing import Final

if sys.platform != "win32":
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

__all__ = ["FileLock", "is_in_place", "open_file"]

_LOCK_ATTEMPTS: Final = 400
_LOCK_PAUSE_SECONDS: Final = 0.005


def open_file(path: str) -> tuple[int, bool]:
    """A descriptor to read from and append to, and whether the file is new: its owner's alone.

    Raises:
        OSError: it cannot be opened, is no regular file, or is a symbolic link: whoever may write
            to the directory could have made it, to have another file written to.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
    while True:
        try:
            descriptor, is_new = os.open(path, flags), False
        except FileNotFoundError:
            try:
                descriptor, is_new = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), True
            except FileExistsError:
                # Another process was faster.
                continue
        except OSError as error:
            if os.path.islink(path):
                raise OSError(errno.ELOOP, "Is a symbolic link") from error
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "Not a regular file")
        return descriptor, is_new


def is_in_place(descriptor: int, path: str) -> bool:
    """Whether the open file is the one that is at the path now."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


class FileLock:
    """A lock of the operating system that ends with its process.

    Whoever can open a file, if only to read it, can lock it and keep others from what they do
    under its lock.  So this is the lock of an empty file beside it, which nobody but its owner can
    open, whoever may read the other one.

    Args:
        path: that of the empty file; it is made where it is missing, and stays.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def open(self) -> int:
        """The descriptor of the file that is at the path now.

        Raises:
            OSError: it cannot be opened; the words name the file.
        """
        if self._descriptor is not None:
            if is_in_place(self._descriptor, self._path):
                return self._descriptor
            self.close()
        try:
            self._descriptor, _ = open_file(self._path)
        except OSError as error:
            words = f"{error.strerror} ({os.path.basename(self._path)})"
            raise OSError(error.errno, words) from error
        return self._descriptor

    def close(self) -> None:
        """Closes the file; it is opened again when it is needed."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps every other one out, in this process or another.

        Raises:
            OSError: the file cannot be opened, or somebody else holds the lock for too long.
        """
        _lock(descriptor := self.open())
        # While this one waited, somebody may have removed the file, and another made a new one.
        while not is_in_place(descriptor, self._path):
            _lock(descriptor := self.open())
        try:
            yield
        finally:
            flock(descriptor, LOCK_UN)


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
