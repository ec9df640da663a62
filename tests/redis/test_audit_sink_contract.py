"""RedisAuditSink keeps the contract, on each topology."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio
from redis.driver_info import DriverInfo

from authkit.clock import Clock, SystemClock
from authkit.testing.contracts import AuditSinkContract
from authkit.testing.contracts.audit_sink import Written
from authkit.testing.contracts.backend import Outage
from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.audit_streams.reader import AuditReader
from authkit_redis.link import Link, link_over, open_link
from tests.redis.cluster import RedisCluster
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer

# redis-py would read its own version from a file, at each connect and in the event loop.
DRIVER = DriverInfo(lib_version=redis.__version__)


def frozen(*servers: RedisServer) -> Outage:
    """An outage in which these servers stand still."""

    @asynccontextmanager
    async def outage() -> AsyncIterator[None]:
        for server in servers:
            server.freeze()
        try:
            yield
        finally:
            for server in servers:
                server.thaw()

    return outage


class RedisContract(AuditSinkContract):
    """What holds on every topology."""

    is_deduplicating = True
    is_observable = True
    is_context_manager = True
    can_skip_time = False
    can_fail = True

    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()

    @pytest.fixture
    async def link(self, url: str) -> AsyncIterator[Link]:
        async with open_link(url) as link:
            yield link

    @pytest.fixture
    async def sink(self, link: Link, clock: Clock) -> AsyncIterator[RedisAuditSink]:
        async with RedisAuditSink(link, prefix="test", timeout_seconds=1.0, clock=clock) as sink:
            yield sink

    @pytest.fixture
    def written(self, link: Link) -> Written:
        async def written() -> list[dict[str, Any]]:
            lines = await AuditReader(link, prefix="test").latest(10_000)
            return [json.loads(line.line) for line in lines]

        return written


class TestRedisOnOneServer(RedisContract):
    """A standalone server."""

    @pytest.fixture
    def url(self, redis_server: RedisServer) -> str:
        return redis_server.url

    @pytest.fixture
    def outage(self, redis_server: RedisServer) -> Outage:
        return frozen(redis_server)


@pytest.mark.full
class TestRedisOnSentinels(RedisContract):
    """A master with a replica, found by way of Sentinels."""

    on_one_version = True

    @pytest.fixture
    def url(self, sentinels: SentinelTopology) -> str:
        return sentinels.url

    @pytest.fixture
    def outage(self, sentinels: SentinelTopology) -> Outage:
        return frozen(*sentinels.servers)


@pytest.mark.full
class TestRedisOnACluster(RedisContract):
    """A cluster of three masters with three replicas."""

    on_one_version = True

    @pytest.fixture
    def url(self, cluster: RedisCluster) -> str:
        return cluster.url

    @pytest.fixture
    def outage(self, cluster: RedisCluster) -> Outage:
        return frozen(*cluster.servers)


class RedisOverAClient(RedisContract):
    """Every call goes through a client of redis-py that the application has."""

    on_one_version = True

    @pytest.fixture
    async def client(self, url: str) -> AsyncIterator[Any]:
        async with redis.asyncio.Redis.from_url(url, driver_info=DRIVER) as client:
            yield client

    @pytest.fixture
    def link(self, client: Any) -> Link:
        return link_over(client)


@pytest.mark.full
class TestRedisOverTheUsersClient(RedisOverAClient, TestRedisOnOneServer):
    """A `redis.asyncio.Redis` of a standalone server."""


@pytest.mark.full
class TestRedisOverTheUsersClusterClient(RedisOverAClient, TestRedisOnACluster):
    """A `redis.asyncio.RedisCluster`."""

    @pytest.fixture
    async def client(self, cluster: RedisCluster) -> AsyncIterator[Any]:
        port = cluster.nodes[0].port
        async with redis.asyncio.RedisCluster(
            host="127.0.0.1", port=port, driver_info=DRIVER
        ) as client:
            yield client
            # Having been cancelled while it learnt the slots, it would close nothing.
            await client.initialize()
