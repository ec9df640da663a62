"""Where the commands of the audit trail write their lines: standard output, or a file."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from authkit.audit.audit_file import AuditFile, PartlyWritten
from authkit.errors import ConfigurationError

__all__ = ["FileOutput", "Output", "StandardOutput"]


class Output(Protocol):
    """Takes lines, each with its end."""

    def write(self, lines: Sequence[bytes]) -> None:
        """Writes them, and returns once they have left this process.

        Raises:
            OSError: not all are known to be written; BrokenPipeError where nobody reads them.
        """
        ...


class StandardOutput:
    """Standard output.

    It writes to the descriptor itself: a buffer of this process would hold lines that count as
    written, and fail once more at the end when nobody reads them.

    Raises:
        ConfigurationError: there is none.
    """

    def __init__(self) -> None:
        # It is None where the process was started with it closed, whatever its type says.
        if cast("object", sys.stdout) is None:
            raise ConfigurationError("there is no standard output")
        self._descriptor = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding
        self._is_file = stat.S_ISREG(os.fstat(self._descriptor).st_mode)

    def write(self, lines: Sequence[bytes]) -> None:
        """Writes the lines; where it is a file, to its disk."""
        rest = memoryview(b"".join(lines))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        if self._is_file:
            os.fsync(self._descriptor)

    def write_texts(self, texts: Sequence[str]) -> None:
        """Writes texts as lines; what has no place in the encoding of a terminal is spelled out."""
        self.write([f"{text}\n".encode(self._encoding, "backslashreplace") for text in texts])


class FileOutput:
    """A file to which whole batches are appended, each to its disk, as a FileAuditSink does it.

    Args:
        path: the file's; it is made where there is none.

    Raises:
        ConfigurationError: it is no file that can be written.
    """

    def __init__(self, path: str) -> None:
        self._file = AuditFile(path, fsync=True)
        try:
            self._file.open()
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error

    def write(self, lines: Sequence[bytes]) -> None:
        """Appends all of the lines, or none of them if that can be helped."""
        try:
            self._file.append(lines)
        except PartlyWritten as error:
            raise cast("OSError", error.__cause__) from None
