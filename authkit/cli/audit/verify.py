"""`authkit audit verify`: whether an exported audit trail is whole, and as it was written."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final, cast

import typer

from authkit.audit.findings import AuditFault, VerificationReport
from authkit.audit.verification import ChainVerification, read_anchors
from authkit.cli.audit.endings import FAILED, MISUSED, ending, say
from authkit.cli.audit.event_text import printable
from authkit.cli.audit.finding import (
    fault_line,
    reaches,
    report_line,
    report_text,
    unproven_text,
)
from authkit.cli.audit.output import StandardOutput
from authkit.errors import ConfigurationError
from authkit.event_lines import MAX_LINE_BYTES
from authkit.interfaces import AuditEvent

__all__ = ["verify"]

_NAME = "verify"
_LEAST_KEY_BYTES: Final = 32
_MOST_KEY_BYTES: Final = 64

_File = Annotated[
    str, typer.Argument(metavar="FILE", help="The trail, a line an event; - is standard input.")
]
_KeyFile = Annotated[
    str, typer.Option(metavar="FILE", help="What holds the key of the chain, 32 to 64 bytes.")
]
_Anchor = Annotated[
    str | None,
    typer.Option(
        "--anchor",
        metavar="FILE",
        help="Anchors that were kept elsewhere: the trail must reach them.",
    ),
]
_Trimmed = Annotated[
    bool, typer.Option("--trimmed", help="Older events were removed on purpose, as Redis does.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print the finding as one line of JSON.")]


def verify(
    file: _File,
    key_file: _KeyFile,
    anchor_file: _Anchor = None,
    is_trimmed: _Trimmed = False,
    is_json: _Json = False,
) -> None:
    """Check that an exported audit trail is whole, and as it was written.

    It stops at the first event that was changed, left out, added or put elsewhere, and names it
    by its line, producer and sequence. Events that were cut off at the end show only against
    anchors that were kept elsewhere, where an AuditTrail's anchor_sink has put them: give them
    with --anchor.

    The key is the bytes of its file as they are, without one newline at the end.

    Exits with 0 when nothing is wrong; with 1 at the first fault; with 2 when nothing can be
    said: there is no event, or none that the key proves, a file cannot be read, or the key has not
    32 to 64 bytes; with 130 when it is interrupted.
    """
    with ending(_NAME, when_nobody_reads=MISUSED):
        output = StandardOutput()
        key = _key(key_file)
        try:
            anchors = [] if anchor_file is None else _anchors(anchor_file, key)
            report = _report(file, key, anchors, is_trimmed=is_trimmed)
        except AuditFault as fault:
            if is_json:
                _print(output, fault_line(fault))
            say(_NAME, f"{fault.kind}: {printable(fault.message)}")
            raise typer.Exit(FAILED) from fault
        anchored = reaches(anchors)
        _print(output, (report_line if is_json else report_text)(report, anchored))
        if report.unproven:
            say(_NAME, unproven_text(report))
        if anchor_file is None:
            say(
                _NAME,
                "no --anchor was given: if events were cut off at the end, or all events of a "
                "producer, this cannot be seen",
            )


def _key(file: str) -> bytes:
    """The key of the chain.

    Raises:
        ConfigurationError: it cannot be read, or is too short or too long; it is not quoted.
    """
    try:
        with Path(file).open("rb") as opened:
            # One byte more than a key and a newline: enough to see that it is no key.
            key = opened.read(_MOST_KEY_BYTES + 2)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    if len(key) > _LEAST_KEY_BYTES:
        key = key.removesuffix(b"\n")
    if not _LEAST_KEY_BYTES <= len(key) <= _MOST_KEY_BYTES:
        raise ConfigurationError(
            f"{file} holds no key of a chain, which has {_LEAST_KEY_BYTES} to {_MOST_KEY_BYTES} "
            "bytes"
        )
    return key


def _anchors(file: str, key: bytes) -> list[AuditEvent]:
    """The anchors of a file.

    Raises:
        ConfigurationError: it cannot be read, or there is none.
        AuditFault: one does not fit the key, or a line is no event.
    """
    with _opened(file) as lines:
        anchors = read_anchors(lines, key)
    if not anchors:
        raise ConfigurationError(f"there is no anchor in {file}")
    return anchors


def _report(
    file: str, key: bytes, anchors: list[AuditEvent], *, is_trimmed: bool
) -> VerificationReport:
    """What is found of a trail in which nothing is wrong.

    Raises:
        ConfigurationError: it cannot be read, or has no event that the key proves.
        AuditFault: something is wrong with it.
    """
    verification = ChainVerification(key, anchors=anchors, is_trimmed=is_trimmed)
    with _opened(file) as lines:
        for line in lines:
            verification.feed(line)
    report = verification.finish()
    if not report.producers:
        # As where what should have come through a pipe did not.
        raise ConfigurationError(f"there is no event in {_named(file)}")
    if len(report.unproven) == len(report.producers):
        raise ConfigurationError(f"nothing proves any event in {_named(file)}: each stands alone")
    return report


@contextmanager
def _opened(file: str) -> Iterator[Iterator[bytes]]:
    """The lines of a file, or of standard input.

    Raises:
        ConfigurationError: it cannot be read.
    """
    if file == "-":
        # It is None where the process was started with it closed, whatever its type says.
        if cast("object", sys.stdin) is None:
            raise ConfigurationError("there is no standard input")
        yield _lines(sys.stdin.buffer, file)
        return
    try:
        opened = Path(file).open("rb")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    with opened:
        yield _lines(opened, file)


def _lines(opened: BinaryIO, file: str) -> Iterator[bytes]:
    try:
        # What is longer is no event, and must not fill the memory.
        while line := opened.readline(MAX_LINE_BYTES + 1):
            yield line
    except OSError as error:
        raise ConfigurationError(f"{_named(file)} cannot be read: {error.strerror}") from error


def _named(file: str) -> str:
    return "standard input" if file == "-" else file


def _print(output: StandardOutput, finding: str) -> None:
    """Writes what was found.

    Raises:
        ConfigurationError: it cannot be written; a code that means a fault would be a lie.
    """
    try:
        output.write_texts([finding])
    except OSError as error:
        raise ConfigurationError(f"the output cannot be written: {error.strerror}") from error
