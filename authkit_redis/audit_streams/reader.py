"""Reads the audit events of a fleet from all of its streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit_redis.arguments import require_seconds
from authkit_redis.audit_streams.exporting import Batch, Export
from authkit_redis.audit_streams.history import History
from authkit_redis.audit_streams.keys import AuditKeys
from authkit_redis.audit_streams.lines import Line, merged, moment
from authkit_redis.audit_streams.pages import PAGE, START, Pages, id_of
from authkit_redis.link import AccessRefused, Link, LinkError

__all__ = ["AuditReader"]

_log = logging.getLogger("authkit")

_POLLED_EVERY_SECONDS = 0.1
_LOOKED_FOR_STREAMS_EVERY_SECONDS = 1.0
_PAUSE_IN_AN_OUTAGE_SECONDS = 0.5


class AuditReader:
    """Reads what every `RedisAuditSink` of a prefix has written, whatever its `streams`.

    Lines of different streams come about in the order in which they were written; those of one
    producer exactly in it.

    What is longer than any event may be, 1 MiB, is passed over: it is counted, and the logger
    `authkit` tells of it.

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
        self._pages = Pages(link, AuditKeys(prefix), float(timeout_seconds))

    @property
    def oversized_total(self) -> int:
        """Entries that were passed over, each time, because they are too large for an event."""
        return self._pages.oversized_total

    async def latest(self, count: int) -> list[Line]:
        """The newest lines, at most so many, oldest first.

        Raises:
            ConfigurationError: Redis does not let this user in; or `count` is below 1.
            BackendUnavailable: Redis does not answer.
        """
        _require_count(count)
        with _own_errors():
            lines, _ = await self._newest(count)
            return lines

    async def history(self) -> AsyncGenerator[list[Line]]:
        """All lines that are there when it begins, oldest first, in batches; leaves no trace.

        What is trimmed before it is read is not among them.

        Raises:
            ConfigurationError: Redis does not let this user in.
            BackendUnavailable: Redis does not answer.
        """
        history = History(self._pages)
        with _own_errors():
            await history.begin()
        while True:
            with _own_errors():
                lines = await history.next_lines()
            if lines is None:
                return
            if lines:
                yield lines

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
            lines, positions = await self._newest(max(latest, 1))
        for line in lines if latest else ():
            yield line
        loop = asyncio.get_running_loop()
        looked_at, is_out = loop.time(), False
        while True:
            try:
                if loop.time() - looked_at >= _LOOKED_FOR_STREAMS_EVERY_SECONDS:
                    looked_at = loop.time()
                    await self._look(positions)
                pages = await self._following(positions)
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
        count: int = PAGE,
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
            follow: waits for new lines, rather than ending where there are none; an outage only
                holds it up then, and the logger `authkit` tells of it.
            takeover_seconds: what another consumer has not acknowledged for so long is taken over.

        Raises:
            ConfigurationError: Redis does not let this user in, or a value has no sense.
            BackendUnavailable: Redis does not answer; to export again goes on where this ended.
        """
        _require_count(count)
        require_seconds(takeover_seconds=takeover_seconds)
        export = Export(self._pages, group, consumer, count, takeover_seconds)
        handled: Batch | None = None
        is_out = False
        while True:
            try:
                with _own_errors():
                    if handled is not None:
                        await export.acknowledge(handled)
                    handled = None
                    batch = await export.next_batch()
            except BackendUnavailable as error:
                if not follow:
                    raise
                if not is_out:
                    _log.warning("audit in redis: waiting to go on exporting: %s", error)
                is_out = True
                await asyncio.sleep(_PAUSE_IN_AN_OUTAGE_SECONDS)
                # A new one first gets what was given and has not arrived.
                export = Export(self._pages, group, consumer, count, takeover_seconds)
                continue
            is_out = False
            if batch.lines:
                yield batch.lines
            elif batch.is_empty and not follow:
                return
            elif batch.is_empty:
                await asyncio.sleep(_POLLED_EVERY_SECONDS)
            handled = batch

    async def _look(self, positions: dict[int, bytes]) -> None:
        """Adds streams that are new, and goes back where a stream has.

        A server that took over may lack the end of a stream, and its clock may be behind: what it
        adds then comes before the position.
        """
        streams = range(max(await self._pages.streams(), len(positions)))
        ends = await asyncio.gather(*map(self._pages.end, streams))
        for stream, end in zip(streams, ends, strict=True):
            position = positions.setdefault(stream, START)
            if moment(end) < moment(position):
                positions[stream] = end

    async def _newest(self, count: int) -> tuple[list[Line], dict[int, bytes]]:
        """The newest lines of all streams, and where each stream ended."""
        streams = range(await self._pages.streams())
        found = await asyncio.gather(*(self._ending(stream, count) for stream in streams))
        positions = {stream: end for stream, (_, end) in enumerate(found)}
        return merged(line for lines, _ in found for line in lines)[-count:], positions

    async def _ending(self, stream: int, count: int) -> tuple[list[Line], bytes]:
        """The newest lines of a stream, newest first, and the id of its last entry."""
        lines: list[Line] = []
        page = await self._pages.backward(stream, b"+", min(PAGE, count))
        last = id_of(page[0]) if page else START
        while page:
            lines += [entry for entry in page if isinstance(entry, Line)]
            if len(lines) >= count:
                break
            # Whole pages: there may be any number of entries without a line.
            page = await self._pages.backward(stream, b"(" + id_of(page[-1]), PAGE)
        return lines[:count], last

    async def _following(self, positions: dict[int, bytes]) -> list[list[Line | bytes]]:
        """What follows in each stream, whose positions are moved on."""
        pages = await asyncio.gather(
            *(self._pages.forward(stream, after) for stream, after in positions.items())
        )
        for stream, page in zip(positions, pages, strict=True):
            if page:
                positions[stream] = id_of(page[-1])
        return pages


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
