"""RedisRevocationStore keeps the contract, on each topology."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from authkit.clock import Clock, SystemClock
from authkit.testing.contracts import RevocationStoreContract
from authkit.testing.contracts.backend import Outage
from authkit_redis import RedisBackends, RedisRevocationStore
from tests.redis.servers import RedisServer


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
            assert store.is_fresh
            yield store


class TestRedisOnOneServer(RedisContract):
    """A standalone server."""

    @pytest.fixture
    def url(self, redis_server: RedisServer) -> str:
        return redis_server.url

    @pytest.fixture
    def outage(self, redis_server: RedisServer) -> Outage:
        @asynccontextmanager
        async def outage() -> AsyncIterator[None]:
            redis_server.freeze()
            try:
                yield
            finally:
                redis_server.thaw()

        return outage
