"""Calls taken in advance: how many, for how long, and what becomes of those that are not used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any

import pytest

from authkit.errors import ConfigurationError
from authkit.interfaces import LimitDecision, LimitRequest, RateLimit
from authkit.testing import ManualClock
from authkit_redis import RedisRateLimiter
from authkit_redis.limits.scripts import TAKE
from authkit_redis.link import OutcomeUnknown, Script

pytestmark = pytest.mark.anyio


@cache
def limit(name: str = "hot", *, burst: int = 1_000) -> RateLimit:
    return RateLimit(name=name, rate=1, per_seconds=3_600.0, burst=burst, by="subject")


class Server:
    """Counts as the scripts do, but for time; each call takes a turn of the event loop or more.

    Attributes:
        taken: the numbers of calls that were taken, one by one.
        gate: what a call waits for before it is answered.
        is_down: whether it answers.
    """

    def __init__(self) -> None:
        self.used: dict[bytes, int] = {}
        self.taken: list[int] = []
        self.calls = 0
        self.gate: asyncio.Event | None = None
        self.is_down = False

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def stats(self) -> dict[str, float]:
        return {}

    def call(self, *parts: bytes | int, **_: Any) -> Awaitable[Any]:
        raise AssertionError("nothing but scripts")

    tail: Callable[..., Any] = call

    async def run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | int], **_: Any
    ) -> list[int]:
        self.calls += 1
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        if self.is_down:
            raise OutcomeUnknown("no reply")
        numbers = [int(each) for each in args]
        rows = [numbers[begin : begin + 5] for begin in range(0, len(numbers), 5)]
        after, is_granted, reply = dict(self.used), 1, []
        for key, (interval, capacity, _scale, cost, most) in zip(keys, rows, strict=True):
            used = after.get(key, 0)
            lacking = max(0, used + cost * interval - capacity) if cost else 0
            is_granted &= lacking == 0
            taken = max(cost, min(most, (capacity - used) // interval))
            after[key] = used + taken * interval
            reply.append([after[key], lacking, taken])
        if is_granted:
            self.used = after
            self.taken += [taken for _, _, taken in reply]
        else:
            unchanged = [self.used.get(key, 0) for key in keys]
            reply = [[used, row[1], 0] for used, row in zip(unchanged, reply, strict=True)]
        moment = [0] if script is TAKE else []
        return [is_granted, *(number for row in reply for number in row), *moment]


class Bench:
    """A limiter with a lease of 100 for `hot`, over a server of its own."""

    def __init__(self, lease: int = 100) -> None:
        self.server = Server()
        self.clock = ManualClock()
        self.limiter = RedisRateLimiter(
            self.server,
            leases={"hot": lease, "also hot": lease},
            clock=self.clock,
        )

    async def ask(self, *limits: RateLimit, cost: int = 1) -> LimitDecision:
        limits = limits or (limit(),)
        return await self.limiter.acquire(
            [LimitRequest(limit=each, key="a b", cost=cost) for each in limits]
        )

    async def at_once(self, count: int) -> int:
        """How many of so many calls at once are granted."""
        decisions = await asyncio.gather(*(self.ask() for _ in range(count)))
        assert not any(decision.is_degraded for decision in decisions)
        return sum(decision.allowed for decision in decisions)


async def test_a_thousand_tasks_make_a_refill_for_each_hundred() -> None:
    """Whoever comes while one is under way waits for it."""
    bench = Bench()
    assert await bench.at_once(1_000) == 1_000
    assert bench.server.calls == 10
    assert bench.server.taken == [100] * 10
    assert await bench.at_once(10) == 0
    assert bench.server.calls == 11
    assert await bench.at_once(10) == 0
    assert bench.server.calls == 11
    assert bench.limiter.stats()["refills_total"] == 11


async def test_a_lease_gets_what_is_left() -> None:
    """The last calls of a burst are granted too."""
    bench = Bench()
    of = limit(burst=150)
    decisions = [(await bench.ask(of)).allowed for _ in range(160)]
    assert decisions == [True] * 150 + [False] * 10
    assert bench.server.taken == [100, 50]


async def test_a_lapsed_lease_loses_its_calls() -> None:
    """After a second without use others have had their chance; what was taken is gone."""
    bench = Bench()
    await bench.ask()
    bench.clock.advance(0.99)
    await bench.ask()
    assert bench.server.taken == [100]
    bench.clock.advance(0.02)
    await bench.ask()
    assert bench.server.taken == [100, 100]


async def test_a_reply_that_takes_longer_than_a_lease_is_of_use() -> None:
    """Its second begins when it is there: nobody asks for ever in vain."""
    bench = Bench()
    bench.server.gate = asyncio.Event()
    call = asyncio.create_task(bench.ask())
    await asyncio.sleep(0.001)
    bench.clock.advance(5.0)
    bench.server.gate.set()
    async with asyncio.timeout(2):
        assert (await call).allowed
    assert bench.server.taken == [100]


async def test_a_cost_that_is_more_than_a_lease_is_taken_as_it_is() -> None:
    """In one call, beside what is held."""
    bench = Bench(10)
    await bench.ask(cost=25)
    await bench.ask(cost=1)
    await bench.ask(cost=12)
    assert bench.server.taken == [25, 10, 3]


async def test_another_limit_that_refuses_gives_the_lease_back() -> None:
    """The calls of a refused request are granted to others; none is lost, and none is won."""
    bench = Bench()
    empty = limit("empty", burst=1)
    await bench.ask(empty)
    for _ in range(20):
        decision = await bench.ask(limit(), empty)
        assert not decision.allowed
        bench.clock.advance(0.01)
    assert sum([(await bench.ask()).allowed for _ in range(100)]) == 100
    assert bench.server.taken == [1, 100]


async def test_many_refused_at_once_never_hold_more_than_a_lease() -> None:
    """What is put back beside a new lease is lost, as the bound says."""
    bench = Bench(10)
    empty = limit("empty", burst=1)
    await bench.ask(empty)
    bench.server.gate = asyncio.Event()
    refused = [
        asyncio.create_task(
            bench.limiter.acquire(
                [
                    LimitRequest(limit=limit(), key="a b"),
                    LimitRequest(limit=empty, key="a b"),
                    LimitRequest(limit=limit(f"other-{number}"), key="a b"),
                ]
            )
        )
        for number in range(100)
    ]
    for _ in range(50):
        await asyncio.sleep(0.001)
        bench.server.gate.set()
        await asyncio.sleep(0)
        bench.server.gate.clear()
    bench.server.gate.set()
    assert not any(decision.allowed for decision in await asyncio.gather(*refused))
    bench.server.is_down = True
    granted = [await bench.ask() for _ in range(20)]
    assert sum(each.allowed and not each.is_degraded for each in granted) <= 10


async def test_one_limit_leased_and_one_refused_by_its_lease() -> None:
    """The other limit is asked for its state, and not charged."""
    bench = Bench(5)
    hot, other = limit(burst=5), limit("other", burst=7)
    assert await bench.ask(hot, cost=5)
    decision = await bench.ask(hot, other)
    assert not decision.allowed
    assert [state.remaining for state in decision.states] == [0, 7]
    assert (await bench.ask(other, cost=7)).allowed


async def test_a_waiter_that_is_cancelled_leaves_its_call_to_others() -> None:
    """The refill that it began goes on for those who wait with it."""
    bench = Bench(3)
    bench.server.gate = asyncio.Event()
    first, *others = [asyncio.create_task(bench.ask()) for _ in range(4)]
    await asyncio.sleep(0.001)
    first.cancel()
    await asyncio.sleep(0.001)
    assert first.cancelled()
    bench.server.gate.set()
    assert all(decision.allowed for decision in await asyncio.gather(*others))
    assert bench.server.taken == [3]


async def test_a_refill_without_an_answer_is_everybodys_outage() -> None:
    """All who wait for it are decided here, once each; the lease that is held goes on."""
    bench = Bench()
    bench.server.is_down = True
    decisions = await asyncio.gather(*(bench.ask() for _ in range(50)))
    assert all(decision.is_degraded for decision in decisions)
    assert bench.server.calls == 1
    bench.server.is_down = False
    bench.clock.advance(2.0)
    assert not (await bench.ask()).is_degraded


async def test_a_call_of_several_limits_without_an_answer_is_an_outage_too() -> None:
    """Nobody waits in vain right after it; the first answer ends it."""
    bench = Bench()
    bench.server.is_down = True
    for _ in range(3):
        assert (await bench.ask(limit("one"), limit("other"))).is_degraded
    assert bench.server.calls == 1
    bench.server.is_down = False
    bench.clock.advance(1.5)
    assert not (await bench.ask(limit("one"), limit("other"))).is_degraded


async def test_what_is_leased_does_not_end_an_outage() -> None:
    """Only Redis can tell that it answers again."""
    bench = Bench()
    await bench.ask()
    other = limit("other")
    bench.server.is_down = True
    assert (await bench.ask(other)).is_degraded
    bench.clock.advance(0.11)
    await bench.ask()
    assert (await bench.ask(other)).is_degraded
    calls = bench.server.calls
    await bench.ask(other)
    assert bench.server.calls == calls


async def test_a_lease_above_the_burst_is_refused() -> None:
    """It is said when the limit is used first."""
    with pytest.raises(ConfigurationError, match="lease of 100"):
        await Bench().ask(limit(burst=99))
