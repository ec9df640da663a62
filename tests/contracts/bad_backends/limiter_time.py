"""Rate limiters that reckon wrongly with time, with their bounds, or with an outage."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import ClassVar

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import LimitDecision, LimitRequest, RateLimit
from tests.contracts.bad_backends.honest_rate_limiter import HonestLimiter, Key


class RefillsTooFast(HonestLimiter):
    breaks = ("test_never_grants_more_than_promised", "test_reset_after_is_true")

    def rate(self, limit: RateLimit) -> float:
        return super().rate(limit) * 1.6


class RefillsTooSlowly(HonestLimiter):
    breaks = (
        "test_never_grants_more_than_promised",
        "test_refills_at_its_rate",
        "test_reset_after_is_true",
        "test_retry_after_is_true",
        "test_a_wall_clock_set_back_freezes_nothing",
        "test_refilled_buckets_make_room",
    )

    def rate(self, limit: RateLimit) -> float:
        return super().rate(limit) * 0.8


class PilesUp(HonestLimiter):
    breaks = (
        "test_a_boundary_between_periods_gives_nothing_extra",
        "test_a_long_pause_gives_the_burst_and_no_more",
        "test_never_grants_more_than_promised",
    )

    def capacity(self, limit: RateLimit) -> float:
        return math.inf


class CountsInWindows(HonestLimiter):
    """The whole burst comes back at the end of each period, and nothing before."""

    breaks = (
        "test_a_boundary_between_periods_gives_nothing_extra",
        "test_never_grants_more_than_promised",
        "test_refills_at_its_rate",
        "test_reset_after_is_true",
        "test_retry_after_is_true",
    )

    def level(self, request: LimitRequest) -> float:
        period = request.limit.per_seconds
        level, since = self.buckets.get(self.key(request.limit, request.key), (0.0, -period))
        return request.limit.burst if since // period < self.now() // period else level


class TrustsTheWallClock(HonestLimiter):
    breaks = (
        "test_a_wall_clock_set_back_freezes_nothing",
        "test_a_wall_clock_set_forward_refills_nothing",
    )

    def now(self) -> float:
        return self.clock.time()


class SaysHalfTheWait(HonestLimiter):
    breaks = ("test_retry_after_is_true",)

    def retry_after(self, request: LimitRequest, seconds: float) -> float:
        return seconds / 2


class SaysTheWholePeriod(HonestLimiter):
    breaks = (
        "test_a_fresh_bucket_is_full",
        "test_asking_is_always_allowed",
        "test_retry_after_is_true",
        "test_says_which_limit_refused",
    )

    def retry_after(self, request: LimitRequest, seconds: float) -> float:
        return request.limit.per_seconds


class ForgetsTheCostInItsWait(HonestLimiter):
    breaks = ("test_retry_after_is_true",)

    def retry_after(self, request: LimitRequest, seconds: float) -> float:
        return min(seconds, request.limit.per_seconds / request.limit.rate)


class SaysThePeriodForReset(HonestLimiter):
    breaks = ("test_a_fresh_bucket_is_full", "test_reset_after_is_true")

    def reset_after(self, request: LimitRequest, seconds: float) -> float:
        return request.limit.per_seconds


class ForgetsAnybody(HonestLimiter):
    breaks = ("test_a_full_limiter_forgets_nobody_who_is_over_the_limit",)

    def make_room(self) -> None:
        if len(self.buckets) >= self.max_keys:
            del self.buckets[next(iter(self.buckets))]


class GrantsNewcomersUncounted(HonestLimiter):
    """When it is full, it lets through whom it has no room to count."""

    breaks = ("test_a_full_limiter_grants_nobody_uncounted",)

    def take(self, request: LimitRequest, cost: float) -> None:
        with suppress(BackendUnavailable):
            super().take(request, cost)


class ForgetsNobody(HonestLimiter):
    breaks = ("test_refilled_buckets_make_room",)

    def make_room(self) -> None:
        if len(self.buckets) >= self.max_keys:
            raise BackendUnavailable("limiter", "full")


class FailsOpen(HonestLimiter):
    breaks = ("test_an_outage_is_said_to_be_one",)

    def answer(self) -> None:
        """Answers as if nothing had happened."""


class LetsItsDriversErrorsOut(HonestLimiter):
    breaks = ("test_an_outage_is_said_to_be_one",)

    def answer(self) -> None:
        if self.is_down:
            raise ConnectionResetError


class HangsInAnOutage(HonestLimiter):
    breaks = ("test_an_outage_is_said_to_be_one",)

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        if self.is_down:
            await asyncio.Event().wait()
        return await super().acquire(requests)


class NeverRecovers(HonestLimiter):
    breaks = ("test_an_outage_ends",)

    def __init__(self, clock: Clock, max_keys: int) -> None:
        super().__init__(clock, max_keys)
        self.was_down = False

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "is_down" and value:
            self.was_down = True

    def is_degraded(self) -> bool:
        return self.was_down


class SaysThatItIsDegraded(HonestLimiter):
    breaks = ("test_an_outage_ends", "test_says_that_it_is_not_degraded")

    def is_degraded(self) -> bool:
        return True


class StandsInWithoutLimits(HonestLimiter):
    breaks = ("test_the_stand_in_limits_too",)
    declares: ClassVar[Mapping[str, object]] = {"has_stand_in": True}

    def answer(self) -> None:
        """The stand-in answers."""

    def is_degraded(self) -> bool:
        return self.is_down

    def key(self, limit: RateLimit, key: str) -> Key:
        return (limit.name, key, len(self.buckets) if self.is_down else None)
