"""What a reader gets of an event: its line, and where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from authkit_redis.link import ReplyError

__all__ = ["Line", "lines_of", "merged", "moment"]

_FIELD = b"e"
_ID = re.compile(rb"[0-9]{1,20}-[0-9]{1,20}")


class Line(NamedTuple):
    """One audit event as it is kept.

    Attributes:
        stream: the number of its stream.
        id: of its entry there: the server's milliseconds, a hyphen, a number.
        line: the event as JSON on one line, without an end of line; not yet checked in any way.
    """

    stream: int
    id: bytes
    line: bytes


def lines_of(stream: int, entries: Any) -> list[Line | bytes]:
    """The line of each entry, or only its id where it holds none, or has been deleted.

    Raises:
        ReplyError: with the code UNREADABLE, where these are no entries of a stream.
    """
    if not isinstance(entries, list):
        raise ReplyError("UNREADABLE")
    return [_line_of(stream, entry) for entry in entries]


def _line_of(stream: int, entry: Any) -> Line | bytes:
    if not (isinstance(entry, (list, tuple)) and len(entry) == 2 and _is_id(entry[0])):
        raise ReplyError("UNREADABLE")
    id, parts = entry
    if isinstance(parts, list) and len(parts) == 2 and parts[0] == _FIELD:
        line = parts[1]
        if isinstance(line, bytes):
            return Line(stream, id, line)
    return bytes(id)


def _is_id(id: object) -> bool:
    return isinstance(id, bytes) and _ID.fullmatch(id) is not None


def merged(lines: Iterable[Line]) -> list[Line]:
    """Lines of several streams by when they were written; those of each stream in its order."""
    return sorted(lines, key=lambda line: moment(line.id))


def moment(id: bytes) -> tuple[int, int]:
    """What ids of entries are compared by."""
    milliseconds, _, number = id.partition(b"-")
    return int(milliseconds), int(number)
