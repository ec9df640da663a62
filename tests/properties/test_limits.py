"""The limiter against what it promises, and against the simplest limiter there can be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authkit.errors import BackendUnavailable
from authkit.interfaces import LimitRequest, RateLimit
from authkit.testing import ManualClock
from authkit_memory import MemoryRateLimiter

pytestmark = pytest.mark.anyio

LIMITS = st.builds(
    RateLimit,
    name=st.sampled_from(["a", "b"]),
    rate=st.integers(1, 1000) | st.integers(1, 10**12),
    per_seconds=st.sampled_from([0.001, 0.1, 1 / 3, 0.7, 1.0, 60.0, 86_400.0])
    | st.floats(1e-9, 1e6),
    burst=st.integers(1, 20),
    by=st.just("subject"),
)
PAUSES = st.sampled_from([0.0, 1e-9, 0.001, 0.1, 1 / 3, 1.0, 20.0]) | st.floats(0, 100)


def nanoseconds(seconds: float) -> int:
    """The count that a clock's float was made of; a half is rounded up."""
    return math.floor(seconds * 1e9 + 0.5)


@given(
    limit=LIMITS,
    start=st.floats(0, 1e6),
    steps=st.lists(st.tuples(PAUSES, st.integers(1, 20)), max_size=60),
    is_greedy=st.booleans(),
)
async def test_never_grants_more_than_promised_in_any_interval(
    limit: RateLimit, start: float, steps: list[tuple[float, int]], is_greedy: bool
) -> None:
    """Between any two grants, at most burst + rate * t / per_seconds, reckoned without rounding."""
    clock = ManualClock()
    clock.advance(start)
    limiter = MemoryRateLimiter(clock=clock)
    grants: list[tuple[int, int]] = []
    for pause, cost in steps:
        clock.advance(pause)
        request = LimitRequest(limit=limit, key="k", cost=min(cost, limit.burst))
        is_allowed = True
        while is_allowed and len(grants) < 200:
            decision = await limiter.acquire([request])
            is_allowed = decision.allowed and is_greedy
            if decision.allowed:
                grants.append((nanoseconds(clock.monotonic()), request.cost))
            elif is_greedy:
                clock.advance(decision.states[0].retry_after_seconds)
                is_allowed = (await limiter.acquire([request])).allowed
                if is_allowed:
                    grants.append((nanoseconds(clock.monotonic()), request.cost))
                break
    per_ns = Fraction(limit.rate) / (Fraction(repr(limit.per_seconds)) * 10**9)
    # For every end, the largest sum over all starts: a bucket that leaks at the rate.
    level, before = Fraction(0), 0
    for moment, cost in grants:
        level = max(Fraction(0), level - (moment - before) * per_ns) + cost
        before = moment
        assert level <= limit.burst


@given(limit=LIMITS, steps=st.lists(st.tuples(PAUSES, st.integers(0, 20)), max_size=40))
async def test_grants_whenever_the_promise_leaves_room(
    limit: RateLimit, steps: list[tuple[float, int]]
) -> None:
    """It decides as a leaky bucket in exact fractions does, and its figures are that bucket's."""
    clock = ManualClock()
    limiter = MemoryRateLimiter(clock=clock)
    per_ns = Fraction(limit.rate) / (Fraction(repr(limit.per_seconds)) * 10**9)
    level, before = Fraction(0), 0
    for pause, given_cost in steps:
        clock.advance(pause)
        cost = min(given_cost, limit.burst)
        moment = nanoseconds(clock.monotonic())
        level = max(Fraction(0), level - (moment - before) * per_ns)
        before = moment
        decision = await limiter.acquire([LimitRequest(limit=limit, key="k", cost=cost)])
        state = decision.states[0]
        assert decision.allowed == (level + cost <= limit.burst)
        if decision.allowed:
            level += cost
            assert state.retry_after_seconds == 0
        else:
            exact = math.ceil((level + cost - limit.burst) / per_ns)
            # A float of seconds is exact to the nanosecond for 13 days.
            assert abs(nanoseconds(state.retry_after_seconds) - exact) <= exact // 2**50
        assert state.remaining == (limit.burst - level) // 1


@dataclass
class ExactLimiter:
    """One leaky bucket in fractions for each name and key, never forgotten."""

    full_at: dict[tuple[str, str], Fraction] = field(default_factory=dict)

    def acquire(self, now: int, requests: list[LimitRequest]) -> bool:
        tried = dict(self.full_at)
        for request in requests:
            bucket = (request.limit.name, request.key)
            period = Fraction(repr(request.limit.per_seconds)) * 10**9 / request.limit.rate
            tat = max(Fraction(now), tried.get(bucket, Fraction(now))) + request.cost * period
            if request.cost and tat > now + request.limit.burst * period:
                return False
            tried[bucket] = tat
        self.full_at = tried
        return True

    def live(self, now: int) -> int:
        return sum(tat > now for tat in self.full_at.values())


FEW_LIMITS = [
    RateLimit(name="a", rate=3, per_seconds=1.0, burst=4, by="subject"),
    RateLimit(name="b", rate=7, per_seconds=10.0, burst=2, by="client"),
    RateLimit(name="c", rate=1, per_seconds=0.1, burst=1, by="issuer"),
]
REQUESTS = st.lists(
    st.builds(
        lambda limit, key, cost: LimitRequest(limit=limit, key=key, cost=min(cost, limit.burst)),
        st.sampled_from(FEW_LIMITS),
        st.sampled_from("vwxyz"),
        st.integers(0, 4),
    ),
    max_size=4,
)


@given(
    max_keys=st.integers(1, 8),
    calls=st.lists(st.tuples(st.sampled_from([0.0, 0.05, 0.1, 1.0, 9.0]), REQUESTS), max_size=60),
)
async def test_a_bounded_limiter_decides_as_one_that_forgets_nothing(
    max_keys: int, calls: list[tuple[float, list[LimitRequest]]]
) -> None:
    """Whatever is evicted, an answer is the exact one, and only want of room is no answer."""
    clock = ManualClock()
    limiter = MemoryRateLimiter(max_keys=max_keys, clock=clock)
    exact = ExactLimiter()
    for pause, requests in calls:
        clock.advance(pause)
        now = nanoseconds(clock.monotonic())
        before = dict(exact.full_at)
        expected = exact.acquire(now, requests)
        try:
            assert (await limiter.acquire(requests)).allowed == expected
        except BackendUnavailable:
            assert expected
            assert exact.live(now) > max_keys
            exact.full_at = before
        assert limiter.stats()["keys"] <= max_keys
