"""RedisRateLimiter keeps the contract, on each topology."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from authkit.clock import Clock, SystemClock
from authkit.testing.contracts import RateLimiterContract
from authkit.testing.contracts.backend import Outage
from authkit_redis import RedisRateLimiter
from authkit_redis.link import link_over, open_link
from tests.redis.cluster import RedisCluster
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer
from tests.redis.test_revocation_store_contract import DRIVER, frozen


class RedisContract(RateLimiterContract):
    """What holds on every topology."""

    has_stand_in = True
    is_observable = True
    is_context_manager = True
    can_skip_time = False
    can_fail = True
    staleness_seconds = 2.5  # until a server that stood still is asked again

    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()

    @pytest.fixture
    async def limiter(self, url: str, clock: Clock) -> AsyncIterator[RedisRateLimiter]:
        async with RedisRateLimiter(
            open_link(url), prefix="test", timeout_seconds=1.0, clock=clock
        ) as limiter:
            yield limiter


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
    """A cluster of three masters with three replicas, where every key has a slot of its own."""

    on_one_version = True

    @pytest.fixture
    def url(self, cluster: RedisCluster) -> str:
        return cluster.url

    @pytest.fixture
    def outage(self, cluster: RedisCluster) -> Outage:
        return frozen(*cluster.servers)


@pytest.mark.full
class TestRedisOverAClient(RedisContract):
    """Every call goes through a client of redis-py that the application has."""

    on_one_version = True

    @pytest.fixture
    async def limiter(
        self, redis_server: RedisServer, clock: Clock
    ) -> AsyncIterator[RedisRateLimiter]:
        client = redis.asyncio.Redis.from_url(redis_server.url, driver_info=DRIVER)
        try:
            async with RedisRateLimiter(
                link_over(client), prefix="test", timeout_seconds=1.0, clock=clock
            ) as limiter:
                yield limiter
        finally:
            await client.aclose()

    @pytest.fixture
    def outage(self, redis_server: RedisServer) -> Outage:
        return frozen(redis_server)
