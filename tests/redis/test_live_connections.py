"""Open connections end with their token, wherever in a fleet it is revoked."""

from __future__ import annotations

import pytest

from authkit.clock import Clock
from authkit_redis import RedisBackends, RedisRevocationStore
from tests.edges.live_connections import LiveConnections, MakeStore
from tests.redis.servers import RedisServer
from tests.redis.stores import PREFIX

pytestmark = pytest.mark.anyio


class TestOnRedis(LiveConnections):
    """Stores that share one server, each on a link of its own."""

    @pytest.fixture
    def make_store(self, redis_server: RedisServer) -> MakeStore:
        def make(clock: Clock) -> RedisRevocationStore:
            redis = RedisBackends.from_url(
                redis_server.url, prefix=PREFIX, max_staleness_seconds=1.0, clock=clock
            )
            return redis.revocations

        return make
