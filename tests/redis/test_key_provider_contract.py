"""RedisKeyProvider keeps the contract, on each topology."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import redis.asyncio
from redis.driver_info import DriverInfo

from authkit.clock import Clock, SystemClock
from authkit.testing.contracts import KeyProviderContract
from authkit.testing.contracts.backend import Advance, Outage
from authkit.testing.contracts.key_provider import Rotate
from authkit_redis.key_provider import RedisKeyProvider
from authkit_redis.link import Link, link_over, open_link
from tests.redis.cluster import RedisCluster
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer
from tests.redis.shared_keys import ADDRESS, ISSUER, PREFIX, SECRET, CountedSource

# redis-py would read its own version from a file, at each connect and in the event loop.
DRIVER = DriverInfo(lib_version=redis.__version__)

FRESH_SECONDS = 0.25
COOLDOWN_SECONDS = 0.08


class SharedContract(KeyProviderContract):
    """What holds on every topology."""

    can_rotate = True
    can_fail = True
    can_skip_time = False
    is_observable = True
    is_refreshable = True
    is_context_manager = True
    # Until a failure is three cooldowns old, requests do not wait for the next attempt.
    staleness_seconds = max(FRESH_SECONDS, 3 * COOLDOWN_SECONDS) + 0.05

    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()

    @pytest.fixture
    def source(self, published: Mapping[str, Any]) -> CountedSource:
        return CountedSource(published, fresh_seconds=FRESH_SECONDS)

    @pytest.fixture
    async def link(self, url: str) -> AsyncIterator[Link]:
        async with open_link(url) as link:
            yield link

    @pytest.fixture
    def provider(self, link: Link, source: CountedSource, clock: Clock) -> RedisKeyProvider:
        return RedisKeyProvider(
            link,
            source,
            issuer=ISSUER,
            address=ADDRESS,
            prefix=PREFIX,
            secret=SECRET,
            timeout_seconds=1.0,
            cooldown_seconds=COOLDOWN_SECONDS,
            last_known_good_seconds=60.0,
            min_fresh_seconds=FRESH_SECONDS,
            clock=clock,
        )

    @pytest.fixture
    def outage(self, source: CountedSource) -> Outage:
        return source.outage

    @pytest.fixture
    def rotate(self, source: CountedSource, provider: RedisKeyProvider, advance: Advance) -> Rotate:
        async def rotate(published: Mapping[str, Any]) -> None:
            source.published = published
            await advance(COOLDOWN_SECONDS)
            await provider.refresh()

        return rotate


class OnOneServer(SharedContract):
    """A standalone server."""

    @pytest.fixture
    def url(self, redis_server: RedisServer) -> str:
        return redis_server.url


class Quick:
    """Leaves out what would take most of the time, since it lets every moment pass in earnest.

    It is the matter of KeySetProvider, which keeps it on a clock that can be moved.
    """

    test_a_shared_look_outlives_whoever_leaves: Any = None


class Elsewhere(Quick):
    """What is no matter of the version of Redis either."""

    on_one_version = True


class TestSharedOnOneServer(Quick, OnOneServer):
    """A standalone server."""


@pytest.mark.full
class TestSharedInFull(OnOneServer):
    """The same, and nothing left out."""

    on_one_version = True


@pytest.mark.full
class TestSharedWhereBothFail(Elsewhere, OnOneServer):
    """In an outage the Redis server stands still too."""

    @pytest.fixture
    def outage(self, source: CountedSource, redis_server: RedisServer) -> Outage:
        @asynccontextmanager
        async def outage() -> AsyncIterator[None]:
            async with AsyncExitStack() as stack:
                redis_server.freeze()
                stack.callback(redis_server.thaw)
                await stack.enter_async_context(source.outage())
                yield

        return outage


@pytest.mark.full
class TestSharedOnSentinels(Elsewhere, SharedContract):
    """A master with a replica, found by way of Sentinels."""

    @pytest.fixture
    def url(self, sentinels: SentinelTopology) -> str:
        return sentinels.url


@pytest.mark.full
class TestSharedOnACluster(Elsewhere, SharedContract):
    """A cluster of three masters with three replicas."""

    @pytest.fixture
    def url(self, cluster: RedisCluster) -> str:
        return cluster.url


@pytest.mark.full
class TestSharedOverTheUsersClient(Elsewhere, OnOneServer):
    """Every call goes through a client of redis-py that the application has."""

    @pytest.fixture
    async def link(self, url: str) -> AsyncIterator[Link]:
        async with redis.asyncio.Redis.from_url(url, driver_info=DRIVER) as client:
            yield link_over(client)
