"""Reads the streams as a consumer of a group, so that nothing is passed over."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from authkit.errors import ConfigurationError
from authkit_redis.audit_streams.lines import Line, merged
from authkit_redis.audit_streams.pages import START, Pages, id_of
from authkit_redis.link import ReplyError

__all__ = ["Batch", "Export"]

_MOST_IN_A_NAME = 256


class Batch(NamedTuple):
    """What was read at once.

    Attributes:
        lines: of all streams, oldest first.
        ids: of all entries by stream, also of those that hold no line any more.
    """

    lines: list[Line]
    ids: dict[int, list[bytes]]

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to read."""
        return not self.ids


class Export:
    """One consumer of a group.

    It first reads again what it was given and has not acknowledged, then takes over what others
    have left, and then reads what is new.

    Args:
        pages: of the streams.
        group: of consumers.
        consumer: this one.
        count: how much is read at once, at most.
        takeover_seconds: for how long others must have left something.

    Raises:
        ConfigurationError: a name is empty or too long.
    """

    def __init__(
        self,
        pages: Pages,
        group: str,
        consumer: str,
        count: int,
        takeover_seconds: float,
    ) -> None:
        self._pages = pages
        self._group = _name("group", group)
        self._consumer = _name("consumer", consumer)
        self._count = count
        self._takeover_seconds = takeover_seconds
        self._joined: set[int] = set()
        self._own: set[int] = set()
        self._unmade: set[int] = set()
        self._taken_over_at: dict[int, float] = {}

    async def next_batch(self) -> Batch:
        """What comes next; each stream that has something gives a part of it.

        Raises:
            LinkError: it is not known what this consumer was given; it gets it again.
        """
        numbers = range(await self._pages.streams())
        share = max(1, self._count // len(numbers))
        pages = await asyncio.gather(*(self._read(stream, share) for stream in numbers))
        ids = {
            stream: [id_of(entry) for entry in page]
            for stream, page in zip(numbers, pages, strict=True)
            if page
        }
        return Batch(merged(line for page in pages for line in page if isinstance(line, Line)), ids)

    async def acknowledge(self, batch: Batch) -> None:
        """Says that a batch was handled.

        Raises:
            LinkError: what has not been acknowledged comes again.
        """
        for stream, ids in batch.ids.items():
            log = self._pages.keys.log(stream)
            if type(await self._pages.call(b"XACK", log, self._group, *ids, key=log)) is not int:
                raise ReplyError("UNREADABLE")

    async def _read(self, stream: int, count: int) -> list[Line | bytes]:
        try:
            if stream not in self._joined and not await self._join(stream):
                return []
            if stream in self._own:
                page = await self._given(stream, count, START)
                if page:
                    return page
                self._own.discard(stream)
            if await self._take_over(stream, count):
                page = await self._given(stream, count, START)
                if page:
                    return page
            return await self._given(stream, count, b">")
        except ReplyError as error:
            if error.code != "NOGROUP":
                raise
            if stream in self._unmade:
                raise ReplyError("OOM") from error
            # The stream was lost, or the group was destroyed; it is made anew the next time.
            self._joined.discard(stream)
            return []

    async def _join(self, stream: int) -> bool:
        """Makes the group unless it is there; whether the stream is."""
        log = self._pages.keys.log(stream)
        if not await self._pages.call(b"EXISTS", log, key=log):
            return False
        try:
            await self._pages.call(b"XGROUP", b"CREATE", log, self._group, b"0", key=log)
        except ReplyError as error:
            # A full Redis makes no group; one that is there already goes on, and makes room.
            if error.code == "OOM":
                self._unmade.add(stream)
            elif error.code != "BUSYGROUP":
                raise
        self._joined.add(stream)
        self._own.add(stream)
        return True

    async def _given(self, stream: int, count: int, after: bytes) -> list[Line | bytes]:
        return await self._pages.given(stream, count, self._group, self._consumer, after)

    async def _take_over(self, stream: int, count: int) -> bool:
        """Whether there is something from others who have left it; looked for now and then."""
        now = asyncio.get_running_loop().time()
        looked_at = self._taken_over_at.get(stream)
        if looked_at is not None and now - looked_at < self._takeover_seconds / 2:
            return False
        log, cursor = self._pages.keys.log(stream), START
        who = (self._group, self._consumer, round(self._takeover_seconds * 1000))
        while True:
            reply = await self._pages.call(
                *(b"XAUTOCLAIM", log, *who, cursor, b"COUNT", count, b"JUSTID"), key=log
            )
            if not (isinstance(reply, list) and len(reply) >= 2 and isinstance(reply[0], bytes)):
                raise ReplyError("UNREADABLE")
            if reply[1]:
                self._own.add(stream)
                return True
            cursor = reply[0]
            if cursor == START:
                self._taken_over_at[stream] = now
                return False


def _name(what: str, name: object) -> bytes:
    if not isinstance(name, str) or not 0 < len(name) <= _MOST_IN_A_NAME:
        raise ConfigurationError(f"{what} must be a text of 1 to {_MOST_IN_A_NAME} characters")
    return name.encode("utf-8", "surrogatepass")
