"""RedisKeySource keeps the contract, on each topology."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import redis.asyncio
from redis.driver_info import DriverInfo

from authkit.clock import Clock, SystemClock
from authkit.testing.contracts import KeySourceContract
from authkit.testing.contracts.backend import Outage
from authkit.testing.contracts.key_provider import Rotate
from authkit_redis.link import Link, link_over, open_link
from authkit_redis.shared_keys.source import RedisKeySource
from tests.redis.cluster import RedisCluster
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer
from tests.redis.shared_keys import ADDRESS, ISSUER, PREFIX, SECRET, CountedSource

# redis-py would read its own version from a file, at each connect and in the event loop.
DRIVER = DriverInfo(lib_version=redis.__version__)

FRESH_SECONDS = 0.4
STALE_SECONDS = 0.2


class SharedContract(KeySourceContract):
    """What holds on every topology."""

    can_rotate = True
    can_fail = True
    can_skip_time = False
    is_context_manager = True
    # A process that has nothing gets what another one had for so long.
    staleness_seconds = FRESH_SECONDS + STALE_SECONDS + 0.05

    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()

    @pytest.fixture
    def provider(self, published: Mapping[str, Any]) -> CountedSource:
        return CountedSource(published, fresh_seconds=FRESH_SECONDS)

    @pytest.fixture
    async def link(self, url: str) -> AsyncIterator[Link]:
        async with open_link(url) as link:
            yield link

    @pytest.fixture
    def source(self, link: Link, provider: CountedSource, clock: Clock) -> RedisKeySource:
        return RedisKeySource(
            link,
            provider,
            issuer=ISSUER,
            address=ADDRESS,
            prefix=PREFIX,
            secret=SECRET,
            fetch_timeout_seconds=1.0,
            cooldown_seconds=0.1,
            stale_if_error_seconds=STALE_SECONDS,
            clock=clock,
        )

    @pytest.fixture
    def outage(self, provider: CountedSource) -> Outage:
        return provider.outage

    @pytest.fixture
    def rotate(self, provider: CountedSource) -> Rotate:
        async def rotate(published: Mapping[str, Any]) -> None:
            provider.published = published

        return rotate


class TestSharedOnOneServer(SharedContract):
    """A standalone server."""

    @pytest.fixture
    def url(self, redis_server: RedisServer) -> str:
        return redis_server.url


@pytest.mark.full
class TestSharedOnAFrozenServer(TestSharedOnOneServer):
    """A server that stands still from the start, so that the source is asked directly."""

    on_one_version = True

    @pytest.fixture
    def url(self, redis_server: RedisServer) -> str:
        redis_server.freeze()
        return redis_server.url


@pytest.mark.full
class TestSharedOnSentinels(SharedContract):
    """A master with a replica, found by way of Sentinels."""

    on_one_version = True

    @pytest.fixture
    def url(self, sentinels: SentinelTopology) -> str:
        return sentinels.url


@pytest.mark.full
class TestSharedOnACluster(SharedContract):
    """A cluster of three masters with three replicas."""

    on_one_version = True

    @pytest.fixture
    def url(self, cluster: RedisCluster) -> str:
        return cluster.url


@pytest.mark.full
class TestSharedOverTheUsersClient(TestSharedOnOneServer):
    """Every call goes through a client of redis-py that the application has."""

    on_one_version = True

    @pytest.fixture
    async def link(self, url: str) -> AsyncIterator[Link]:
        async with redis.asyncio.Redis.from_url(url, driver_info=DRIVER) as client:
            yield link_over(client)
