"""What Sentinels and the nodes of a cluster say about who has the data, and what if they do not."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from authkit_redis.link import Link, NotSent, open_link
from tests.unit.redis.scripted_server import Answer, Peer, ScriptedServer, bulk

pytestmark = pytest.mark.anyio

NODE = bulk(b"0123456789")


def listed(*parts: bytes) -> bytes:
    """An array as RESP writes it."""
    return b"*%d\r\n%s" % (len(parts), b"".join(parts))


def named(port: int, *, name: bytes = b"orders", flags: bytes = b"master") -> bytes:
    """What a Sentinel answers that watches one master."""
    words = (b"name", name, b"ip", b"127.0.0.1", b"port", b"%d" % port, b"flags", flags)
    return listed(listed(*map(bulk, words)))


def slots(first: int, last: int, host: bytes, port: int) -> bytes:
    """The part of a slot map that one master has; its replica is nowhere."""
    replica = listed(bulk(b"192.0.2.1"), b":1\r\n", NODE)
    return listed(
        b":%d\r\n:%d\r\n" % (first, last) + listed(host, b":%d\r\n" % port, NODE), replica
    ).replace(b"*2", b"*4", 1)


def data(command: list[Any], peer: Peer) -> bytes:
    """A master that knows one value."""
    return listed(bulk(b"master"), b":0\r\n", b"*0\r\n") if command == [b"ROLE"] else bulk(b"v")


async def value(link: Link) -> Any:
    return await link.call(b"GET", b"k", timeout_seconds=2, key=b"k")


class Servers(AsyncExitStack):
    """Scripted servers that end with the test."""

    async def start(self, answer: Answer) -> ScriptedServer:
        return await self.enter_async_context(ScriptedServer(answer))

    async def saying(self, said: bytes | None) -> str:
        """The address of one that always says the same."""
        return f"127.0.0.1:{(await self.start(lambda command, peer: said)).port}"


async def test_a_sentinel_that_does_not_answer_is_passed_over() -> None:
    """The next is asked soon, long before the first has had its time."""
    async with Servers() as servers:
        master = await servers.start(data)
        silent, good = await servers.saying(None), await servers.saying(named(master.port))
        url = f"redis+sentinel://{silent},{good}/orders"
        async with open_link(url, connect_timeout_seconds=1.5) as link:
            assert await link.call(b"GET", b"k", timeout_seconds=1.0) == b"v"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (named(1, name=b"others"), "watches no master of this service"),
        (named(1, flags=b"master,s_down"), "knows it down"),
        (named(1, flags=b"master,o_down"), "knows it down"),
        (named(1, flags=b"slave"), "knows it down"),
        (b":1\r\n", "has answered something else"),
        (listed(listed(bulk(b"name"))), "has answered something else"),
        (listed(listed(bulk(b"name"), bulk(b"orders"))), "has answered something else"),
        (listed(bulk(b"text")), "has answered something else"),
    ],
)
async def test_a_sentinel_that_names_no_master_is_passed_over(said: bytes, why: str) -> None:
    """One that does is believed; where none does, it is told what they have said."""
    async with Servers() as servers:
        master = await servers.start(data)
        odd, good = await servers.saying(said), await servers.saying(named(master.port))
        async with open_link(f"redis+sentinel://{odd},{good}/orders") as link:
            assert await value(link) == b"v"
        async with open_link(f"redis+sentinel://{odd}/orders") as link:
            with pytest.raises(NotSent, match=why):
                await value(link)


@pytest.mark.parametrize("host", [b"$-1\r\n", bulk(b""), bulk(b"?")])
async def test_a_node_without_a_name_is_the_one_that_was_asked(host: bytes) -> None:
    """A cluster may not know by which name its nodes are reached."""
    async with Servers() as servers:
        master = await servers.start(data)
        asked = await servers.saying(listed(slots(0, 16383, host, master.port)))
        async with open_link(f"redis+cluster://{asked}") as link:
            assert await value(link) == b"v"


async def test_nodes_are_where_the_application_says() -> None:
    """`address_remap` has the last word, and its failure is one of the link."""
    async with Servers() as servers:
        master = await servers.start(data)
        there = {("inside", 7000): ("127.0.0.1", master.port)}
        asked = await servers.saying(listed(slots(0, 16383, bulk(b"inside"), 7000)))
        async with open_link(f"redis+cluster://{asked}", address_remap=there.__getitem__) as link:
            assert await value(link) == b"v"
        async with open_link(f"redis+cluster://{asked}", address_remap={}.__getitem__) as link:
            with pytest.raises(NotSent):
                await value(link)


@pytest.mark.parametrize(
    "partial", [b"*0\r\n", b":1\r\n", b"*1\r\n:1\r\n", listed(slots(0, 16384, bulk(b"h"), 1))]
)
async def test_a_node_that_knows_no_masters_is_passed_over(partial: bytes) -> None:
    """It may have left the cluster; alone it is no cluster."""
    async with Servers() as servers:
        master = await servers.start(data)
        whole = listed(slots(0, 16383, bulk(b"127.0.0.1"), master.port))
        odd, good = await servers.saying(partial), await servers.saying(whole)
        async with open_link(f"redis+cluster://{odd},{good}") as link:
            assert await value(link) == b"v"
        async with open_link(f"redis+cluster://{odd}") as link:
            with pytest.raises(NotSent):
                await value(link)


async def test_of_incomplete_maps_the_largest_serves() -> None:
    """Some slots may have no master, and the others are to be reached."""
    async with Servers() as servers:
        master = await servers.start(data)
        at = bulk(b"127.0.0.1")
        small = await servers.saying(listed(slots(0, 10, at, master.port)))
        large = await servers.saying(listed(slots(0, 16382, at, master.port)))
        async with open_link(f"redis+cluster://{small},{large}") as link:
            assert await value(link) == b"v"
