"""A reader of the audit streams finds every event, wherever it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.audit_streams.lines import Line
from authkit_redis.audit_streams.reader import AuditReader
from authkit_redis.link import Link, open_link
from tests.redis.audit_events import KEYS, LOG, PREFIX, made, numbers
from tests.redis.cluster import RedisCluster
from tests.redis.servers import RedisServer
from tests.redis.stores import until

pytestmark = pytest.mark.anyio

PRODUCERS = [f"producer-{number}" for number in range(8)]


@pytest.fixture
async def link(redis_server: RedisServer) -> AsyncIterator[Link]:
    async with open_link(redis_server.url) as link:
        yield link


@pytest.fixture
def reader(link: Link) -> AuditReader:
    return AuditReader(link, prefix=PREFIX)


def sink_of(link: Link, streams: int = 1) -> RedisAuditSink:
    return RedisAuditSink(link, prefix=PREFIX, streams=streams)


async def write(sink: RedisAuditSink, first: int, last: int) -> None:
    """The same sequences of many producers."""
    for producer in PRODUCERS:
        await sink.write(made(first, last, producer))


def by_producer(lines: list[Line]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line in lines:
        producer = line.line.partition(b'"producer":"')[2].partition(b'"')[0].decode()
        found.setdefault(producer, []).extend(numbers([line]))
    return found


async def test_nothing_is_there_to_be_read(reader: AuditReader) -> None:
    """Before anything was written, there is nothing, and no error."""
    assert await reader.latest(10) == []
    assert [batch async for batch in reader.export("siem", "one")] == []


async def test_the_latest_of_all_streams_come_oldest_first(link: Link, reader: AuditReader) -> None:
    """In the order of writing, from four streams, over several pages."""
    sink = sink_of(link, streams=4)
    for batch in range(3):
        await write(sink, 1 + batch * 200, 200 + batch * 200)
    assert {line.stream for line in await reader.latest(4_000)} == {0, 1, 2, 3}
    lines = await reader.latest(100)
    assert by_producer(lines) == {PRODUCERS[-1]: list(range(501, 601))}
    whole = await reader.latest(1_000_000)
    assert by_producer(whole) == {producer: list(range(1, 601)) for producer in PRODUCERS}


async def test_foreign_entries_are_passed_over(
    redis_server: RedisServer, link: Link, reader: AuditReader
) -> None:
    """What somebody else has added to the stream is no line, and does not stop an export."""
    sink = sink_of(link)
    await sink.write(made(1, 1))
    redis_server.command("XADD", LOG, "*", "theirs", "1", "e", "2")
    await sink.write(made(2, 2))
    assert numbers(await reader.latest(10)) == [1, 2]
    exported = [numbers(batch) async for batch in reader.export("siem", "one", count=1)]
    assert exported == [[1], [2]]
    assert redis_server.command("XPENDING", LOG, "siem")[0] == 0


async def test_following_sees_new_events_and_new_streams(link: Link, reader: AuditReader) -> None:
    """The latest first, then what comes, also from a process that writes to more streams."""
    await sink_of(link).write(made(1, 3, "before"))
    seen: list[Line] = []

    async def follow() -> None:
        async with aclosing(reader.follow(latest=2)) as lines:
            async for line in lines:
                seen.append(line)

    following = asyncio.create_task(follow())
    await seen_until(seen, 2)
    assert by_producer(seen) == {"before": [2, 3]}
    more = sink_of(link, streams=8)
    await write(more, 1, 700)
    await seen_until(seen, 2 + 700 * len(PRODUCERS))
    following.cancel()
    await asyncio.wait([following])
    assert len({line.stream for line in seen}) > 1
    assert by_producer(seen[2:]) == {producer: list(range(1, 701)) for producer in PRODUCERS}


async def test_following_goes_back_with_a_server_whose_clock_is_behind(
    redis_server: RedisServer, link: Link, reader: AuditReader
) -> None:
    """As after a failover: what it adds is before all that was read, and is not passed over."""
    await sink_of(link).write(made(1, 1))
    [[_, fields]] = redis_server.command("XRANGE", LOG, "-", "+")
    async with aclosing(reader.follow(latest=1)) as lines:
        await anext(lines)
        redis_server.command("DEL", LOG)
        coming = asyncio.ensure_future(anext(lines))
        for number in range(1, 50):
            redis_server.command("XADD", LOG, f"{number}-0", *fields)
            if (await asyncio.wait([coming], timeout=0.1))[0]:
                break
        assert (await coming).id == b"%d-0" % number


async def test_following_goes_on_after_an_outage(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that restarts empty holds it up, and is said in the log, once."""
    async with open_link(own_redis_server.url) as link:
        reader = AuditReader(link, prefix=PREFIX, timeout_seconds=0.3)
        await sink_of(link).write(made(1, 1))
        seen: list[Line] = []
        async with aclosing(reader.follow(latest=1)) as lines:
            seen.append(await anext(lines))
            own_redis_server.kill()
            coming = asyncio.ensure_future(anext(lines))
            await asyncio.sleep(0.3)
            own_redis_server.start()
            sink = sink_of(link)
            for _ in range(50):
                try:
                    await sink.write(made(2, 2))
                    break
                except BackendUnavailable:
                    await asyncio.sleep(0.05)
            seen.append(await asyncio.wait_for(coming, 10))
        assert numbers(seen) == [1, 2]
    assert caplog.text.count("waiting to go on reading") == 1


async def seen_until(seen: list[Line], count: int) -> None:
    await until("read", lambda: len(seen) >= count)


async def test_an_export_takes_everything_once_where_nobody_dies(
    redis_server: RedisServer, link: Link, reader: AuditReader
) -> None:
    """All streams, the order of each producer; the next export begins where this one ended."""
    sink = sink_of(link, streams=4)
    await write(sink, 1, 150)
    exported = [line async for batch in reader.export("siem", "one", count=64) for line in batch]
    assert by_producer(exported) == {producer: list(range(1, 151)) for producer in PRODUCERS}
    await write(sink, 151, 160)
    exported = [line async for batch in reader.export("siem", "one") for line in batch]
    assert by_producer(exported) == {producer: list(range(151, 161)) for producer in PRODUCERS}
    other = [line async for batch in reader.export("other", "one") for line in batch]
    assert len(other) == 160 * len(PRODUCERS)
    for stream in range(4):
        assert redis_server.command("XPENDING", KEYS.log(stream), "siem")[0] == 0


async def test_what_a_dead_consumer_was_given_comes_again(link: Link, reader: AuditReader) -> None:
    """To itself first of all, and to another one after a while: at least once."""
    await sink_of(link).write(made(1, 100))
    async with aclosing(reader.export("siem", "one", count=10)) as export:
        assert numbers(await anext(export)) == list(range(1, 11))
        assert numbers(await anext(export)) == list(range(11, 21))
    # It has died while it handled the second one.
    async with aclosing(reader.export("siem", "one", count=10)) as export:
        assert numbers(await anext(export)) == list(range(11, 21))
        assert numbers(await anext(export)) == list(range(21, 31))
    others = reader.export("siem", "two", count=10, takeover_seconds=60)
    assert numbers([line async for batch in others for line in batch]) == list(range(31, 101))
    await asyncio.sleep(0.02)
    heirs = reader.export("siem", "two", count=10, takeover_seconds=0.01)
    assert numbers([line async for batch in heirs for line in batch]) == list(range(21, 31))


async def test_an_export_that_follows_waits_for_more(
    redis_server: RedisServer, link: Link, reader: AuditReader
) -> None:
    """Also for the first event of all, and past the loss of the group."""
    sink = sink_of(link)
    async with aclosing(reader.export("siem", "one", follow=True)) as export:
        coming = asyncio.ensure_future(anext(export))
        await asyncio.sleep(0.05)
        await sink.write(made(1, 5))
        assert numbers(await asyncio.wait_for(coming, 5)) == [1, 2, 3, 4, 5]
        coming = asyncio.ensure_future(anext(export))
        await asyncio.sleep(0.05)
        redis_server.command("FLUSHALL")
        await sink.write(made(6, 7))
        assert numbers(await asyncio.wait_for(coming, 5)) == [6, 7]


async def test_deleted_entries_do_not_stop_an_export(
    redis_server: RedisServer, link: Link, reader: AuditReader
) -> None:
    """What was given, and then deleted by hand, is acknowledged without a line."""
    await sink_of(link).write(made(1, 20))
    async with aclosing(reader.export("siem", "one", count=10)) as export:
        first = await anext(export)
    redis_server.command("XDEL", LOG, *(line.id for line in first))
    exported = [line async for batch in reader.export("siem", "one") for line in batch]
    assert numbers(exported) == list(range(11, 21))
    assert redis_server.command("XPENDING", LOG, "siem")[0] == 0


async def test_arguments_without_sense_are_refused(link: Link, reader: AuditReader) -> None:
    """Before Redis is asked for anything."""
    with pytest.raises(ConfigurationError, match="count"):
        await reader.latest(0)
    with pytest.raises(ConfigurationError, match="latest"):
        await anext(reader.follow(latest=-1))
    for group, consumer in (("", "one"), ("siem", ""), ("x" * 257, "one")):
        with pytest.raises(ConfigurationError, match="characters"):
            await anext(reader.export(group, consumer))
    with pytest.raises(ConfigurationError, match="takeover_seconds"):
        await anext(reader.export("siem", "one", takeover_seconds=0))


async def test_an_outage_is_said_to_be_one(redis_server: RedisServer, link: Link) -> None:
    """A server that stands still."""
    reader = AuditReader(link, prefix=PREFIX, timeout_seconds=0.2)
    redis_server.freeze()
    try:
        with pytest.raises(BackendUnavailable):
            await reader.latest(1)
        with pytest.raises(BackendUnavailable):
            await anext(reader.follow())
        with pytest.raises(BackendUnavailable):
            await anext(reader.export("siem", "one"))
    finally:
        redis_server.thaw()


async def test_the_streams_of_a_cluster_are_on_several_masters(cluster: RedisCluster) -> None:
    """Written, read, followed and exported, each stream in its slot."""
    async with open_link(cluster.url) as link:
        sink, reader = sink_of(link, streams=8), AuditReader(link, prefix=PREFIX)
        async with sink:
            await write(sink, 1, 50)
        assert len({cluster.master_of(KEYS.log(stream)).port for stream in range(8)}) > 1
        expected = {producer: list(range(1, 51)) for producer in PRODUCERS}
        assert by_producer(await reader.latest(1_000)) == expected
        exported = [line async for batch in reader.export("siem", "one") for line in batch]
        assert by_producer(exported) == expected
        seen: list[Line] = []
        async with aclosing(reader.follow(latest=1_000)) as lines:
            async for line in lines:
                seen.append(line)
                if len(seen) == 400:
                    break
        assert by_producer(seen) == expected
