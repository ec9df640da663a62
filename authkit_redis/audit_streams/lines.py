"""What a reader gets of an event: its line, and where it stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Line", "merged", "moment"]


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


def merged(lines: Iterable[Line]) -> list[Line]:
    """Lines of several streams by when they were written; those of each stream in its order."""
    return sorted(lines, key=lambda line: moment(line.id))


def moment(id: bytes) -> tuple[int, int]:
    """What ids of entries are compared by."""
    milliseconds, _, number = id.partition(b"-")
    return int(milliseconds), int(number)
