"""RedisRevocationStore keeps the contract, on each topology."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio
from redis.driver_info import DriverInfo

from authkit.clock import Clock, SystemClock
from authkit.testing.contracts import RevocationStoreContract
from authkit.testing.contracts.backend import Outage
from authkit_redis import RedisBackends, RedisRevocationStore
from tests.redis.cluster import RedisCluster
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer

# redis-py would read its own version from a file, at each connect and in the event loop.
DRIVER = DriverInfo(lib_version=redis.__version__)

# Entering does not wait long for the first proof, which a busy machine may give later.
ENOUGH_SECONDS = 20.0


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


class RedisContract(RevocationStoreContract):
    """What holds on every topology."""

    is_lifting = True
    is_feeding = True
    is_observable = True
    is_context_manager = True
    can_skip_time = False
    can_fail = True
    staleness_seconds = 0.2
    max_pending = 1_000

    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()

    @pytest.fixture
    async def store(self, url: str, clock: Clock) -> AsyncIterator[RedisRevocationStore]:
        backends = RedisBackends.from_url(
            url, prefix="test", max_staleness_seconds=self.staleness_seconds, clock=clock
        )
        async with backends as redis, redis.revocations as store:
            assert await store.wait_until_fresh(ENOUGH_SECONDS)
            yield store


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
    async def store(self, client: Any, clock: Clock) -> AsyncIterator[RedisRevocationStore]:
        backends = RedisBackends.from_client(
            client, prefix="test", max_staleness_seconds=self.staleness_seconds, clock=clock
        )
        async with backends as opened, opened.revocations as store:
            assert await store.wait_until_fresh(ENOUGH_SECONDS)
            yield store


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
            # Until it knows the slots again, as after an outage, redis-py closes nothing.
            await client.initialize()
