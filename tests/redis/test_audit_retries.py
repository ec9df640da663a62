"""An audit event is in Redis once, and in its order, however often and over whatever it is sent."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import Any

import pytest

from authkit.audit import AuditTrail
from authkit.errors import BackendUnavailable
from authkit.event_lines import json_line
from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.link import Link, open_link
from tests.redis.audit_events import KEYS, LOG, PREFIX, kept, made, opened
from tests.redis.proxy import Proxy
from tests.redis.servers import RedisServer
from tests.redis.stores import until
from tests.unit.audit.sinks import request as record_of

pytestmark = pytest.mark.anyio


async def written(sink: RedisAuditSink, first: int, last: int, producer: str = "producer-1") -> int:
    """Writes a batch again and again until it is taken; how often it failed."""
    batch = made(first, last, producer)
    for failures in range(200):
        with suppress(BackendUnavailable):
            await sink.write(batch)
            return failures
        await asyncio.sleep(0.01)
    pytest.fail("the batch was never taken")


async def test_a_lost_reply_duplicates_nothing(redis_server: RedisServer) -> None:
    """The server has executed the script, and nobody learns of it: the batch is given again."""
    async with Proxy(redis_server.port) as proxy, opened(proxy.url, timeout_seconds=0.2) as sink:
        await sink.write(made(1, 10))
        proxy.is_silent = True
        with pytest.raises(BackendUnavailable):
            await sink.write(made(11, 1500))
        assert kept(redis_server)[:20] == list(range(1, 21)), "the server has executed it"
        proxy.is_silent = False
        proxy.hang_up()
        await written(sink, 11, 1500)
        assert kept(redis_server) == list(range(1, 1501))
        assert sink.stats()["skipped_total"] > 0


@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.full)], ids=str)
async def test_many_events_over_a_broken_network_arrive_once_and_in_order(
    redis_server: RedisServer, count: int
) -> None:
    """Connections are cut at random, before, while and after the server executes a batch."""
    chance = random.Random(7)
    failures = 0

    async def breaks(proxy: Proxy) -> None:
        for number in range(30):
            await asyncio.sleep(chance.uniform(0.01, 0.05))
            proxy.halves = number % 2
            proxy.hang_up()

    async with Proxy(redis_server.port) as proxy, opened(proxy.url, timeout_seconds=0.5) as sink:
        breaking = asyncio.create_task(breaks(proxy))
        try:
            for first in range(1, count + 1, 2_500):
                failures += await written(sink, first, first + 2_499)
        finally:
            breaking.cancel()
            await asyncio.wait([breaking])
        assert failures, "nothing was broken"
        # Some of them are not known to have been written, so they count as skipped.
        assert sink.stats()["written_total"] + sink.stats()["skipped_total"] >= count
    arrived = numbers_of(redis_server)
    assert arrived == list(range(1, count + 1))


def numbers_of(server: RedisServer) -> list[int]:
    """All sequences, without reading the events as a whole."""
    found, start = [], b"-"
    while page := server.command("XRANGE", LOG, start, "+", "COUNT", 10_000):
        found += [int(line[1].partition(b'"sequence":')[2].partition(b",")[0]) for _, line in page]
        start = b"(" + page[-1][0]
    return found


async def test_a_cancelled_write_can_be_given_again(redis_server: RedisServer) -> None:
    """Cancelled at many moments, a batch of several calls is whole after the last attempt."""
    async with opened(redis_server.url) as sink:
        batch = made(1, 1_600)
        for moment in range(12):
            task = asyncio.create_task(sink.write(batch))
            await asyncio.sleep(moment * 0.0007)
            task.cancel()
            await asyncio.wait([task])
        await sink.write(batch)
        await sink.write(made(1_601, 1_605))
    assert kept(redis_server) == list(range(1, 1_606))


async def test_a_server_that_forgets_its_scripts_takes_them_again(
    redis_server: RedisServer,
) -> None:
    """Between any two batches the scripts are flushed."""
    async with opened(redis_server.url) as sink:
        for first in range(1, 31, 3):
            await sink.write(made(first, first + 2))
            redis_server.command("SCRIPT", "FLUSH")
    assert kept(redis_server) == list(range(1, 31))


async def test_what_was_written_before_a_failure_is_skipped_the_next_time(
    redis_server: RedisServer,
) -> None:
    """Of a batch over two producers the second one's place is spoilt: the first is not repeated."""
    spoilt = KEYS.place("producer-2", 1).sequence
    async with opened(redis_server.url) as sink:
        redis_server.command("SET", spoilt, "of another program")
        big = {"text": "x" * 300_000}  # so that each is written by a call of its own
        batch = [*made(1, 2, data=big), *made(1, 2, "producer-2")]
        with pytest.raises(BackendUnavailable, match="another program"):
            await sink.write(batch)
        assert kept(redis_server) == [1, 2]
        redis_server.command("DEL", spoilt)
        await sink.write(batch)
        assert kept(redis_server) == [1, 2]
        assert kept(redis_server, "producer-2") == [1, 2]


async def test_gaps_and_repetitions_in_a_batch_are_kept_apart(redis_server: RedisServer) -> None:
    """A sink may be given a part of the events only, and one of them twice."""
    events = {event.sequence: event for event in made(1, 9)}
    async with opened(redis_server.url) as sink:
        await sink.write([events[number] for number in (1, 2, 5, 5, 6, 4, 9)])
        assert kept(redis_server) == [1, 2, 5, 6, 9]
        assert sink.stats()["skipped_total"] == 2


async def test_a_flushed_server_takes_what_comes_next(redis_server: RedisServer) -> None:
    """What was flushed is lost; what comes after is not, and readers find all streams again."""
    async with opened(redis_server.url, streams=4) as sink:
        await sink.write(made(1, 5))
        redis_server.command("FLUSHALL")
        await sink.write(made(6, 7))
        log = KEYS.log(KEYS.place("producer-1", 4).stream)
        assert kept(redis_server, log=log) == [6, 7]


async def test_a_server_that_restarts_empty_takes_what_comes_next(
    own_redis_server: RedisServer,
) -> None:
    """The sink says that it cannot write, and then that it can; the gap shows in the sequence."""
    states: list[str] = []
    async with opened(own_redis_server.url) as sink:
        sink.observe(lambda change: states.append(change.new))
        await sink.write(made(1, 5))
        own_redis_server.kill()
        with pytest.raises(BackendUnavailable):
            await sink.write(made(6, 7))
        own_redis_server.start()
        await written(sink, 6, 7)
        await written(sink, 8, 9)
    assert kept(own_redis_server) == [6, 7, 8, 9]
    assert states == ["unwritable", "available"]


async def test_producers_may_have_any_name(redis_server: RedisServer) -> None:
    """No name of a producer leads to a key of another one, or to another place of the server."""
    names = ["}x", "{", "a:b", "*", "\r\nFLUSHALL\r\n", "\ud800", "ß" * 10_000, "a\x00", "a"]
    async with opened(redis_server.url) as sink:
        for name in names:
            await sink.write(made(1, 2, name))
        await sink.write([event for name in names for event in made(3, 3, name)])
        for name in names:
            assert kept(redis_server, name) == [1, 2, 3]
    found = [key for key in redis_server.command("KEYS", "*") if b":seq:" in key]
    assert len(found) == len(names)
    assert all(len(key) < 64 and key.startswith(b"{test:audit:0}:seq:") for key in found)


async def test_an_audit_trail_writes_everything_in_order(redis_server: RedisServer) -> None:
    """The trail's own queue over the sink, with an outage in between."""
    async with Proxy(redis_server.port) as proxy:
        sink_options = {"timeout_seconds": 0.3, "streams": 1}
        async with opened(proxy.url, **sink_options) as sink:
            trail = AuditTrail(sink, chain_key=b"k" * 32, retry_seconds=0.02)
            async with trail:
                for number in range(300):
                    await trail.append_control("test.event", data={"number": number})
                    if number % 100 == 50:
                        await asyncio.sleep(0.02)
                        proxy.hang_up()
            assert trail.stats()["lost_total"] == 0
    arrived = kept(redis_server, trail.producer)
    assert arrived == list(range(1, len(arrived) + 1))
    assert len(arrived) >= 300


async def test_two_runs_of_a_trail_with_a_name_lose_nothing(redis_server: RedisServer) -> None:
    """A service that starts again counts from 1 again, and passes for another producer."""
    producers = []
    for count in (5, 3):
        async with opened(redis_server.url) as sink:
            trail = AuditTrail(sink, producer="shop")
            async with trail:
                for _ in range(count):
                    await trail.append_control("test.event")
            assert (sink.stats()["skipped_total"], sink.stats()["conflicts_total"]) == (0, 0)
        producers.append(trail.producer)
    found = [kept(redis_server, producer) for producer in producers]
    assert found == [[1, 2, 3, 4, 5], [1, 2, 3]]


@pytest.mark.parametrize("before", [1, 3, 9])
async def test_another_run_under_the_same_name_is_told(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, before: int
) -> None:
    """What cannot be told from repetitions is skipped, but never in silence."""
    async with opened(redis_server.url) as sink:
        await sink.write(made(1, before))
    states: list[tuple[str, str | None]] = []
    async with opened(redis_server.url) as sink:
        sink.observe(lambda change: states.append((change.new, change.code)))
        for _ in range(2):
            await sink.write(made(1, before))
        assert states == [("conflicting", "audit_conflicting")]
        # The second time only the last one is sent.
        assert sink.stats()["conflicts_total"] == before + 1
        assert sink.stats()["skipped_total"] == 2 * before
        await sink.write(made(before + 1, before + 2))
        assert states[1:] == [("available", None)]
        await sink.write(made(1, before + 2))
        assert sink.stats()["conflicts_total"] == before + 1, "these are its own"
    assert kept(redis_server) == list(range(1, before + 3))
    lines = [record for record in caplog.records if "another run" in record.message]
    assert [record.levelname for record in lines] == ["ERROR"]


async def test_its_own_repetitions_are_no_conflict(redis_server: RedisServer) -> None:
    """Whether the caller repeats a batch, or the link a call whose reply was lost."""
    states: list[str] = []
    async with (
        Proxy(redis_server.port) as proxy,
        open_link(proxy.url, reply_timeout_seconds=0.1) as link,
        RedisAuditSink(link, prefix=PREFIX, timeout_seconds=0.1) as sink,
    ):
        sink.observe(lambda change: states.append(change.new))
        for first in range(1, 31, 3):
            proxy.halves = first % 2
            writing = asyncio.create_task(written(sink, first, first + 2))
            await asyncio.sleep(0)
            if not proxy.halves:
                proxy.hang_up()
            await writing
        await sink.write(made(1, 30))
        assert sink.stats()["skipped_total"] > 30, "no reply was lost"
        assert sink.stats()["conflicts_total"] == 0
    assert kept(redis_server) == list(range(1, 31))
    assert "conflicting" not in states


async def test_a_trail_over_a_slow_server_comes_to_an_end(redis_server: RedisServer) -> None:
    """A batch takes longer than the trail waits: each attempt goes on where the last one ended."""
    async with Proxy(redis_server.port) as proxy, opened(proxy.url, max_events=3_000) as sink:
        trail = AuditTrail(sink, write_timeout_seconds=0.25, retry_seconds=0.01, drain_seconds=10.0)
        proxy.delay_seconds = 0.07
        async with trail:
            for number in range(2_000):
                trail.append_request(record_of(number))
        assert trail.stats()["write_failures_total"] > 0, "it was not slow"
        assert trail.stats()["lost_total"] == 0
        # Each attempt asks once more only for what was under way when it was broken off.
        calls, failures = sink.stats()["calls_total"], trail.stats()["write_failures_total"]
        assert calls <= 2_000 / 250 + failures
    assert kept(redis_server, trail.producer) == list(range(1, 2_001))


async def broken_off(sink: RedisAuditSink, proxy: Proxy, last: int) -> None:
    """A batch from 1 on of which Redis has acknowledged a part when its caller gives it up."""
    calls = sink.stats()["calls_total"]
    proxy.delay_seconds = 0.05
    writing = asyncio.create_task(sink.write(made(1, last)))
    await until("half of it", lambda: sink.stats()["calls_total"] >= calls + 3)
    writing.cancel()
    await asyncio.wait([writing])
    proxy.delay_seconds = 0.0


async def test_what_was_acknowledged_is_not_sent_again(redis_server: RedisServer) -> None:
    """Its batch was broken off, or was written: then its last event shows that Redis has it."""
    async with Proxy(redis_server.port) as proxy, opened(proxy.url) as sink:
        await broken_off(sink, proxy, 1_000)
        calls = sink.stats()["calls_total"]
        await sink.write(made(1, 1_000))
        assert sink.stats()["calls_total"] == calls + 2
        await sink.write(made(1, 1_000))
        assert sink.stats()["calls_total"] == calls + 3
        await sink.write(made(990, 1_001))
    assert kept(redis_server) == list(range(1, 1_002))


async def test_of_a_batch_that_was_broken_off_a_lost_part_is_written_again(
    redis_server: RedisServer,
) -> None:
    """The server came back empty, or another took over that had less: the batch has no gap."""
    async with Proxy(redis_server.port) as proxy, opened(proxy.url) as sink:
        await broken_off(sink, proxy, 1_000)
        redis_server.command("FLUSHALL")
        await sink.write(made(1, 1_000))
        assert kept(redis_server) == list(range(1, 1_001))
        redis_server.command("FLUSHALL")
        await sink.write(made(1, 1_000))
        assert kept(redis_server) == list(range(1, 1_001)), "the whole batch was lost"

        redis_server.command("FLUSHALL")
        sequence = KEYS.place("producer-1", 1).sequence
        for event in made(1, 100):
            redis_server.command("XADD", LOG, "*", "e", json_line(event))
        redis_server.command("SET", sequence, b"100 " + b"0" * 16)
        await sink.write(made(501, 1_200))
        assert kept(redis_server) == [*range(1, 101), *range(501, 1_201)]
        assert sink.stats()["conflicts_total"] == 0


class Forgetting:
    """A link to a server that forgets everything before each call."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    async def run(self, *args: Any, **options: Any) -> Any:
        await self._link.call(b"FLUSHALL", timeout_seconds=2.0)
        return await self._link.run(*args, **options)


async def test_a_server_that_always_loses_everything_is_an_outage(
    redis_server: RedisServer,
) -> None:
    """It is asked once more, and not for ever."""
    async with open_link(redis_server.url) as link:
        forgetting: Any = Forgetting(link)
        sink = RedisAuditSink(forgetting, prefix=PREFIX)
        await sink.write(made(1, 1))
        with pytest.raises(BackendUnavailable, match="loses events"):
            await sink.write(made(1, 1_000))


async def test_a_conflict_is_told_though_its_batch_was_broken_off(
    redis_server: RedisServer,
) -> None:
    """What was skipped in the first attempt is not asked for in the second one."""
    async with opened(redis_server.url) as sink:
        await sink.write(made(1, 250))
    states: list[str] = []
    async with Proxy(redis_server.port) as proxy, opened(proxy.url) as sink:
        sink.observe(lambda change: states.append(change.new))
        await broken_off(sink, proxy, 1_000)
        await sink.write(made(1, 1_000))
        assert (states, sink.stats()["conflicts_total"]) == (["conflicting"], 250)
        await sink.write(made(1_001, 1_001))
        assert states == ["conflicting", "available"]
    assert kept(redis_server) == list(range(1, 1_002))


async def test_a_trail_over_a_frozen_server_loses_nothing_that_it_admitted(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The server stands still and goes on: each event once, in order, and one line per change."""
    caplog.set_level(logging.WARNING, "authkit")
    async with opened(redis_server.url, timeout_seconds=0.15) as sink:
        trail = AuditTrail(
            sink,
            chain_key=b"k" * 32,
            request_capacity=2_000,
            retry_seconds=0.02,
            retry_max_seconds=0.05,
            drain_seconds=20.0,
        )
        async with trail:
            redis_server.freeze()
            for number in range(3_000):
                trail.append_request(record_of(number))
                if number % 10 == 0:
                    await asyncio.sleep(0.001)
            await until("failing", lambda: trail.stats()["write_failures_total"] >= 5)
            figures = trail.stats()
            assert (figures["is_failing"], figures["queued"]) == (1, 2_000)
            redis_server.thaw()
            await until("written", lambda: not trail.stats()["queued"], timeout_seconds=20)
        assert (figures["dropped_total"], trail.stats()["lost_total"]) == (1_000, 0)
        assert sink.stats()["conflicts_total"] == 0
    # With `audit.dropped`, the anchor behind the first batch, and the last one.
    assert kept(redis_server, trail.producer) == list(range(1, 2_004))
    said = [record.message for record in caplog.records]
    for words in (
        "RedisAuditSink fails",
        "RedisAuditSink works again",
        "unwritable, was available",
    ):
        assert sum(words in line for line in said) == 1, said
