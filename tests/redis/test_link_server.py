"""The link against a real Redis, over its own connections and over an application's client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable

import pytest
import redis
from redis.asyncio import Redis
from redis.driver_info import DriverInfo

from authkit_redis.link import (
    AccessRefused,
    Link,
    LinkError,
    NotSent,
    OutcomeUnknown,
    ReplyError,
    Script,
    link_over,
    open_link,
)
from tests.redis.servers import RedisServer

pytestmark = pytest.mark.anyio

ECHO = Script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")
SET = Script("return redis.call('SET', KEYS[1], ARGV[1])")
REFUSE = Script("return redis.error_reply('MINE and a text')")


def client_of(server: RedisServer) -> Redis:
    """An application's client, which does not read files for its name at every connection."""
    return Redis.from_url(server.url, driver_info=DriverInfo(lib_version=redis.__version__))


@pytest.fixture(params=["own", "client"])
async def link(redis_server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    """A link of each kind to the session's server."""
    if request.param == "own":
        async with open_link(redis_server.url) as opened:
            yield opened
        return
    async with client_of(redis_server) as client:
        async with link_over(client) as over:
            yield over


@pytest.fixture
async def own_link(redis_server: RedisServer) -> AsyncIterator[Link]:
    """A link with connections of its own."""
    async with open_link(redis_server.url, reply_timeout_seconds=0.2) as opened:
        yield opened


def echoed(link: Link, number: int, timeout_seconds: float = 5.0) -> Awaitable[object]:
    """A call that tells its own reply from every other."""
    return link.run(ECHO, [b"k%d" % number], [number], timeout_seconds=timeout_seconds)


async def test_a_script_gets_its_keys_and_arguments(link: Link) -> None:
    """Bytes stay bytes, and integers may be given as such."""
    odd = bytes(range(256))
    reply = await link.run(
        Script("return {KEYS, ARGV, 7, false}"), [odd], [odd, 5], timeout_seconds=2
    )
    assert reply == [[odd], [odd, b"5"], 7, None]


async def test_a_flushed_script_is_loaded_again(link: Link) -> None:
    """By the first call that misses it; those after it find it."""
    await echoed(link, 1)
    await link.call(b"SCRIPT", b"FLUSH", timeout_seconds=2)
    assert await echoed(link, 1) == [b"k1", b"1", 2]
    assert await link.call(b"SCRIPT", b"EXISTS", ECHO.sha1, timeout_seconds=2) == [1]


async def test_replies_of_commands_are_raw(link: Link) -> None:
    """Whatever redis-py would make of them."""
    position = await link.call(b"XADD", b"s", b"*", b"f", b"v", timeout_seconds=2, key=b"s")
    entries = await link.call(b"XRANGE", b"s", b"-", b"+", timeout_seconds=2, key=b"s")
    assert entries == [[position, [b"f", b"v"]]]


async def test_a_scripts_own_error_has_its_code(link: Link) -> None:
    """And nothing of its text."""
    with pytest.raises(ReplyError) as caught:
        await link.run(REFUSE, [b"k"], [], timeout_seconds=2)
    assert caught.value.code in ("MINE", "ERR")
    assert "a text" not in str(caught.value)


async def test_a_server_full_without_eviction_says_so(
    redis_server: RedisServer, link: Link
) -> None:
    """OOM is an error reply like others."""
    await echoed(link, 1)
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
    with pytest.raises(ReplyError) as caught:
        await link.run(SET, [b"k"], [b"v"], timeout_seconds=2)
    assert caught.value.code == "OOM"


async def test_a_tail_reads_what_is_added(link: Link) -> None:
    """From a position, in order, and nothing once it has waited long enough."""
    tail = link.tail(b"s")
    assert await tail.read(b"0", count=10, block_seconds=0.01) == []
    reading = asyncio.create_task(tail.read(b"0", count=10, block_seconds=5.0))
    await asyncio.sleep(0.05)
    ids = []
    for number in range(3):
        text = b"%d" % number
        ids.append(await link.call(b"XADD", b"s", b"*", b"n", text, b"n", text, timeout_seconds=2))
    entries = await reading
    entries += await tail.read(entries[-1][0], count=10, block_seconds=0.2)
    assert entries == [(ids[n], [b"n", b"%d" % n] * 2) for n in range(3)]
    await tail.aclose()


async def test_a_tail_may_block_for_longer_than_replies_may_take(own_link: Link) -> None:
    """Silence is what it waits for."""
    tail = own_link.tail(b"s")
    assert await tail.read(b"0", count=1, block_seconds=0.4) == []
    assert own_link.stats()["connects_total"] == 1
    await tail.aclose()


async def test_five_thousand_calls_at_once_succeed(own_link: Link) -> None:
    """Over one connection."""
    replies = await asyncio.gather(*[echoed(own_link, number) for number in range(5_000)])
    assert replies == [[b"k%d" % number, b"%d" % number, 1] for number in range(5_000)]
    assert own_link.stats()["connects_total"] == 1


async def test_calls_cancelled_at_every_await_harm_nobody(own_link: Link) -> None:
    """Not a wrong reply, not a lost connection, wherever each of them stood."""
    for ticks in range(30):
        doomed = [asyncio.ensure_future(echoed(own_link, number)) for number in range(20)]
        kept = [asyncio.ensure_future(echoed(own_link, 1_000 * ticks + n)) for n in range(100, 110)]
        for _ in range(ticks):
            await asyncio.sleep(0)
        for each in doomed:
            each.cancel()
        replies = await asyncio.gather(*kept)
        expected = [1_000 * ticks + n for n in range(100, 110)]
        assert replies == [[b"k%d" % number, b"%d" % number, 1] for number in expected]
    assert own_link.stats()["connects_total"] == 1


async def test_killed_connections_are_made_anew(redis_server: RedisServer, own_link: Link) -> None:
    """The call after the loss was noticed is served."""
    for number in range(5):
        await echoed(own_link, number)
        redis_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0.01)
    assert own_link.stats()["connects_total"] == 5


async def test_a_frozen_server_costs_its_connection(
    own_redis_server: RedisServer,
) -> None:
    """Its silence is noticed, calls end in time, and afterwards there is a new connection."""
    async with open_link(own_redis_server.url, reply_timeout_seconds=0.2) as link:
        await echoed(link, 1)
        own_redis_server.freeze()
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            await echoed(link, 2)
        with pytest.raises(NotSent):
            await echoed(link, 3, 0.3)
        assert time.monotonic() - started < 2.0
        own_redis_server.thaw()
        assert await echoed(link, 4) == [b"k4", b"4", 1]


async def test_a_server_that_returns_is_used_again(own_redis_server: RedisServer) -> None:
    """Empty and without scripts, on the same port."""
    async with open_link(own_redis_server.url) as link:
        await echoed(link, 1)
        own_redis_server.kill()
        with pytest.raises(LinkError):
            await echoed(link, 1)
        own_redis_server.restart()
        assert await link.run(ECHO, [b"k1"], [1], timeout_seconds=2, is_repeatable=True) == [
            b"k1",
            b"1",
            1,
        ]


async def test_a_replica_takes_no_writes(own_redis_server: RedisServer) -> None:
    """READONLY, until it is a master again: the connection is made anew meanwhile."""
    async with open_link(own_redis_server.url) as link:
        await link.run(SET, [b"k"], [b"v"], timeout_seconds=2)
        own_redis_server.command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(ReplyError) as caught:
            await link.run(SET, [b"k"], [b"v"], timeout_seconds=2)
        assert caught.value.code == "READONLY"
        own_redis_server.command("REPLICAOF", "NO", "ONE")
        await link.run(SET, [b"k"], [b"v"], timeout_seconds=2)
        assert link.stats()["connects_total"] == 2


@pytest.mark.parametrize("user", ["app", "nobody"])
async def test_a_wrong_password_is_refused_access(redis_server: RedisServer, user: str) -> None:
    """Of a user that there is, and of one that there is not."""
    right = redis_server.add_user("app", "~*", "+@all", password="right")
    async with open_link(right) as link:
        await echoed(link, 1)
    async with open_link(right.replace("app:right", f"{user}:wrong")) as link:
        with pytest.raises(AccessRefused) as caught:
            await echoed(link, 1)
        assert caught.value.code == "WRONGPASS"
        assert "wrong" not in f"{caught.value} {caught.value.__cause__}".replace("wrongpass", "")


@pytest.mark.parametrize(
    ("rules", "command"),
    [(["~*", "+@all", "-evalsha"], "evalsha"), (["~*", "+@all", "-incr"], "incr")],
)
async def test_an_acl_without_a_command_names_it(
    redis_server: RedisServer, rules: list[str], command: str
) -> None:
    """Whether the link calls it or a script does."""
    url = redis_server.add_user("app", *rules, password="right")
    async with open_link(url) as link:
        with pytest.raises(AccessRefused) as caught:
            await echoed(link, 1)
        assert caught.value.code == "NOPERM"
        assert caught.value.command in (command, None)
        assert command != "evalsha" or caught.value.command == command


async def test_a_password_is_asked_for(redis_server: RedisServer) -> None:
    """A server that wants one refuses access to whoever has none."""
    redis_server.command("CONFIG", "SET", "requirepass", "right")
    async with open_link(redis_server.url) as link:
        with pytest.raises(AccessRefused) as caught:
            await echoed(link, 1)
        assert caught.value.code == "NOAUTH"
    redis_server.password = "right"
    try:
        async with open_link(redis_server.url) as link:
            await echoed(link, 1)
        redis_server.command("CONFIG", "SET", "requirepass", "")
    finally:
        redis_server.password = None


async def test_a_unix_socket_and_another_database(redis_server: RedisServer) -> None:
    """Both are redis-py's, and work over the link."""
    url = redis_server.unix_url.replace("db=0", "db=3")
    async with open_link(url) as link:
        await link.run(SET, [b"k"], [b"v"], timeout_seconds=2)
    assert redis_server.info("keyspace") == {"db3": redis_server.info("keyspace")["db3"]}


async def test_tls_is_spoken_and_certificates_are_checked(tls_redis_server: RedisServer) -> None:
    """A server whose certificate is not trusted is not used."""
    assert tls_redis_server.certificates is not None
    trusted = str(tls_redis_server.certificates.ca_path)
    async with open_link(tls_redis_server.tls_url, ssl_ca_certs=trusted) as link:
        replies = await asyncio.gather(*[echoed(link, number) for number in range(500)])
        assert replies == [[b"k%d" % number, b"%d" % number, 1] for number in range(500)]
    async with open_link(tls_redis_server.tls_url) as link:
        with pytest.raises(NotSent):
            await echoed(link, 1)


async def test_the_application_keeps_its_client(redis_server: RedisServer) -> None:
    """A link over it closes nothing."""
    async with client_of(redis_server) as client:
        async with link_over(client) as link:
            await echoed(link, 1)
        assert await client.get("k1") == b"1"


async def test_a_call_over_a_client_ends_in_time(own_redis_server: RedisServer) -> None:
    """Whatever the client's own timeouts and retries are."""
    async with client_of(own_redis_server) as client:
        link = link_over(client)
        await echoed(link, 1)
        own_redis_server.freeze()
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            await echoed(link, 2, 0.2)
        assert time.monotonic() - started < 1.0
        own_redis_server.thaw()
        assert await echoed(link, 3) == [b"k3", b"3", 1]
        assert link.stats()["timeouts_total"] == 1
