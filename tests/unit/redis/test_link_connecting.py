"""How connections are made, shared, refused and lost, and where redis-py's names are."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis
from redis.asyncio.connection import Connection

from authkit.errors import ConfigurationError
from authkit_redis.link import (
    AccessRefused,
    Link,
    NotSent,
    ReplyError,
    Script,
    link_over,
    open_link,
)
from authkit_redis.link.channel import Channel
from authkit_redis.link.redis_py import TakenWire, take_wire
from authkit_redis.link.wire import Counts
from tests.unit.redis.scripted_server import HELLO, Peer, ScriptedServer, bulk

pytestmark = pytest.mark.anyio

ECHO = Script("return ARGV[1]")
SECRET = "open-sesame"


def last_argument(command: list[Any], peer: Peer) -> bytes:
    """What the script above would answer."""
    return bulk(command[-1])


async def echoed(link: Link, text: bytes, timeout_seconds: float = 1.0, **options: bool) -> Any:
    """A call whose reply is its argument."""
    return await link.run(ECHO, [b"k"], [text], timeout_seconds=timeout_seconds, **options)


async def test_the_private_names_of_redis_py_are_where_they_are_looked_for() -> None:
    """The connections of this release of redis-py can be taken over."""
    async with ScriptedServer(last_argument) as server:
        connection = Connection(host="127.0.0.1", port=server.port, protocol=3)
        await connection.connect()
        loop = asyncio.get_running_loop()
        channel = Channel(loop, Counts(), reply_timeout_seconds=1.0, max_in_flight=10)
        wire = take_wire(connection, channel)
        channel.attach(wire)
        await channel.aclose()
        assert isinstance(wire, TakenWire), (
            f"redis-py {redis.__version__} keeps the streams of a Connection elsewhere: look for"
            " them in redis/asyncio/connection.py and set _READER and _WRITER in"
            " authkit_redis/link/redis_py.py; until then each call costs about twice as much"
        )


async def test_nothing_is_connected_before_the_first_call() -> None:
    """Entering a link opens nothing."""
    async with ScriptedServer(last_argument) as server, open_link(server.url) as link:
        await asyncio.sleep(0.02)
        assert server.peers == []
        assert await echoed(link, b"a") == b"a"


async def test_a_link_closes_when_it_is_left_the_last_time() -> None:
    """Each store that shares it enters it for itself."""
    async with ScriptedServer(last_argument) as server:
        async with open_link(server.url) as link:
            async with link:
                assert await echoed(link, b"a") == b"a"
            assert await echoed(link, b"b") == b"b"
            assert len(server.peers) == 1
        assert link.stats()["disconnects_total"] == 1


async def test_a_server_that_is_not_there_is_reported_fast() -> None:
    """With the reason as the cause, and without an attempt for each call."""
    async with ScriptedServer(last_argument) as server:
        url = server.url
    async with open_link(url) as link:
        started = time.monotonic()
        for _ in range(200):
            with pytest.raises(NotSent):
                await echoed(link, b"a", 5.0)
        assert time.monotonic() - started < 2.0


async def test_a_repeatable_call_waits_for_the_next_attempt() -> None:
    """A server that comes back within a moment costs such a call nothing."""
    async with ScriptedServer(last_argument) as first:
        port = first.port
    async with open_link(f"redis://127.0.0.1:{port}") as link:
        for _ in range(3):
            with pytest.raises(NotSent):
                await echoed(link, b"a")
        server = await asyncio.start_server(ScriptedServer(last_argument)._serve, "127.0.0.1", port)
        assert await echoed(link, b"a", is_repeatable=True) == b"a"
        server.close()


async def test_a_connection_is_made_for_all_that_wait_and_outlives_who_asked_first() -> None:
    """Cancelling the call that set it off does not cancel it for the others."""
    async with ScriptedServer(last_argument, hello=None) as server:
        async with open_link(server.url, connect_timeout_seconds=5) as link:
            first = asyncio.create_task(echoed(link, b"first"))
            others = [asyncio.create_task(echoed(link, b"%d" % number)) for number in range(5)]
            await asyncio.sleep(0.05)
            first.cancel()
            await asyncio.wait([first])
            for peer in server.peers:
                peer.say(HELLO)
            assert await asyncio.gather(*others) == [b"%d" % number for number in range(5)]
            assert len(server.peers) == 1
            assert [b"first"] not in [command[-1:] for command in server.commands]


async def test_a_silent_handshake_ends_in_not_sent() -> None:
    """At the caller's deadline, or when connecting has taken too long."""
    async with ScriptedServer(last_argument, hello=None) as server:
        async with open_link(server.url, connect_timeout_seconds=0.1) as link:
            with pytest.raises(NotSent):
                await echoed(link, b"a", 0.03)
            with pytest.raises(NotSent):
                await echoed(link, b"a", 5.0)
            assert server.commands == []


async def test_a_server_without_resp3_is_spoken_to_in_resp2() -> None:
    """From then on without asking again."""
    unknown = b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n"
    async with ScriptedServer(last_argument, hello=unknown) as server:
        async with open_link(server.url) as link:
            assert await echoed(link, b"a") == b"a"
            server.peers[-1].reset()
            await asyncio.sleep(0.02)
            assert await echoed(link, b"b") == b"b"
            assert len(server.peers) == 3


async def test_a_wrong_password_is_refused_access() -> None:
    """The error says so, and nothing of it says the password."""
    wrong = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
    async with ScriptedServer(last_argument, hello=wrong) as server:
        url = server.url.replace("redis://", f"redis://app:{SECRET}@")
        async with open_link(url) as link:
            with pytest.raises(AccessRefused) as caught:
                await echoed(link, b"a")
            shown = f"{caught.value} {caught.value!r} {caught.value.__cause__} {link!r}"
            assert caught.value.code == "WRONGPASS"
            assert SECRET not in shown


@pytest.mark.parametrize(
    "url",
    [
        f"http://app:{SECRET}@localhost",
        f"{SECRET}",
        f"redis+galaxy://app:{SECRET}@localhost",
        f"unix+cluster://app:{SECRET}@/tmp/socket",
        f"redis+sentinel://app:{SECRET}@a:1,b:2",
        f"redis+cluster://app:{SECRET}@a:1/3",
        f"redis+cluster://app:{SECRET}@",
        f"redis+cluster://app:{SECRET}@a:port",
        f"redis://app:{SECRET}@localhost?socket_read_size=much-{SECRET}",
        f"redis://app:{SECRET}@localhost?nobody_knows=that",
        f"redis://app:{SECRET}@localhost:port{SECRET}",
    ],
)
async def test_an_address_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    """At once, as a mistake of whoever configured it."""
    with pytest.raises(ConfigurationError) as caught:
        open_link(url)
    causes = f"{caught.value.__cause__} {caught.value!r}"
    assert SECRET not in f"{caught.value} {causes}"
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "options",
    [{"reply_timeout_seconds": 0}, {"max_in_flight": 0}, {"decode_responses": True}, {"x": 1}],
)
async def test_options_that_cannot_be_used_are_refused(options: dict[str, Any]) -> None:
    """The link's own among them."""
    with pytest.raises(ConfigurationError):
        open_link("redis://localhost", **options)


async def test_a_client_that_decodes_is_refused() -> None:
    """Keys and values are bytes, which decoding would spoil or fail at."""
    with pytest.raises(ConfigurationError):
        link_over(redis.asyncio.Redis(decode_responses=True))
    with pytest.raises(ConfigurationError):
        link_over("redis://localhost")  # type: ignore[arg-type] # a mistake


def slots(*ports: int) -> bytes:
    """A reply to CLUSTER SLOTS in which the ports share the slots evenly."""
    share = 16384 // len(ports)
    parts = [b"*%d\r\n" % len(ports)]
    for number, port in enumerate(ports):
        first = number * share
        last = 16383 if number == len(ports) - 1 else first + share - 1
        parts.append(b"*3\r\n:%d\r\n:%d\r\n*3\r\n" % (first, last))
        parts.append(bulk(b"127.0.0.1") + b":%d\r\n" % port + bulk(b"%040d" % number))
    return b"".join(parts)


async def test_a_moved_slot_is_followed_and_remembered() -> None:
    """The call is repeated at the named node; later ones go there directly."""
    maps: list[bytes] = []

    def old(command: list[Any], peer: Peer) -> bytes:
        if command[0] == b"CLUSTER":
            return maps[0]
        return b"-MOVED 7629 127.0.0.1:%d\r\n" % new_node.port

    def new(command: list[Any], peer: Peer) -> bytes:
        return maps[0] if command[0] == b"CLUSTER" else last_argument(command, peer)

    async with ScriptedServer(old) as old_node, ScriptedServer(new) as new_node:
        maps.append(slots(old_node.port))
        async with open_link(f"redis+cluster://127.0.0.1:{old_node.port}") as link:
            assert await echoed(link, b"a") == b"a"
            maps[0] = slots(new_node.port)
            await asyncio.sleep(0.2)
            assert await echoed(link, b"b") == b"b"
        ran = [command[-1] for command in old_node.commands if command[0] == b"EVALSHA"]
        assert ran == [b"a"]


async def test_a_key_that_is_being_moved_is_asked_for_where_it_went() -> None:
    """With ASKING before the command, and the next call at the old node again."""

    def old(command: list[Any], peer: Peer) -> bytes:
        if command[0] == b"CLUSTER":
            return slots(old_node.port)
        if command[-1] == b"b":
            return last_argument(command, peer)
        return b"-ASK 7629 127.0.0.1:%d\r\n" % new_node.port

    def new(command: list[Any], peer: Peer) -> bytes:
        if command[0] == b"ASKING":
            return b"+OK\r\n"
        known = command[0] == b"EVAL"
        return last_argument(command, peer) if known else b"-NOSCRIPT no\r\n"

    async with ScriptedServer(old) as old_node, ScriptedServer(new) as new_node:
        async with open_link(f"redis+cluster://127.0.0.1:{old_node.port}") as link:
            assert await echoed(link, b"a") == b"a"
            assert await echoed(link, b"b") == b"b"
        names = [command[0] for command in new_node.commands]
        assert names == [b"ASKING", b"EVALSHA", b"ASKING", b"EVAL"]


async def test_nodes_that_disagree_for_ever_end_in_an_error() -> None:
    """A call is not sent round in circles."""

    def to_itself(command: list[Any], peer: Peer) -> bytes:
        if command[0] == b"CLUSTER":
            return slots(node.port)
        return b"-MOVED 7629 127.0.0.1:%d\r\n" % node.port

    async with ScriptedServer(to_itself) as node:
        async with open_link(f"redis+cluster://127.0.0.1:{node.port}") as link:
            with pytest.raises(ReplyError):
                await echoed(link, b"a")


async def test_a_cluster_that_cannot_be_asked_is_reported() -> None:
    """No slot map, no call."""

    def not_one(command: list[Any], peer: Peer) -> bytes:
        return b"-ERR This instance has cluster support disabled\r\n"

    async with ScriptedServer(not_one) as node:
        async with open_link(f"redis+cluster://127.0.0.1:{node.port}") as link:
            with pytest.raises(NotSent):
                await echoed(link, b"a", 0.5)


def masters(port: int) -> bytes:
    """A Sentinel's reply about the masters that it watches."""
    fields = {
        b"name": b"authkit",
        b"ip": b"127.0.0.1",
        b"port": b"%d" % port,
        b"flags": b"master",
        b"num-other-sentinels": b"2",
    }
    parts = [bulk(name) + bulk(value) for name, value in fields.items()]
    return b"*1\r\n*%d\r\n" % (2 * len(fields)) + b"".join(parts)


async def test_a_replica_that_a_sentinel_still_names_is_not_used() -> None:
    """It is asked for its role; the Sentinels are asked again at the next connect."""
    named: list[int] = []

    def sentinel(command: list[Any], peer: Peer) -> bytes:
        return masters(named.pop(0) if len(named) > 1 else named[0])

    def replica(command: list[Any], peer: Peer) -> bytes:
        return b"*5\r\n" + bulk(b"slave") + bulk(b"h") + b":1\r\n" + bulk(b"connected") + b":0\r\n"

    def master(command: list[Any], peer: Peer) -> bytes:
        is_role = command[0] == b"ROLE"
        return b"*1\r\n" + bulk(b"master") if is_role else last_argument(command, peer)

    async with ScriptedServer(sentinel) as watcher:
        async with ScriptedServer(replica) as old, ScriptedServer(master) as new:
            named += [old.port, new.port]
            gone = watcher.port
            url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{gone}/authkit"
            async with open_link(url) as link:
                assert await echoed(link, b"a") == b"a"
            assert [command[0] for command in old.commands] == [b"ROLE"]
            with pytest.raises(NotSent):
                await echoed(open_link(url.replace("/authkit", "/other")), b"a")
