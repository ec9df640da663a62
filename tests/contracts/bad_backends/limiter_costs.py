"""Rate limiters that mistake what a call costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from authkit.interfaces import LimitDecision, LimitRequest, LimitState
from tests.contracts.bad_backends.honest_rate_limiter import HonestLimiter


class IgnoresTheCost(HonestLimiter):
    breaks = ("test_a_cost_counts_for_as_many_calls",)
    breaks_more = True

    def take(self, request: LimitRequest, cost: float) -> None:
        super().take(request, 1)


class ChargesForAsking(HonestLimiter):
    breaks = ("test_a_cost_of_nothing_only_asks",)
    breaks_more = True

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        return await super().acquire(
            [replace(request, cost=max(1, request.cost)) for request in requests]
        )


class RefusesWhatCanNeverBe(HonestLimiter):
    breaks = ("test_a_cost_above_the_burst_is_a_mistake",)

    def check(self, request: LimitRequest) -> None:
        """Leaves what is too much to the refusal, which says when to try again."""
        if request.cost < 0:
            super().check(request)


class TakesNegativeCosts(HonestLimiter):
    """Who asks for less than nothing gets calls back."""

    breaks = ("test_a_cost_below_nothing_is_a_mistake",)

    def check(self, request: LimitRequest) -> None:
        if request.cost > 0:
            super().check(request)


class TakesNegativeCostsForNothing(HonestLimiter):
    breaks = ("test_a_cost_below_nothing_is_a_mistake",)

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        return await super().acquire(
            [replace(request, cost=max(0, request.cost)) for request in requests]
        )


class RefusesToTellWhenEmpty(HonestLimiter):
    breaks = ("test_asking_is_always_allowed",)

    def lacking(self, request: LimitRequest, level: float) -> float:
        lacking = super().lacking(request, level)
        return lacking if request.cost else max(0.0, 1 - level)


class SaysNothingIsLeftWhenItRefuses(HonestLimiter):
    breaks = ("test_a_refusal_tells_what_is_left",)

    def state(self, request: LimitRequest, lacking: float) -> LimitState:
        state = super().state(request, lacking)
        return replace(state, remaining=0) if lacking else state


class ChargesBeforeItChecks(HonestLimiter):
    breaks = ("test_a_cost_above_the_burst_is_a_mistake",)

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        possible = [request for request in requests if request.cost <= request.limit.burst]
        if len(possible) < len(requests):
            self.charge(possible)
        return await super().acquire(requests)
