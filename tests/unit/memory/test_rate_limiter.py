"""The rate limiter in memory: the clock it believes, what it tells of itself, its bounds.

That it counts as a RateLimiter must is checked by the contract suite.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import LimitRequest, Observable, RateLimit, StateChange
from authkit.testing import ManualClock
from authkit_memory import MemoryRateLimiter

pytestmark = pytest.mark.anyio

LIMIT = RateLimit(name="api", rate=1, per_seconds=1.0, burst=2, by="subject")


def charge(key: str, cost: int = 1) -> list[LimitRequest]:
    return [LimitRequest(limit=LIMIT, key=key, cost=cost)]


async def fill(limiter: MemoryRateLimiter, keys: int) -> None:
    for number in range(keys):
        assert (await limiter.acquire(charge(f"caller-{number}"))).allowed


async def test_counts_by_the_monotonic_clock() -> None:
    """Setting the machine's clock neither refills a bucket nor freezes it."""
    clock = ManualClock()
    limiter = MemoryRateLimiter(clock=clock)
    assert (await limiter.acquire(charge("alice", 2))).allowed
    clock.set_time(clock.time() + 86_400)
    assert not (await limiter.acquire(charge("alice"))).allowed
    clock.set_time(0.0)
    clock.advance(1.0)
    assert (await limiter.acquire(charge("alice"))).allowed


async def test_counts_by_the_machines_clock_without_another() -> None:
    """With nothing but defaults it limits, and says how long to wait."""
    limiter = MemoryRateLimiter()
    decisions = [await limiter.acquire(charge("alice")) for _ in range(3)]
    assert [decision.allowed for decision in decisions] == [True, True, False]
    assert 0.5 < decisions[2].states[0].retry_after_seconds <= 1.0
    assert not decisions[2].is_degraded


async def test_never_suspends() -> None:
    """No other task runs within a decision, so a limit is exact without a lock."""
    limiter = MemoryRateLimiter(clock=ManualClock())
    for requests in ([], charge("alice"), [*charge("alice"), *charge("bob")]):
        call = limiter.acquire(requests)
        with pytest.raises(StopIteration) as ended:
            call.send(None)
        assert ended.value.value.allowed


async def test_grants_many_tasks_the_burst_and_no_more() -> None:
    """A hundred tasks at once get what one task would get."""
    limiter = MemoryRateLimiter(clock=ManualClock())
    decisions = await asyncio.gather(*(limiter.acquire(charge("alice")) for _ in range(100)))
    assert sum(decision.allowed for decision in decisions) == 2


async def test_says_how_it_fares() -> None:
    """Keys, decisions, evictions and calls without room are counted."""
    clock = ManualClock()
    limiter = MemoryRateLimiter(max_keys=2, clock=clock)
    await fill(limiter, 2)
    with pytest.raises(BackendUnavailable):
        await limiter.acquire(charge("carol"))
    assert not (await limiter.acquire(charge("caller-0", 2))).allowed
    clock.advance(10)
    await limiter.acquire(charge("carol"))
    assert limiter.stats() == {
        "keys": 1,
        "allowed_total": 3,
        "refused_total": 1,
        "evicted_total": 2,
        "full_total": 1,
        "listener_errors_total": 0,
    }


async def test_tells_when_it_is_full_and_when_it_has_room_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once each, to listeners and to the log, however many callers are turned away."""
    caplog.set_level(logging.INFO, logger="authkit")
    clock = ManualClock()
    limiter = MemoryRateLimiter(max_keys=10, clock=clock)
    heard: list[StateChange] = []
    limiter.observe(heard.append)
    limiter.observe(heard.append)
    await fill(limiter, 10)
    assert heard == []
    for number in range(5):
        with pytest.raises(BackendUnavailable):
            await limiter.acquire(charge(f"newcomer-{number}"))
    await limiter.acquire(charge("caller-0"))
    assert [(change.old, change.new) for change in heard] == [("available", "full")]
    clock.advance(1.0)
    await limiter.acquire(charge("caller-0"))
    assert heard == [
        StateChange(
            interface="limiter",
            name="memory",
            old="available",
            new="full",
            code="backend_unavailable",
            time=1_800_000_000.0,
        ),
        StateChange(
            interface="limiter",
            name="memory",
            old="full",
            new="available",
            code=None,
            time=1_800_000_001.0,
        ),
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "limiter in memory: full, was available",
        "limiter in memory: available, was full",
    ]


async def test_a_place_or_two_are_not_room_again() -> None:
    """Near its bound the state does not change to and fro with each caller."""
    clock = ManualClock()
    limiter = MemoryRateLimiter(max_keys=10, clock=clock)
    heard: list[StateChange] = []
    limiter.observe(heard.append)
    await limiter.acquire(charge("first"))
    clock.advance(0.5)
    await fill(limiter, 9)
    with pytest.raises(BackendUnavailable):
        await limiter.acquire(charge("newcomer"))
    clock.advance(0.5)  # the first one's place is free
    await limiter.acquire(charge("newcomer"))
    assert [change.new for change in heard] == ["full"]


async def test_a_listener_that_raises_harms_nobody() -> None:
    """It is counted, the next listener hears, and the caller gets its answer."""
    limiter = MemoryRateLimiter(max_keys=1, clock=ManualClock())
    heard: list[StateChange] = []

    def raises(change: StateChange) -> None:
        raise RuntimeError("a listener's own mistake")

    limiter.observe(raises)
    limiter.observe(heard.append)
    await fill(limiter, 1)
    with pytest.raises(BackendUnavailable):
        await limiter.acquire(charge("newcomer"))
    assert len(heard) == 1
    assert limiter.stats()["listener_errors_total"] == 1


async def test_a_flood_of_callers_stays_within_its_memory() -> None:
    """Each of many addresses that come once costs little, and no more than the bound in all."""
    limiter = MemoryRateLimiter(max_keys=500, clock=ManualClock())
    await fill(limiter, 500)
    for number in range(1000):
        with pytest.raises(BackendUnavailable):
            await limiter.acquire(charge(f"newcomer-{number}"))
    assert limiter.stats()["keys"] == 500
    table = limiter._table
    assert sum(map(len, table._buckets.values())) == len(table._due) == 500
    assert sys.getsizeof(table._due) < 10_000


@pytest.mark.parametrize("max_keys", [0, -1])
async def test_needs_room_for_one(max_keys: int) -> None:
    """A bound that allows nothing is a ConfigurationError that names the argument."""
    with pytest.raises(ConfigurationError, match="max_keys"):
        MemoryRateLimiter(max_keys=max_keys)


async def test_is_observable() -> None:
    """The Verifier finds this ability by its methods."""
    assert isinstance(MemoryRateLimiter(), Observable)
