"""The link where servers fail over: behind Sentinels, and in a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import redis
from redis.asyncio.cluster import RedisCluster as ClusterClient
from redis.driver_info import DriverInfo

from authkit_redis.link import Link, LinkError, ReplyError, Script, link_over, open_link
from tests.redis.cluster import RedisCluster
from tests.redis.sentinels import SentinelTopology

pytestmark = pytest.mark.anyio

SET = Script("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])")
SWEEP_SECONDS = 30.0


async def first_success(link: Link, key: bytes, value: bytes) -> int:
    """How many calls failed before one succeeded; each with an error of the link's own."""
    stop = time.monotonic() + SWEEP_SECONDS
    failures = 0
    while True:
        try:
            assert await link.run(SET, [key], [value], timeout_seconds=1) == value
        except LinkError:
            assert time.monotonic() < stop, "the link did not recover"
            failures += 1
            await asyncio.sleep(0.05)
        else:
            return failures


@pytest.fixture(params=["own", "client"])
async def link(cluster: RedisCluster, request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    """A link of each kind to the cluster."""
    if request.param == "own":
        async with open_link(cluster.url) as opened:
            yield opened
        return
    async with ClusterClient(
        host="127.0.0.1",
        port=cluster.nodes[0].port,
        driver_info=DriverInfo(lib_version=redis.__version__),
    ) as client:
        yield link_over(client)


async def test_each_key_goes_to_its_node(link: Link) -> None:
    """Scripts, single commands and tails."""
    for number in range(60):
        text = b"%d" % number
        assert await link.run(SET, [b"k" + text], [text], timeout_seconds=2) == text
        assert await link.call(b"GET", b"k" + text, timeout_seconds=2, key=b"k" + text) == text
    assert await link.call(b"PING", timeout_seconds=2) in (b"PONG", True, "PONG")
    tail = link.tail(b"k1-log")
    assert await tail.read(b"0", count=5, block_seconds=0.01) == []
    await link.call(b"XADD", b"k1-log", b"1-1", b"f", b"v", timeout_seconds=2, key=b"k1-log")
    assert await tail.read(b"0", count=5, block_seconds=1.0) == [(b"1-1", [b"f", b"v"])]
    await tail.aclose()


async def test_keys_of_different_slots_are_refused(cluster: RedisCluster) -> None:
    """By the server: a script has one node."""
    async with open_link(cluster.url) as link:
        with pytest.raises(ReplyError) as caught:
            await link.run(SET, [b"a", b"b"], [b"v"], timeout_seconds=2)
        assert caught.value.code == "CROSSSLOT"


async def test_a_killed_master_is_replaced(cluster: RedisCluster) -> None:
    """Calls fail in time until its replica has its slots; others go on; tails follow."""
    async with open_link(cluster.url) as link:
        await first_success(link, b"k", b"before")
        await link.call(b"XADD", b"{k}log", b"1-1", b"f", b"v", timeout_seconds=2, key=b"k")
        tail = link.tail(b"{k}log")
        await tail.read(b"0", count=1, block_seconds=0.01)
        other = next(
            b"o%d" % number
            for number in range(1000)
            if cluster.master_of(b"o%d" % number) is not cluster.master_of(b"k")
        )
        await first_success(link, other, b"before")
        cluster.kill_master_of(b"k")
        assert await link.run(SET, [other], [b"during"], timeout_seconds=1) == b"during"
        assert await first_success(link, b"k", b"after") > 0
        await link.call(b"XADD", b"{k}log", b"2-1", b"f", b"v", timeout_seconds=2, key=b"k")
        read = await tail.read(b"1-1", count=5, block_seconds=1.0)
        assert read == [(b"2-1", [b"f", b"v"])]
        await tail.aclose()


async def test_swapped_roles_cost_a_call_nothing(cluster: RedisCluster) -> None:
    """MOVED means that it was not executed, so that it is executed where it belongs."""
    async with open_link(cluster.url) as link:
        await first_success(link, b"k", b"before")
        cluster.failover(b"k")
        assert await link.run(SET, [b"k"], [b"after"], timeout_seconds=2) == b"after"


async def test_a_slot_on_its_way_is_followed(cluster: RedisCluster) -> None:
    """ASK: the key is where the slot goes to, the slot map says otherwise."""
    async with open_link(cluster.url) as link:
        assert await link.run(SET, [b"{m}a"], [b"1"], timeout_seconds=2) == b"1"
        cluster.begin_move(b"{m}a")
        assert await link.run(SET, [b"{m}new"], [b"2"], timeout_seconds=2) == b"2"


async def test_a_master_behind_sentinels_is_replaced(sentinels: SentinelTopology) -> None:
    """Calls fail in time until there is a new master, which is then found."""
    async with open_link(sentinels.url) as link:
        await first_success(link, b"k", b"before")
        sentinels.kill_master()
        assert await first_success(link, b"k", b"after") > 0


async def test_a_demoted_master_is_left(sentinels: SentinelTopology) -> None:
    """It lives on as a replica: READONLY, or a lost connection, leads to the new one."""
    async with open_link(sentinels.url) as link:
        await first_success(link, b"k", b"before")
        sentinels.failover()
        # Until it is told, the old master goes on taking writes, which are lost then.
        stop = time.monotonic() + SWEEP_SECONDS
        while sentinels.master.command("GET", "k") != b"after":
            assert time.monotonic() < stop, "the link has not left the old master"
            await first_success(link, b"k", b"after")
            await asyncio.sleep(0.05)
