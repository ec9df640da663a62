"""An audit event on one line for people, and any line in printable ASCII."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from authkit.event_lines import NotAnEvent, event_of_line
from authkit.interfaces import AuditEvent

__all__ = ["event_text", "plain_line", "printable", "shown"]

# Wide enough for every type, outcome and most codes that there are, and for an IPv4 address.
_COLUMNS = "{time:24} {type:21} {outcome:11} {code:22} {subject:20} {address:15} {issuer}"
_MOST_SHOWN = 120
_ODD = re.compile(rb"[^\x20-\x7e]")
# What is no white space to Unicode, but seen as nothing else.
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def event_text(line: bytes) -> str:
    """The event of a line in columns, then what else there is as `name=value`; `-` is nothing.

    No text of the event can act on a terminal, or look like another column.
    """
    try:
        event = event_of_line(line)
    except NotAnEvent as error:
        return f"not an audit event: {error}: {plain_line(line[:_MOST_SHOWN]).decode()}"
    columns = _COLUMNS.format(
        time=_moment(event.time),
        type=shown(event.type),
        outcome=shown(event.outcome),
        code=shown(event.code),
        subject=shown(event.subject),
        address=shown(event.client_address),
        issuer=shown(event.issuer),
    )
    return " ".join([columns, *_rest(event)])


def plain_line(line: bytes) -> bytes:
    r"""The line, if it is in printable ASCII, as every line of authkit's is.

    In any other, each byte that is not stands as `\xNN`: it stays one line, cannot act on a
    terminal, and is no event to anybody who reads it.
    """
    return _ODD.sub(lambda odd: b"\\x%02x" % odd[0][0], line)


def printable(text: str) -> str:
    """The text with nothing in it that a terminal would act on."""
    return "".join(
        one if one.isprintable() and one not in _BLANKS else _escaped(one) for one in text
    )


def shown(value: str | float | None) -> str:
    """A value as `printable`, without white space, and not too long; `-` is None."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else str(value)
    start = text[:_MOST_SHOWN].replace("\\", r"\\")
    word = printable(start).replace(" ", r"\x20") or '""'
    return word if len(text) <= _MOST_SHOWN else f"{word}..."


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")


def _rest(event: AuditEvent) -> list[str]:
    named = (
        ("client_id", event.client_id),
        ("request_id", event.request_id),
        ("trace_id", event.trace_id),
    )
    facts = [(name, value) for name, value in named if value is not None]
    return [f"{shown(name)}={shown(value)}" for name, value in (*facts, *event.data.items())]


def _moment(seconds: float) -> str:
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f}s"[:24]
    return time.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
