"""Reads all audit events that are in the streams, in the order in which they were written."""

from __future__ import annotations

import asyncio

from authkit_redis.audit_streams.lines import Line, merged, moment
from authkit_redis.audit_streams.pages import START, Pages, id_of

__all__ = ["History"]


class History:
    """A page of each stream at a time, of which as much is given as nothing older can follow.

    Args:
        pages: of the streams.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._streams: list[_Stream] = []

    async def begin(self) -> None:
        """Finds the streams, and where each of them ends now.

        Raises:
            LinkError: the server did not answer.
        """
        numbers = range(await self._pages.streams())
        ends = await asyncio.gather(*map(self._pages.end, numbers))
        self._streams = [_Stream(number, end) for number, end in zip(numbers, ends, strict=True)]

    async def next_lines(self) -> list[Line] | None:
        """The next lines, which may be none; None at the end.

        Raises:
            LinkError: the server did not answer.
        """
        if all(stream.is_read and not stream.lines for stream in self._streams):
            return None
        await asyncio.gather(
            *(self._turn(one) for one in self._streams if not (one.lines or one.is_read))
        )
        bounds = [moment(stream.after) for stream in self._streams if not stream.is_read]
        ready: list[Line] = []
        for stream in self._streams:
            here = [line for line in stream.lines if not bounds or moment(line.id) <= min(bounds)]
            stream.lines = stream.lines[len(here) :]
            ready += here
        return merged(ready)

    async def _turn(self, stream: _Stream) -> None:
        """Reads the next page."""
        page = await self._pages.forward(stream.number, stream.after, stream.end)
        stream.lines = [entry for entry in page if isinstance(entry, Line)]
        if page:
            stream.after = id_of(page[-1])
        stream.is_read = not page or stream.after == stream.end


class _Stream:
    """How far a stream was read."""

    def __init__(self, number: int, end: bytes) -> None:
        self.number = number
        self.after = START
        self.end = end
        self.is_read = end == START
        self.lines: list[Line] = []
