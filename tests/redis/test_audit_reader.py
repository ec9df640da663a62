"""A reader of the audit streams finds every event, wherever it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.event_lines import MAX_LINE_BYTES
from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.audit_streams.lines import Line, merged
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


async def test_an_outage_holds_up_an_export_that_follows(
    redis_server: RedisServer, link: Link, reader: AuditReader
) -> None:
    """What was handled before it is not handed on again, and what comes after it is."""
    sink = sink_of(link)
    await sink.write(made(1, 5))
    async with aclosing(reader.export("siem", "one", follow=True)) as export:
        assert numbers(await asyncio.wait_for(anext(export), 5)) == [1, 2, 3, 4, 5]
        redis_server.freeze()
        coming = asyncio.ensure_future(anext(export))
        try:
            done, _ = await asyncio.wait([coming], timeout=2.5)  # past the reader's own timeout
            assert not done
        finally:
            redis_server.thaw()

        async def is_written() -> bool:
            with suppress(BackendUnavailable):
                await sink.write(made(6, 7))
                return True
            return False

        await until("written", is_written)
        assert numbers(await asyncio.wait_for(coming, 10)) == [6, 7]


async def test_a_group_is_read_where_redis_is_full(
    redis_server: RedisServer, link: Link, reader: AuditReader
) -> None:
    """Reading is what makes room; a group that is not there yet cannot be made."""
    await sink_of(link).write(made(1, 5))
    async with aclosing(reader.export("siem", "one", count=2)) as export:
        assert numbers(await anext(export)) == [1, 2]
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
    exported = [line async for batch in reader.export("siem", "one") for line in batch]
    assert numbers(exported) == [1, 2, 3, 4, 5]
    with pytest.raises(BackendUnavailable, match="OOM"):
        await anext(reader.export("another", "one"))


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


def add(server: RedisServer, size: int, count: int = 1) -> None:
    """Adds entries whose line has so many bytes; made by the server, which takes no time."""
    script = "for i = 1, ARGV[2] do redis.call('XADD', KEYS[1], '*', 'e', ('x'):rep(ARGV[1])) end"
    server.command("EVAL", script, 1, LOG, size, count)


async def read_in_every_way(reader: AuditReader) -> dict[str, list[Line]]:
    """All lines that are there, with every method; by two consumers, the second one an heir."""
    latest = await reader.latest(1_000)
    followed: list[Line] = []
    async with aclosing(reader.follow(latest=1)) as lines:
        await anext(lines)
    async with aclosing(reader.follow(latest=1_000)) as lines:
        while len(followed) < len(latest):
            followed.append(await asyncio.wait_for(anext(lines), 5))
    async with aclosing(reader.export("siem", "one")) as export:
        left = await anext(export)
    await asyncio.sleep(0.02)
    heirs = reader.export("siem", "two", takeover_seconds=0.01)
    exported = [line async for batch in heirs for line in batch]
    assert set(left) <= set(exported)
    history = [line async for batch in reader.history() for line in batch]
    return {"latest": latest, "follow": followed, "export": exported, "history": history}


async def test_large_lines_are_read_however_many_there_are(
    redis_server: RedisServer, link: Link, reader: AuditReader
) -> None:
    """More than one reply may hold: a page ends sooner, and no connection is given up."""
    add(redis_server, 1_000_000, count=70)
    await reader.latest(1)
    connects = link.stats()["connects_total"]
    for how, lines in (await read_in_every_way(reader)).items():
        assert len(lines) == len(set(lines)) == 70, how
        assert lines == merged(lines), how
    assert redis_server.command("XPENDING", LOG, "siem")[0] == 0
    assert reader.oversized_total == 0
    assert link.stats()["connects_total"] == connects


async def test_what_is_too_large_for_an_event_is_passed_over(
    redis_server: RedisServer, link: Link, reader: AuditReader, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where no reply could hold it; it is acknowledged, counted, and said in the log."""
    sink = sink_of(link)
    await sink.write(made(1, 2))
    add(redis_server, MAX_LINE_BYTES + 1)
    await sink.write(made(3, 4))
    whole = await reader.latest(10)
    assert numbers(whole) == [1, 2, 3, 4]
    assert reader.oversized_total == 1
    assert f"its {MAX_LINE_BYTES + 1} bytes are too many for an event" in caplog.text
    for how, lines in (await read_in_every_way(reader)).items():
        assert lines == whole, how
    assert redis_server.command("XPENDING", LOG, "siem")[0] == 0
    async with aclosing(reader.follow()) as following:
        coming = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0.05)
        redis_server.command("XADD", LOG, "*", "e", "x" * 70_000_000)
        await sink.write(made(5, 5))
        assert numbers([await asyncio.wait_for(coming, 5)]) == [5]
    exported = [numbers(batch) async for batch in reader.export("siem", "two")]
    assert exported == [[5]]
    assert redis_server.command("XPENDING", LOG, "siem")[0] == 0


async def test_the_last_id_of_all_does_not_stop_a_reader(
    redis_server: RedisServer, link: Link, reader: AuditReader, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing can follow the entry that has it, until somebody deletes the stream."""
    sink = sink_of(link)
    await sink.write(made(1, 1))
    [[_, fields]] = redis_server.command("XRANGE", LOG, "-", "+")
    redis_server.command("XADD", LOG, f"{2**64 - 1}-{2**64 - 1}", *fields)
    for how, lines in (await read_in_every_way(reader)).items():
        assert numbers(lines) == [1, 1], how
    async with aclosing(reader.follow()) as following:
        coming = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0.05)
        redis_server.command("DEL", LOG)
        for number in range(2, 50):
            await sink.write(made(number, number))
            if (await asyncio.wait([coming], timeout=0.1))[0]:
                break
        assert numbers([await coming]) == [number]
    assert "waiting to go on" not in caplog.text


async def test_many_entries_without_a_line_cost_a_page_and_not_each_a_call(
    redis_server: RedisServer, link: Link, reader: AuditReader
) -> None:
    """Whoever adds them cannot keep a reader busy."""
    await sink_of(link).write(made(1, 1))
    script = "for i = 1, 3000 do redis.call('XADD', KEYS[1], '*', 'theirs', i) end"
    redis_server.command("EVAL", script, 1, LOG)
    calls = link.stats()["calls_total"]
    assert numbers(await reader.latest(1)) == [1]
    assert link.stats()["calls_total"] - calls < 12


async def test_a_history_is_in_order_over_streams_and_pages_and_ends(
    redis_server: RedisServer, link: Link, reader: AuditReader
) -> None:
    """By the time of writing; what is written meanwhile is not among it, nor is a trace left."""
    sink = sink_of(link, streams=4)
    for batch in range(3):
        await write(sink, 1 + batch * 400, 400 + batch * 400)
    history: list[Line] = []
    async for batch_read in reader.history():
        if not history:
            await write(sink, 1_201, 1_210)
        history += batch_read
    assert by_producer(history) == {producer: list(range(1, 1_201)) for producer in PRODUCERS}
    assert [line.id.partition(b"-")[0] for line in history] == sorted(
        line.id.partition(b"-")[0] for line in history
    )
    assert redis_server.command("XINFO", "GROUPS", LOG) == []


@pytest.mark.parametrize("number", ["1e3", "nan", "0x10", " 7", "", "-1", "9" * 400, "5000"])
async def test_a_number_of_streams_that_is_none_hides_nothing_and_is_put_right(
    number: str, redis_server: RedisServer, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    """Until a sink has done so, every stream that there can be is looked at."""
    async with sink_of(link, streams=4) as sink:
        await write(sink, 1, 2)
        redis_server.command("HSET", KEYS.registry, "streams", number)
        reader = AuditReader(link, prefix=PREFIX)
        for _ in range(2):
            assert len(await reader.latest(100)) == 2 * len(PRODUCERS)
        exported = [line async for batch in reader.export("siem", "one") for line in batch]
        assert len(exported) == 2 * len(PRODUCERS)
        said = caplog.text.count("the number of streams cannot be read")
        assert said == (0 if number == "5000" else 1)
    async with sink_of(link, streams=4):
        assert redis_server.command("HGET", KEYS.registry, "streams") == b"4"


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
