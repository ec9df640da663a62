"""The link to Redis: what a call costs, beside a bare connection and redis-py."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AsyncExitStack
from itertools import cycle

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster as RedisClusterClient

from authkit_redis.link import Script, open_link
from benchmarks.measure import Figures, Load, measure_loads
from benchmarks.redis_floor import BareConnection
from tests.redis.cluster import RedisCluster
from tests.redis.servers import RedisServer

__all__ = ["link_figures"]

_SECONDS = 5.0
_ROUNDS, _CLUSTER_ROUNDS = 21, 11
_EXISTS = Script("return redis.call('EXISTS', KEYS[1])")


async def link_figures(server: RedisServer) -> Figures:
    """On one server, and on a cluster of three."""
    figures = await _on_one_server(server)
    with RedisCluster(server.binary) as cluster:
        figures.update(await _on_a_cluster(cluster))
    return figures


async def _on_one_server(server: RedisServer) -> Figures:
    key = b"key"
    keys, nothing = (key,), ()
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(open_link(server.url))
        client = await stack.enter_async_context(Redis.from_url(server.url))
        bare = await BareConnection.open(server.port)
        stack.callback(bare.close)
        # The server learns the script here.
        await link.run(_EXISTS, keys, nothing, timeout_seconds=_SECONDS)
        loads = {
            "bare connection": lambda: bare.call(b"EXISTS", key),
            "link": lambda: link.call(b"EXISTS", key, timeout_seconds=_SECONDS),
            "bare connection, script": lambda: bare.call(
                b"EVALSHA", _EXISTS.sha1, len(keys), *keys, *nothing
            ),
            "link, script": lambda: link.run(_EXISTS, keys, nothing, timeout_seconds=_SECONDS),
            "redis-py": lambda: client.exists("key"),
        }
        return await measure_loads(
            [Load(name=name, call=call) for name, call in loads.items()], _ROUNDS
        )


async def _on_a_cluster(cluster: RedisCluster) -> Figures:
    keys = [f"{{{number}}}:key" for number in range(1_000)]
    texts, packed = cycle(keys), cycle([key.encode() for key in keys])
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(open_link(cluster.url))
        client = await stack.enter_async_context(
            RedisClusterClient(host="127.0.0.1", port=cluster.nodes[0].port)
        )

        def through_the_link() -> Awaitable[object]:
            key = next(packed)
            return link.call(b"EXISTS", key, timeout_seconds=_SECONDS, key=key)

        return await measure_loads(
            [
                Load(name="link, cluster", call=through_the_link),
                Load(name="RedisCluster", call=lambda: client.exists(next(texts))),
            ],
            _CLUSTER_ROUNDS,
        )
