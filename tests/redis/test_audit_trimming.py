"""The audit streams are kept to their size, but nothing goes that a consumer group still needs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from authkit.errors import BackendUnavailable
from authkit.testing.clock import ManualClock
from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.link import open_link
from tests.redis.audit_events import LOG, PREFIX, kept, made, opened
from tests.redis.proxy import Proxy
from tests.redis.servers import RedisServer
from tests.redis.stores import until

pytestmark = pytest.mark.anyio

MOST = 500


@asynccontextmanager
async def unentered(url: str, **options: Any) -> AsyncIterator[RedisAuditSink]:
    """A sink that nobody has entered: what is to be trimmed is when a batch is written."""
    async with open_link(url) as link:
        yield RedisAuditSink(link, prefix=PREFIX, **options)


class Writing:
    """Writes batch after batch to one sink, seconds apart."""

    def __init__(self, sink: RedisAuditSink, clock: ManualClock) -> None:
        self.sink = sink
        self.clock = clock
        self.last = 0

    async def more(self, batches: int = 10) -> None:
        for _ in range(batches):
            self.clock.advance(1.0)
            await self.sink.write(made(self.last + 1, self.last + 200))
            self.last += 200


def oldest(server: RedisServer) -> int:
    return kept(server)[0]


async def test_a_stream_keeps_about_its_most_events(redis_server: RedisServer) -> None:
    """Never fewer than `max_events`, and not many more."""
    clock = ManualClock()
    async with unentered(redis_server.url, max_events=MOST, clock=clock) as sink:
        writing = Writing(sink, clock)
        await writing.more()
        assert MOST <= redis_server.command("XLEN", LOG) <= MOST + 200
        assert kept(redis_server)[-1] == writing.last
        stats = sink.stats()
        assert stats["stream_length"] == redis_server.command("XLEN", LOG)
        assert stats["trimmed_total"] == writing.last - stats["stream_length"]


async def test_trimming_is_at_most_once_a_second(redis_server: RedisServer) -> None:
    """However many batches there are."""
    clock = ManualClock()
    async with unentered(redis_server.url, max_events=1, clock=clock) as sink:
        await sink.write(made(1, 200))
        trimmed = sink.stats()["trimmed_total"]
        for first in range(201, 2_001, 200):
            await sink.write(made(first, first + 199))
        assert sink.stats()["trimmed_total"] == trimmed
        clock.advance(1.0)
        await sink.write(made(2_001, 2_001))
        assert sink.stats()["trimmed_total"] > 1_500


async def test_what_is_far_too_long_is_cut_bit_by_bit(redis_server: RedisServer) -> None:
    """No trimming holds Redis up for long; it goes on with each batch until it is done."""
    fill = "for i = 1, 25000 do redis.call('XADD', KEYS[1], '*', 'e', '{}') end"
    redis_server.command("EVAL", fill, 1, LOG)
    async with unentered(redis_server.url, max_events=100, clock=ManualClock()) as sink:
        lengths = []
        for sequence in range(1, 5):
            await sink.write(made(sequence, sequence))
            lengths.append(redis_server.command("XLEN", LOG))
        assert 15_000 <= lengths[0] < 15_200
        assert lengths[-1] < 300


async def test_a_full_redis_gets_room_when_the_group_that_holds_it_is_gone(
    redis_server: RedisServer,
) -> None:
    """No batch can be written before something is trimmed, and trimming takes no memory."""
    async with opened(redis_server.url, max_events=MOST) as sink:
        await sink.write(made(1, 200))
        redis_server.command("XGROUP", "CREATE", LOG, "siem", "0")
        for first in range(201, 10_000, 200):
            await sink.write(made(first, first + 199))
        memory = redis_server.command("INFO", "memory").decode()
        used = int(memory.partition("used_memory:")[2].split()[0])
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        redis_server.command("CONFIG", "SET", "maxmemory", used - 200_000)
        with pytest.raises(BackendUnavailable, match="Redis is full"):
            await sink.write(made(10_001, 10_001))
        redis_server.command("XGROUP", "DESTROY", LOG, "siem")

        async def is_written() -> bool:
            with suppress(BackendUnavailable):
                await sink.write(made(10_001, 10_001))
                return True
            return False

        await until("written", is_written)
        assert kept(redis_server)[-1] == 10_001


async def test_old_events_go(redis_server: RedisServer) -> None:
    """By the time of the server at which they were written."""
    clock = ManualClock()
    for sequence in range(1, 301):  # written an hour ago
        redis_server.command("XADD", LOG, f"{1_000_000 + sequence}-0", "e", made(1, 1)[0].type)
    async with unentered(
        redis_server.url, max_events=None, retention_seconds=600.0, clock=clock
    ) as sink:
        await sink.write(made(1, 200))
        assert 200 <= redis_server.command("XLEN", LOG) <= 300


async def test_without_limits_everything_stays(redis_server: RedisServer) -> None:
    """`max_events=None` and no retention."""
    clock = ManualClock()
    async with unentered(redis_server.url, max_events=None, clock=clock) as sink:
        await Writing(sink, clock).more()
        assert redis_server.command("XLEN", LOG) == 2_000
        assert sink.stats()["trimmed_total"] == 0


async def test_nothing_goes_that_a_group_has_not_acknowledged(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Pending or not yet given, of the slowest of several groups; the sink says that it lags."""
    states: list[str] = []
    clock = ManualClock()
    async with unentered(redis_server.url, max_events=MOST, clock=clock) as sink:
        sink.observe(lambda change: states.append(change.new))
        writing = Writing(sink, clock)
        await sink.write(made(1, 200))
        writing.last = 200
        for group in ("slow", "quick", "idle"):
            redis_server.command("XGROUP", "CREATE", LOG, group, "0")
        await writing.more()
        assert oldest(redis_server) == 1, "a group without consumers"
        assert states == ["lagging"]
        assert sink.stats()["is_lagging"] == 1.0

        redis_server.command("XGROUP", "DESTROY", LOG, "idle")
        read(redis_server, "quick", 2_200)
        [[_, entries]] = read(redis_server, "slow", 1_000)
        redis_server.command("XACK", LOG, "quick", *ids(redis_server, 2_200))
        redis_server.command("XACK", LOG, "slow", *(id for id, _ in entries[:400]))
        await writing.more(1)
        assert 390 <= oldest(redis_server) <= 401, "the oldest that is pending"

        redis_server.command("XACK", LOG, "slow", *(id for id, _ in entries[400:]))
        await writing.more(1)
        assert 985 <= oldest(redis_server) <= 1_001, "the oldest that was not given yet"
        assert states == ["lagging"]

        redis_server.command("XGROUP", "DESTROY", LOG, "slow")
        redis_server.command("XGROUP", "SETID", LOG, "quick", "$")
        with caplog.at_level(logging.INFO, "authkit"):
            await writing.more(1)
        assert redis_server.command("XLEN", LOG) <= MOST + 200
        assert states == ["lagging", "available"]
        assert "lagging" in caplog.text


async def test_a_group_that_has_everything_holds_nothing_back(redis_server: RedisServer) -> None:
    """Not even where nothing was written for long before."""
    clock = ManualClock()
    redis_server.command("XADD", LOG, "1000-0", "e", "{}")
    redis_server.command("XGROUP", "CREATE", LOG, "export", "$")
    async with unentered(
        redis_server.url, max_events=None, retention_seconds=600.0, clock=clock
    ) as sink:
        await sink.write(made(1, 200))
        assert sink.stats()["is_lagging"] == 0.0


async def test_a_group_that_is_behind_for_longer_than_events_stay_is_told(
    redis_server: RedisServer,
) -> None:
    """Its events stay, and the sink says that it lags."""
    clock = ManualClock()
    for number in range(300):
        redis_server.command("XADD", LOG, f"{1_000 + number}-0", "e", "{}")
    redis_server.command("XGROUP", "CREATE", LOG, "export", "0")
    async with unentered(redis_server.url, retention_seconds=600.0, clock=clock) as sink:
        await sink.write(made(1, 200))
        assert redis_server.command("XLEN", LOG) == 500
        assert sink.stats()["is_lagging"] == 1.0


async def test_no_batch_waits_for_the_trimming(redis_server: RedisServer) -> None:
    """An entered sink trims beside the writing, one thing at a time, and says what it found."""
    clock = ManualClock()
    states: list[str] = []
    async with (
        Proxy(redis_server.port) as proxy,
        opened(proxy.url, max_events=100, clock=clock) as sink,
    ):
        sink.observe(lambda change: states.append(change.new))
        redis_server.command("XGROUP", "CREATE", LOG, "export", "0", "MKSTREAM")
        proxy.delay_seconds = 0.05
        for first in range(1, 801, 200):
            clock.advance(31.0)
            calls = sink.stats()["link_calls_total"]
            await sink.write(made(first, first + 199))
            # The write and what the batch before has left, which is at most one call.
            assert sink.stats()["link_calls_total"] - calls <= 2
        await until("lagging", lambda: states == ["lagging"])
        assert sink.stats()["is_lagging"] == 1.0


async def test_who_leaves_waits_for_a_trimming_that_is_quick(redis_server: RedisServer) -> None:
    """A process that writes one batch trims too."""
    async with opened(redis_server.url, max_events=1) as sink:
        await sink.write(made(1, 500))
    assert sink.stats()["trimmed_total"] > 300


async def test_who_leaves_waits_for_no_slow_trimming(redis_server: RedisServer) -> None:
    """It is ended before it has failed: nothing of it is left in the event loop."""
    async with Proxy(redis_server.port) as proxy:
        async with opened(proxy.url, max_events=1) as sink:
            await sink.write(made(1, 500))
            proxy.is_silent = True
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert "authkit-audit-upkeep" not in names
    assert (sink.stats()["trimmed_total"], sink.stats()["upkeep_failures_total"]) == (0, 0)


async def test_a_slow_server_is_not_trimmed_where_a_batch_would_wait(
    redis_server: RedisServer,
) -> None:
    """A sink that nobody has entered leaves it to a time when Redis is quick again."""
    async with Proxy(redis_server.port) as proxy, open_link(proxy.url) as link:
        sink = RedisAuditSink(link, prefix=PREFIX, max_events=1)
        await link.call(b"PING", timeout_seconds=2.0)  # connects before it becomes slow
        proxy.delay_seconds = 0.3
        await sink.write(made(1, 200))
        assert sink.stats()["trimmed_total"] == 0
        proxy.delay_seconds = 0.0
        numbers = iter(range(201, 1_000))

        async def is_trimmed() -> bool:
            number = next(numbers)
            await sink.write(made(number, number))
            return sink.stats()["trimmed_total"] > 0

        await until("trimmed", is_trimmed)


def read(server: RedisServer, group: str, count: int) -> Any:
    words = ("GROUP", group, "consumer", "COUNT", count, "STREAMS", LOG, ">")
    return server.command("XREADGROUP", *words)


def ids(server: RedisServer, count: int) -> list[bytes]:
    return [id for id, _ in server.command("XRANGE", LOG, "-", "+", "COUNT", count)]
