"""Reads all audit events that are in the streams, without leaving a trace there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit_redis.audit_streams.keys import MOST_STREAMS, AuditKeys
from authkit_redis.audit_streams.lines import Line, lines_of, merged, moment
from authkit_redis.link import AccessRefused, Link, LinkError, ReplyError

__all__ = ["history"]

_PAGE = 500


async def history(
    link: Link, *, prefix: str = "authkit", timeout_seconds: float = 2.0
) -> AsyncGenerator[list[Line]]:
    """All lines that are there when it begins, oldest first, in batches; page by page.

    What is trimmed before it is read is not among them.

    Args:
        link: to the servers; entered by its owner.
        prefix: as the sinks have it.
        timeout_seconds: of each call.

    Raises:
        ConfigurationError: Redis does not let this user in, or the prefix has no sense.
        BackendUnavailable: Redis does not answer.
    """
    pages = _History(link, AuditKeys(prefix), timeout_seconds)
    try:
        await pages.begin()
        while (lines := await pages.next_lines()) is not None:
            if lines:
                yield lines
    except AccessRefused as refused:
        raise ConfigurationError(f"audit: {refused}") from refused
    except LinkError as error:
        raise BackendUnavailable("audit", str(error)) from error


class _Stream:
    """How far a stream was read."""

    def __init__(self, log: bytes) -> None:
        self.log = log
        self.after = b"0-0"
        self.end = b"0-0"
        self.is_read = True
        self.lines: list[Line] = []


class _History:
    """A page of each stream at a time, of which as much is given as nothing older can follow."""

    def __init__(self, link: Link, keys: AuditKeys, timeout_seconds: float) -> None:
        self._link = link
        self._keys = keys
        self._timeout_seconds = timeout_seconds
        self._streams: list[_Stream] = []

    async def begin(self) -> None:
        """Finds the streams, and where each of them ends now."""
        key = self._keys.registry
        found = await self._call(b"HGET", key, b"streams", key=key)
        if found is not None and not (isinstance(found, bytes) and found.isdigit()):
            raise ReplyError("UNREADABLE")
        number = max(1, min(int(found or b"1"), MOST_STREAMS))
        self._streams = [_Stream(self._keys.log(stream)) for stream in range(number)]
        await asyncio.gather(*map(self._find_end, self._streams))

    async def next_lines(self) -> list[Line] | None:
        """The next lines, which may be none; None at the end."""
        numbered = list(enumerate(self._streams))
        if all(stream.is_read and not stream.lines for stream in self._streams):
            return None
        await asyncio.gather(
            *(self._turn(n, one) for n, one in numbered if not (one.lines or one.is_read))
        )
        bounds = [moment(stream.after) for stream in self._streams if not stream.is_read]
        ready: list[Line] = []
        for stream in self._streams:
            here = [line for line in stream.lines if not bounds or moment(line.id) <= min(bounds)]
            stream.lines = stream.lines[len(here) :]
            ready += here
        return merged(ready)

    async def _find_end(self, stream: _Stream) -> None:
        newest = await self._call(
            *(b"XREVRANGE", stream.log, b"+", b"-", b"COUNT", 1), key=stream.log
        )
        for entry in lines_of(0, newest):
            stream.end = entry.id if isinstance(entry, Line) else entry
            stream.is_read = False

    async def _turn(self, number: int, stream: _Stream) -> None:
        """Reads the next page."""
        start = b"(" + stream.after
        reply = await self._call(
            *(b"XRANGE", stream.log, start, stream.end, b"COUNT", _PAGE), key=stream.log
        )
        page = lines_of(number, reply)
        stream.lines = [line for line in page if isinstance(line, Line)]
        stream.is_read = len(page) < _PAGE
        if page:
            last = page[-1]
            stream.after = last.id if isinstance(last, Line) else last

    async def _call(self, *parts: bytes | int, key: bytes) -> Any:
        return await self._link.call(*parts, timeout_seconds=self._timeout_seconds, key=key)
