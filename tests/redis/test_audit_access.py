"""A server that does less than an audit sink needs: the sink says so, and loses nothing."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.audit_streams.reader import AuditReader
from authkit_redis.link import Link, open_link
from tests.redis.audit_events import KEYS, LOG, PREFIX, kept, made, numbers, opened
from tests.redis.servers import RedisServer
from tests.redis.stores import until

pytestmark = pytest.mark.anyio

WRITER = (
    "evalsha",
    "eval",
    "xadd",
    "xlen",
    "xrange",
    "xtrim",
    "xpending",
    "xinfo|groups",
    "get",
    "set",
    "del",
    "exists",
    "hget",
    "hset",
    "time",
    "info",
)
"""What the documentation says that the user of a sink must be allowed, and nothing else."""

READER = (
    "evalsha",
    "eval",
    "hget",
    "xrange",
    "xrevrange",
    "exists",
    "xreadgroup",
    "xgroup|create",
    "xautoclaim",
    "xack",
)
"""The same for the user of a reader that exports; the others need only the first five."""


def rules(*allowed: str, lacking: str = "") -> list[str]:
    commands = [f"+{command}" for command in allowed if command != lacking]
    return [f"~{{{PREFIX}:audit*", "resetchannels", *commands]


async def test_users_with_just_the_documented_rules_can_do_everything(
    redis_server: RedisServer,
) -> None:
    """Writing, trimming, and reading in all ways."""
    writer = redis_server.add_user("writer", *rules(*WRITER), password="s3cret")
    reader = redis_server.add_user("reader", *rules(*READER), password="s3cret")
    async with opened(writer, max_events=10, streams=2) as sink, open_link(reader) as link:
        await sink.write(made(1, 300))
        reading = AuditReader(link, prefix=PREFIX)
        assert numbers(await reading.latest(3)) == [298, 299, 300]
        async for line in reading.follow(latest=1):
            assert numbers([line]) == [300]
            break
        exported = [numbers(batch) async for batch in reading.export("siem", "one")]
        assert exported[-1][-1] == 300
        assert [numbers(batch)[-1] async for batch in reading.history()] == [300]
        await until("trimmed", lambda: sink.stats()["trimmed_total"] > 0)
        assert sink.stats()["upkeep_failures_total"] == 0
    log = redis_server.command("ACL", "LOG")
    refused = {dict(zip(each[::2], each[1::2], strict=True))[b"object"] for each in log}
    assert refused <= {b"client|setinfo"}  # of redis-py, which does not mind


@pytest.mark.parametrize("command", WRITER)
async def test_a_missing_permission_is_named_at_the_start(
    redis_server: RedisServer, command: str
) -> None:
    """Each command that the rules lack."""
    url = redis_server.add_user("writer", *rules(*WRITER, lacking=command), password="s3cret")
    name = command.partition("|")[0]
    with pytest.raises(ConfigurationError, match=rf"(?i)\b{name}\b") as raised:
        async with opened(url):
            pass
    assert "s3cret" not in str(raised.value)
    assert redis_server.command("XLEN", LOG) == 0


async def test_a_permission_that_is_taken_away_is_an_outage(redis_server: RedisServer) -> None:
    """While it runs, the sink raises what the trail retries."""
    url = redis_server.add_user("writer", *rules(*WRITER), password="s3cret")
    async with opened(url) as sink:
        await sink.write(made(1, 1))
        redis_server.command("ACL", "SETUSER", "writer", "-xadd")
        with pytest.raises(BackendUnavailable, match="refuses this user"):
            await sink.write(made(2, 2))
        redis_server.command("ACL", "SETUSER", "writer", "+xadd")
        await sink.write(made(2, 2))
    assert kept(redis_server) == [1, 2]


async def test_a_wrong_password_fails_at_the_start(redis_server: RedisServer) -> None:
    """The message says so, and says neither password."""
    redis_server.add_user("writer", *rules(*WRITER), password="s3cret")
    url = f"redis://writer:wr0ng@127.0.0.1:{redis_server.port}/0"
    with pytest.raises(ConfigurationError, match="WRONGPASS") as raised:
        async with opened(url):
            pass
    assert not re.search("s3cret|wr0ng", str(raised.value))
    async with open_link(url) as link:
        with pytest.raises(ConfigurationError, match="WRONGPASS"):
            await AuditReader(link, prefix=PREFIX).latest(1)


async def test_begins_without_a_server(redis_server: RedisServer) -> None:
    """Entering does not fail for a server that is not there, and says so."""
    redis_server.stop()
    async with open_link(redis_server.url) as link:
        sink = RedisAuditSink(link, prefix=PREFIX, timeout_seconds=0.3)
        states: list[str] = []
        sink.observe(lambda change: states.append(change.new))
        async with sink:
            assert states == ["unwritable"]
            with pytest.raises(BackendUnavailable):
                await sink.write(made(1, 1))


async def test_the_data_of_another_program_are_left_alone(redis_server: RedisServer) -> None:
    """At the start it is a ConfigurationError; later an outage, and the foreign value stays."""
    async with opened(redis_server.url) as sink:
        redis_server.command("SET", LOG, "theirs")
        with pytest.raises(BackendUnavailable, match="another program"):
            await sink.write(made(1, 2))
        with pytest.raises(ConfigurationError, match="another program"):
            async with opened(redis_server.url):
                pass
        assert redis_server.command("GET", LOG) == b"theirs"
        redis_server.command("DEL", LOG)
        place = KEYS.place("producer-1", 1).sequence
        for value in ("nan", "inf", "0x10", "1e300", ""):
            redis_server.command("SET", place, value)
            with pytest.raises(BackendUnavailable, match="another program"):
                await sink.write(made(1, 2))
        redis_server.command("DEL", place)
        redis_server.command("RPUSH", place, "1")
        with pytest.raises(BackendUnavailable, match="another program"):
            await sink.write(made(1, 2))
        redis_server.command("DEL", place)
        await sink.write(made(1, 2))
    assert kept(redis_server) == [1, 2]


async def test_a_foreign_registry_does_not_stop_writing(redis_server: RedisServer) -> None:
    """The events are written; only readers, who need it, cannot know how many streams there are."""
    async with open_link(redis_server.url) as link:
        sink = RedisAuditSink(link, prefix=PREFIX)
        redis_server.command("SET", KEYS.registry, "theirs")
        await sink.write(made(1, 2))
        assert sink.stats()["upkeep_failures_total"] == 1
        with pytest.raises(BackendUnavailable):
            await AuditReader(link, prefix=PREFIX).latest(1)
        with pytest.raises(ConfigurationError, match="another program"):
            await sink.__aenter__()
        redis_server.command("DEL", KEYS.registry)
        redis_server.command("HSET", KEYS.registry, "streams", "999999999")
        async with sink:
            assert redis_server.command("HGET", KEYS.registry, "streams") == b"1"


async def test_a_full_server_takes_nothing_and_says_so(redis_server: RedisServer) -> None:
    """Out of memory is an outage in plain words; with memory the same batch is written once."""
    async with opened(redis_server.url) as sink:
        await sink.write(made(1, 2))
        redis_server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(BackendUnavailable, match="Redis is full"):
            await sink.write(made(3, 4))
        redis_server.command("CONFIG", "SET", "maxmemory", "0")
        await sink.write(made(3, 4))
    assert kept(redis_server) == [1, 2, 3, 4]


async def test_a_replica_is_an_outage(redis_server: RedisServer) -> None:
    """A server that was demoted takes nothing."""
    async with opened(redis_server.url, timeout_seconds=0.5) as sink:
        redis_server.command("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(BackendUnavailable, match="replica"):
                await sink.write(made(1, 2))
        finally:
            redis_server.command("REPLICAOF", "NO", "ONE")
        await sink.write(made(1, 2))
    assert kept(redis_server) == [1, 2]


async def test_a_server_that_drops_keys_is_told(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start, in the log and as a state; it writes all the same."""
    redis_server.command("CONFIG", "SET", "maxmemory", "1gb")
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    async with open_link(redis_server.url) as link:
        sink = RedisAuditSink(link, prefix=PREFIX)
        states: list[str | None] = []
        sink.observe(lambda change: states.append(change.code))
        with caplog.at_level(logging.ERROR, "authkit"):
            async with sink:
                await sink.write(made(1, 2))
    assert states == ["audit_evicting"]
    assert "noeviction" in caplog.text
    assert kept(redis_server) == [1, 2]


class Watched:
    """A link that takes its time to be entered, or fails, and counts who is in."""

    def __init__(self, link: Link, error: Exception | None = None) -> None:
        self.inside = 0
        self._link = link
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    async def __aenter__(self) -> Watched:
        await asyncio.sleep(0.02)
        if self._error is not None:
            raise self._error
        await self._link.__aenter__()
        self.inside += 1
        return self

    async def __aexit__(self, *args: Any) -> None:
        self.inside -= 1
        await self._link.__aexit__(*args)


async def entered_by_three(sink: RedisAuditSink, link: Watched) -> list[BaseException | None]:
    """What becomes of three owners at once, each of whom has to find the link entered."""

    async def owner() -> None:
        async with sink:
            assert link.inside > 0
            await sink.write([])

    return await asyncio.gather(*[owner() for _ in range(3)], return_exceptions=True)


async def test_owners_that_enter_at_once_find_it_entered(redis_server: RedisServer) -> None:
    """None of them is in before the link is, and the last one leaves it."""
    link = Watched(open_link(redis_server.url))
    watched: Any = link
    sink = RedisAuditSink(watched, prefix=PREFIX)
    for _ in range(2):
        assert await entered_by_three(sink, link) == [None] * 3
        assert link.inside == 0


async def test_owners_that_enter_at_once_are_all_refused(redis_server: RedisServer) -> None:
    """By an ACL, or by a link that cannot be entered; nothing stays half open."""
    url = redis_server.add_user("writer", *rules(*WRITER, lacking="xadd"), password="s3cret")
    for link, kind in (
        (Watched(open_link(url)), ConfigurationError),
        (Watched(open_link(url), OSError("no")), OSError),
    ):
        watched: Any = link
        outcomes = await entered_by_three(RedisAuditSink(watched, prefix=PREFIX), link)
        assert [type(outcome) for outcome in outcomes] == [kind] * 3
        assert link.inside == 0
