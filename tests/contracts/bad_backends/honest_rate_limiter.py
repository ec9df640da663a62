"""A rate limiter that keeps every promise; each of its steps can be replaced by a bad one."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import LimitDecision, LimitRequest, LimitState, RateLimit, RateLimiter
from authkit.testing.contracts import RateLimiterContract
from authkit.testing.contracts.backend import Outage

Key = tuple[object, ...]

A_HAIR = 1e-6
"""Sums of floats are only so exact."""


class HonestLimiter:
    """Keeps for each bucket the level, in calls, and when it had that level."""

    breaks: tuple[str, ...] = ()
    """The tests that must fail, and no other."""

    breaks_more: bool = False
    """So much is wrong that other tests fail too."""

    declares: ClassVar[Mapping[str, object]] = {}
    """What its suite says beside what is true of all."""

    def __init__(self, clock: Clock, max_keys: int) -> None:
        self.clock = clock
        self.max_keys = max_keys
        self.buckets: dict[Key, tuple[float, float]] = {}
        self.limits: dict[Key, RateLimit] = {}
        self.is_down = False

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        self.answer()
        for request in requests:
            self.check(request)
        levels = self.levels(requests)
        lacking = [
            self.lacking(request, level) for request, level in zip(requests, levels, strict=True)
        ]
        allowed = not any(lacking)
        if allowed:
            self.charge(requests)
        return LimitDecision(
            allowed=allowed,
            states=tuple(map(self.state, requests, lacking)),
            is_degraded=self.is_degraded(),
        )

    # The steps

    def answer(self) -> None:
        if self.is_down:
            raise BackendUnavailable("limiter")

    def is_degraded(self) -> bool:
        return False

    def check(self, request: LimitRequest) -> None:
        if request.cost > request.limit.burst:
            raise ConfigurationError("the cost is above the burst")
        if request.cost < 0:
            raise ConfigurationError("the cost is below 0")

    def now(self) -> float:
        return self.clock.monotonic()

    def key(self, limit: RateLimit, key: str) -> Key:
        return (limit.name, key)

    def rate(self, limit: RateLimit) -> float:
        return limit.rate / limit.per_seconds

    def capacity(self, limit: RateLimit) -> float:
        return limit.burst

    def level(self, request: LimitRequest) -> float:
        """How many calls the bucket would grant now."""
        limit = request.limit
        level, since = self.buckets.get(self.key(limit, request.key), (None, 0.0))
        if level is None:
            return limit.burst
        return min(self.capacity(limit), level + (self.now() - since) * self.rate(limit))

    def levels(self, requests: Sequence[LimitRequest]) -> list[float]:
        """What is left for each request, behind those before it in the call."""
        taken: dict[Key, int] = {}
        levels = []
        for request in requests:
            key = self.key(request.limit, request.key)
            levels.append(self.level(request) - taken.get(key, 0))
            taken[key] = taken.get(key, 0) + request.cost
        return levels

    def lacking(self, request: LimitRequest, level: float) -> float:
        lacking = request.cost - level
        return lacking if request.cost and lacking > A_HAIR else 0.0

    def charge(self, requests: Sequence[LimitRequest]) -> None:
        for request in requests:
            if request.cost:
                self.take(request, request.cost)

    def take(self, request: LimitRequest, cost: float) -> None:
        key = self.key(request.limit, request.key)
        level = self.level(request) - cost
        if key not in self.buckets:
            self.make_room()
        self.buckets[key] = (level, self.now())
        self.limits[key] = request.limit

    def make_room(self) -> None:
        now = self.now()
        for key, (level, since) in list(self.buckets.items()):
            limit = self.limits[key]
            if level + (now - since) * self.rate(limit) >= limit.burst:
                del self.buckets[key]
        if len(self.buckets) >= self.max_keys:
            raise BackendUnavailable("limiter", "full")

    def state(self, request: LimitRequest, lacking: float) -> LimitState:
        level, rate = self.level(request), self.rate(request.limit)
        return LimitState(
            name=request.limit.name,
            remaining=math.floor(max(0.0, level) + A_HAIR),
            retry_after_seconds=self.retry_after(request, lacking / rate),
            reset_after_seconds=self.reset_after(request, (request.limit.burst - level) / rate),
        )

    def retry_after(self, request: LimitRequest, seconds: float) -> float:
        return seconds

    def reset_after(self, request: LimitRequest, seconds: float) -> float:
        return seconds

    # What the test does to it

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False


class Limiters(RateLimiterContract):
    kind = HonestLimiter
    max_keys = 100
    can_fail = True

    @pytest.fixture
    def limiter(self, clock: Clock) -> RateLimiter:
        return self.kind(clock, self.max_keys)

    @pytest.fixture
    def outage(self, limiter: HonestLimiter) -> Outage:
        return limiter.outage
