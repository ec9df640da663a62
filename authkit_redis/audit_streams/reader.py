"""Reads the audit events of a fleet from all of its streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit_redis.arguments import require_seconds
from authkit_redis.audit_streams.exporting import Export
from authkit_redis.audit_streams.keys import MOST_STREAMS, AuditKeys
from authkit_redis.audit_streams.lines import Line, lines_of, merged, moment
from authkit_redis.link import AccessRefused, Link, LinkError, ReplyError

__all__ = ["AuditReader"]

_log = logging.getLogger("authkit")

_PAGE = 500
_POLLED_EVERY_SECONDS = 0.1
_LOOKED_FOR_STREAMS_EVERY_SECONDS = 1.0
_PAUSE_IN_AN_OUTAGE_SECONDS = 0.5
_START = b"0-0"


class AuditReader:
    """Reads what every `RedisAuditSink` of a prefix has written, whatever its `streams`.

    Lines of different streams come about in the order in which they were written; those of one
    producer exactly in it.

    Args:
        link: to the servers; entered by its owner.
        prefix: as the sinks have it.
        timeout_seconds: of each call.

    Raises:
        ConfigurationError: a value has no sense; the message says which.
    """

    def __init__(
        self, link: Link, *, prefix: str = "authkit", timeout_seconds: float = 2.0
    ) -> None:
        require_seconds(timeout_seconds=timeout_seconds)
        self._link = link
        self._keys = AuditKeys(prefix)
        self._timeout_seconds = float(timeout_seconds)

    async def latest(self, count: int) -> list[Line]:
        """The newest lines, at most so many, oldest first.

        Raises:
            ConfigurationError: Redis does not let this user in; or `count` is below 1.
            BackendUnavailable: Redis does not answer.
        """
        _require_count(count)
        with _own_errors():
            lines, _ = await self._newest(await self._streams(), count)
            return lines

    async def follow(self, *, latest: int = 0) -> AsyncGenerator[Line]:
        """The newest lines, at most `latest`, and then each new one as it comes, without an end.

        Once it has begun, an outage only holds it up; the logger `authkit` tells of it.

        Raises:
            ConfigurationError: Redis does not let this user in; or `latest` is below 0.
            BackendUnavailable: Redis does not answer at the start.
        """
        if type(latest) is not int or latest < 0:
            raise ConfigurationError("latest must be a whole number, 0 or above")
        with _own_errors():
            streams = await self._streams()
            lines, positions = await self._newest(streams, max(latest, 1))
        for line in lines if latest else ():
            yield line
        loop = asyncio.get_running_loop()
        looked_at, is_out = loop.time(), False
        while True:
            try:
                if loop.time() - looked_at >= _LOOKED_FOR_STREAMS_EVERY_SECONDS:
                    looked_at = loop.time()
                    await self._look(positions)
                pages = await self._pages(positions)
            except AccessRefused as refused:
                raise ConfigurationError(f"audit: {refused}") from refused
            except LinkError as error:
                if not is_out:
                    _log.warning("audit in redis: waiting to go on reading: %s", error)
                is_out = True
                await asyncio.sleep(_PAUSE_IN_AN_OUTAGE_SECONDS)
                continue
            is_out = False
            for line in merged(line for page in pages for line in page if isinstance(line, Line)):
                yield line
            if not any(pages):
                await asyncio.sleep(_POLLED_EVERY_SECONDS)

    async def export(
        self,
        group: str,
        consumer: str,
        *,
        count: int = _PAGE,
        follow: bool = False,
        takeover_seconds: float = 60.0,
    ) -> AsyncGenerator[list[Line]]:
        """Every line at least once, oldest first, in batches that are acknowledged one by one.

        A batch is acknowledged when the next one is asked for: who dies while it handles one gets
        it again.  The consumer group is made at the first export, in each stream at its beginning;
        from then on no stream is trimmed past what the group has not acknowledged.

        To keep the order of each producer there must be one consumer at a time, and after a
        restart it must have the same name.  With several, each gets a part of the lines.

        Args:
            group: names the export; each group gets every line.
            consumer: names who exports; one that comes back under its name first gets again what
                it has not acknowledged.
            count: lines in a batch, at most.
            follow: waits for new lines, rather than ending where there are none.
            takeover_seconds: what another consumer has not acknowledged for so long is taken over.

        Raises:
            ConfigurationError: Redis does not let this user in, or a value has no sense.
            BackendUnavailable: Redis does not answer; to export again goes on where this ended.
        """
        _require_count(count)
        require_seconds(takeover_seconds=takeover_seconds)
        export = Export(
            self._link, self._keys, group, consumer, count, takeover_seconds, self._timeout_seconds
        )
        while True:
            with _own_errors():
                batch = await export.next_batch(await self._streams())
            if batch.lines:
                yield batch.lines
            elif not batch.is_empty or follow:
                await asyncio.sleep(0 if not batch.is_empty else _POLLED_EVERY_SECONDS)
            else:
                return
            with _own_errors():
                await export.acknowledge(batch)

    async def _streams(self) -> int:
        """How many streams there may be; at least one.

        Raises:
            LinkError: the server did not answer, or not with a number.
        """
        key = self._keys.registry
        found = await self._call(b"HGET", key, b"streams", key=key)
        if found is None:
            return 1
        if not (isinstance(found, bytes) and found.isdigit() and len(found) <= 4):
            raise ReplyError("UNREADABLE")
        return max(1, min(int(found), MOST_STREAMS))

    async def _look(self, positions: dict[int, bytes]) -> None:
        """Adds streams that are new, and goes back where a stream has.

        A server that took over may lack the end of a stream, and its clock may be behind: what it
        adds then comes before the position.
        """
        streams = max(await self._streams(), len(positions))
        _, ends = await self._newest(streams, 1)
        for stream, end in ends.items():
            position = positions.setdefault(stream, _START)
            if moment(end) < moment(position):
                positions[stream] = end

    async def _newest(self, streams: int, count: int) -> tuple[list[Line], dict[int, bytes]]:
        """The newest lines of all streams, and where each stream ended."""
        found = await asyncio.gather(*(self._ending(stream, count) for stream in range(streams)))
        positions = {stream: end for stream, (_, end) in enumerate(found)}
        return merged(line for lines, _ in found for line in lines)[-count:], positions

    async def _ending(self, stream: int, count: int) -> tuple[list[Line], bytes]:
        """The newest lines of a stream, newest first, and the id of its last entry."""
        lines: list[Line] = []
        log, end, last = self._keys.log(stream), b"+", _START
        while len(lines) < count:
            wanted = min(_PAGE, count - len(lines))
            reply = await self._call(b"XREVRANGE", log, end, b"-", b"COUNT", wanted, key=log)
            page = lines_of(stream, reply)
            if page and end == b"+":
                last = _id_of(page[0])
            lines += [line for line in page if isinstance(line, Line)]
            if len(page) < wanted:
                break
            end = b"(" + _id_of(page[-1])
        return lines, last

    async def _pages(self, positions: dict[int, bytes]) -> list[list[Line | bytes]]:
        """What follows in each stream, whose positions are moved on."""
        pages = await asyncio.gather(
            *(self._page(stream, after) for stream, after in positions.items())
        )
        for stream, page in zip(positions, pages, strict=True):
            if page:
                positions[stream] = _id_of(page[-1])
        return pages

    async def _page(self, stream: int, after: bytes) -> list[Line | bytes]:
        log = self._keys.log(stream)
        start = b"(" + after
        reply = await self._call(b"XRANGE", log, start, b"+", b"COUNT", _PAGE, key=log)
        return lines_of(stream, reply)

    async def _call(self, *parts: bytes | int, key: bytes) -> Any:
        return await self._link.call(*parts, timeout_seconds=self._timeout_seconds, key=key)


def _id_of(line: Line | bytes) -> bytes:
    return line.id if isinstance(line, Line) else line


def _require_count(count: int) -> None:
    if type(count) is not int or count < 1:
        raise ConfigurationError("count must be a whole number above 0")


@contextmanager
def _own_errors() -> Iterator[None]:
    try:
        yield
    except AccessRefused as refused:
        raise ConfigurationError(f"audit: {refused}") from refused
    except LinkError as error:
        raise BackendUnavailable("audit", str(error)) from error
