"""Limits on Sentinels and on a cluster: failovers, a node that hangs, calls over several slots."""

from __future__ import annotations

import asyncio
import time

import pytest

from authkit.interfaces import LimitDecision, LimitRequest, RateLimit
from authkit_redis import RedisRateLimiter
from authkit_redis.limits.plans import Keys
from tests.redis.cluster import RedisCluster
from tests.redis.limiters import PREFIX, limit, limiter, scripts_run, until_exact
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer
from tests.redis.stores import elsewhere
from tests.redis.test_rate_limiter_faults import Hammer

pytestmark = [pytest.mark.anyio, pytest.mark.full]

TIMEOUT = 0.25
SLACK_SECONDS = 1.0
SHARE = 0.1
HOT = limit("hot", burst=40, rate=40, per_seconds=1.0)
KEYS = Keys(PREFIX, None)


class Swarm:
    """Two limiters, as of two processes, that are asked without a pause."""

    def __init__(self, *of: RedisRateLimiter) -> None:
        request = LimitRequest(limit=HOT, key="issuer alice")
        self._hammers = [Hammer(each, request, tasks=10) for each in of]
        self._begun_at = 0.0

    async def __aenter__(self) -> Swarm:
        self._begun_at = time.monotonic()
        for hammer in self._hammers:
            await hammer.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for hammer in self._hammers:
            await hammer.__aexit__()
        self.lasted = time.monotonic() - self._begun_at

    def assert_within(self, outage_seconds: float) -> None:
        """All that was granted is the limit, a burst that was lost, and the share of each."""
        of_redis = sum(hammer.allowed[False] for hammer in self._hammers)
        alone = sum(hammer.allowed[True] for hammer in self._hammers)
        assert alone <= len(self._hammers) * SHARE * (HOT.burst + HOT.rate * outage_seconds)
        assert of_redis <= HOT.burst + HOT.rate * self.lasted + HOT.burst
        assert of_redis >= HOT.rate * (self.lasted - outage_seconds) * 0.8
        assert max(hammer.slowest for hammer in self._hammers) < TIMEOUT + SLACK_SECONDS


class TestSentinels:
    """A master that is lost."""

    on_one_version = True

    @pytest.mark.parametrize("harm", ["kill", "freeze"])
    async def test_a_failover_admits_no_more_than_is_stated(
        self, sentinels: SentinelTopology, harm: str
    ) -> None:
        """The stand-in's share while there is no master, and one burst for what it lost."""
        options = {"timeout_seconds": TIMEOUT, "fallback_share": SHARE}
        async with (
            limiter(sentinels.url, **options) as one,
            limiter(sentinels.url, **options) as two,
        ):
            async with Swarm(one, two) as swarm:
                await asyncio.sleep(0.5)
                old = await elsewhere(lambda: sentinels.master)
                harmed_at = time.monotonic()
                getattr(old, harm)()
                await elsewhere(lambda: sentinels.wait_for_new_master(old))
                for each in (one, two):
                    await until_exact(each, HOT, key="issuer alice")
                outage = time.monotonic() - harmed_at
                await asyncio.sleep(0.5)
            swarm.assert_within(outage)
            assert max(each.stats()["degraded_total"] for each in (one, two)) > 0


@pytest.fixture
def callers(cluster: RedisCluster) -> dict[int, str]:
    """A caller's key in a slot of each master, by the number of the master."""
    found: dict[int, str] = {}
    for number in range(1_000):
        text = f"issuer-{number} alice"
        master = cluster.nodes.index(cluster.master_of(KEYS.of("slow", text)))
        found.setdefault(master, text)
        if len(found) == 3:
            break
    return found


def requests(of: RateLimit, *keys: str, cost: int = 1) -> list[LimitRequest]:
    return [LimitRequest(limit=of, key=key, cost=cost) for key in keys]


def masters(cluster: RedisCluster, callers: dict[int, str]) -> list[RedisServer]:
    return [cluster.nodes[number] for number in callers]


class TestCluster:
    """Three masters, and callers of each."""

    on_one_version = True

    async def test_a_failover_admits_no_more_than_is_stated(
        self,
        cluster: RedisCluster,
    ) -> None:
        """As with Sentinels; and a caller whose slot another master has notices nothing."""
        options = {"timeout_seconds": TIMEOUT, "fallback_share": SHARE}
        async with limiter(cluster.url, **options) as one, limiter(cluster.url, **options) as two:
            key = KEYS.of(HOT.name, "issuer alice")
            async with Swarm(one, two) as swarm:
                await asyncio.sleep(0.5)
                harmed_at = time.monotonic()
                old = await elsewhere(lambda: cluster.kill_master_of(key))
                await elsewhere(lambda: cluster.wait_for_new_master(old))
                for each in (one, two):
                    await until_exact(each, HOT, key="issuer alice")
                outage = time.monotonic() - harmed_at
                await asyncio.sleep(0.5)
            swarm.assert_within(outage)

    async def test_a_frozen_master_degrades_its_own_keys_only(
        self, cluster: RedisCluster, callers: dict[int, str]
    ) -> None:
        """Keys of the others stay exact, also while calls over several slots fail."""
        (_, bad), (_, good), (_, other) = callers.items()
        of = limit(burst=1_000)
        async with limiter(cluster.url, timeout_seconds=TIMEOUT) as one:
            for key in (bad, good, other):
                assert not (await one.acquire(requests(of, key))).is_degraded
            frozen = masters(cluster, callers)[0]
            frozen.freeze()
            deadline = time.monotonic() + 0.8  # a replica takes over after a second
            degraded = []
            while time.monotonic() < deadline:
                first, both = await asyncio.gather(
                    one.acquire(requests(of, bad)), one.acquire(requests(of, good, bad))
                )
                degraded += [first.is_degraded, both.is_degraded]
                assert not (await one.acquire(requests(of, good))).is_degraded
                assert not (await one.acquire(requests(of, other, good))).is_degraded
                await asyncio.sleep(0.01)
            assert all(degraded)
            frozen.thaw()

    async def test_a_refusal_over_several_slots_gives_back(
        self, cluster: RedisCluster, callers: dict[int, str]
    ) -> None:
        """What was taken on one master before another refused is there again; states say so."""
        keys = [*callers.values()]
        slowly, quickly = limit("slow", burst=5), limit("quick", burst=2, per_seconds=1_800.0)
        async with limiter(cluster.url, timeout_seconds=2.0) as one:
            asked = [
                *requests(slowly, keys[0], keys[1], cost=2),
                *requests(quickly, keys[2]),
                *requests(slowly, keys[0]),
            ]
            first = await one.acquire(asked)
            assert first.allowed
            assert [state.remaining for state in first.states] == [2, 3, 1, 2]
            assert (await one.acquire(requests(quickly, keys[2]))).allowed
            refused = await one.acquire([asked[0], *asked[1:3]])
            assert not refused.allowed
            assert [state.remaining for state in refused.states] == [2, 3, 0]
            assert [state.retry_after_seconds > 0 for state in refused.states] == [
                False,
                False,
                True,
            ]
            for key, remaining in zip(keys[:2], (2, 3), strict=True):
                (state,) = (await one.acquire(requests(slowly, key, cost=0))).states
                assert state.remaining == remaining

    async def test_slots_are_charged_from_the_slowest_limit_on(
        self, cluster: RedisCluster, callers: dict[int, str]
    ) -> None:
        """Where the slow one refuses, nothing is charged elsewhere, not even for a moment."""
        slow_key, fast_key, _ = callers.values()
        slowly, quickly = limit("slow", burst=1), limit("quick", burst=9, per_seconds=0.5)
        async with limiter(cluster.url, timeout_seconds=2.0) as one:
            asked = [*requests(quickly, fast_key), *requests(slowly, slow_key)]
            assert (await one.acquire(asked)).allowed
            for server in masters(cluster, callers):
                server.command("CONFIG", "RESETSTAT")
            refused = await one.acquire(asked)
            assert [state.retry_after_seconds > 0 for state in refused.states] == [False, True]
            assert sum(scripts_run(each) for each in masters(cluster, callers)) == 2
            for server in masters(cluster, callers):
                assert "cmdstat_set" not in server.info("commandstats")

    async def test_many_calls_over_several_slots_leak_nothing(
        self, cluster: RedisCluster, callers: dict[int, str]
    ) -> None:
        """However they cross, just the burst is granted, and the rest is given back."""
        first, second, third = callers.values()
        narrow, wide = limit("narrow", burst=10), limit("wide", burst=40)
        async with limiter(cluster.url, timeout_seconds=5.0) as one:

            def call(number: int) -> asyncio.Task[LimitDecision]:
                asked = [*requests(narrow, first), *requests(wide, second, third)]
                return asyncio.create_task(one.acquire(asked[:: 1 - 2 * (number % 2)]))

            decisions = await asyncio.gather(*map(call, range(60)))
            granted = sum(decision.allowed for decision in decisions)
            # Whoever holds what another lacks for a moment may have both refused.
            assert 1 <= granted <= 10
            for key in (second, third):
                (state,) = (await one.acquire(requests(wide, key, cost=0))).states
                assert state.remaining == 40 - granted

    async def test_a_call_over_several_slots_ends_in_time(
        self, cluster: RedisCluster, callers: dict[int, str]
    ) -> None:
        """Whichever node hangs, and it is decided here; nothing is won by it."""
        keys = [*callers.values()]
        of = limit(burst=5)
        async with limiter(cluster.url, timeout_seconds=TIMEOUT) as one:
            await one.acquire(requests(of, *keys))
            frozen = masters(cluster, callers)[-1]
            frozen.freeze()
            begun = time.monotonic()
            decision = await one.acquire(requests(of, *keys))
            took = time.monotonic() - begun
            frozen.thaw()
            assert decision.is_degraded
            assert took < 2 * TIMEOUT + SLACK_SECONDS
            for key in keys:
                await until_exact(one, of, key=key)
                (state,) = (await one.acquire(requests(of, key, cost=0))).states
                # What was taken before is given back; of the last nobody knows.
                assert state.remaining in ((3, 4) if key == keys[-1] else (4,))
