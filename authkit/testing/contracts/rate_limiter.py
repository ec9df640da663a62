"""The contract of a RateLimiter."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import LimitRequest, RateLimiter
from authkit.testing.clock import ManualClock
from authkit.testing.contracts.backend import Advance, Outage, needs
from authkit.testing.contracts.rate_limiter_counting import RateLimiterCounting, limit

__all__ = ["RateLimiterContract"]

A_MOMENT = 0.001
"""Clocks, and what is reckoned with their times, are only so exact; in seconds."""

PAUSES = (0.0, 0.3, 0.01, 0.0, 0.12, 0.04, 0.04, 0.25, 0.0, 0.07, 0.19, 0.02, 0.11, 0.05, 0.1)
"""Between one run of calls and the next; in seconds."""


class RateLimiterContract(RateLimiterCounting):
    """What a RateLimiter promises.

    Subclass it and override the fixture `limiter`, which gives a fresh limiter for each test:

        class TestMyLimiter(RateLimiterContract):
            @pytest.fixture
            def limiter(self, clock):
                return MyLimiter(clock=clock)

    Attributes:
        has_stand_in: in an outage it answers by a local stand-in, with `is_degraded`, instead
            of raising BackendUnavailable.
        max_keys: how many buckets the fixture's limiter holds (at least 100), so that it can
            be filled; None for one without such a bound.

    The attributes of `BackendContract` and its fixtures `clock`, `advance` and `outage` are
    there too.
    """

    has_stand_in: bool = False
    max_keys: int | None = None

    async def test_refills_at_its_rate(self, limiter: RateLimiter, advance: Advance) -> None:
        """After a pause as many calls are granted as `rate` allows in that time."""
        of = limit(rate=10, per_seconds=1, burst=10)
        await self.ask(limiter, of, cost=10)
        await advance(0.5 + A_MOMENT)
        for _ in range(5):
            assert (await self.ask(limiter, of)).allowed

    async def test_a_long_pause_gives_the_burst_and_no_more(
        self, limiter: RateLimiter, advance: Advance
    ) -> None:
        """What is not used does not pile up beyond `burst`."""
        of = limit(rate=10, per_seconds=1, burst=3)
        await self.ask(limiter, of, cost=3)
        await advance(1.5)
        assert (await self.state(limiter, of)).remaining == 3
        granted = [(await self.ask(limiter, of, cost=3)).allowed for _ in range(2)]
        assert granted == [True, False]

    async def test_never_grants_more_than_promised(
        self, limiter: RateLimiter, clock: Clock, advance: Advance
    ) -> None:
        """In any interval of t seconds at most `burst + rate * t / per_seconds` are granted."""
        of = limit(rate=20, per_seconds=1, burst=5)
        begun_at = clock.monotonic()
        granted: list[tuple[float, float]] = []
        for pause in PAUSES:
            await advance(pause)
            for _ in range(5 + math.ceil(20 * pause) + 1):  # one that always allows has to end too
                asked_at = clock.monotonic()
                if not (await self.ask(limiter, of)).allowed:
                    break
                granted.append((asked_at, clock.monotonic()))
                most = 5 + 20 * (granted[-1][1] - begun_at) + A_MOMENT
                assert len(granted) <= most, "more is granted than burst + rate * t / per_seconds"
        for first, (start, _) in enumerate(granted):
            for count, (_, end) in enumerate(granted[first:], start=1):
                assert count <= 5 + 20 * (end - start) + A_MOMENT
        assert len(granted) >= 5 + math.floor(20 * sum(PAUSES) * 0.9)

    async def test_a_boundary_between_periods_gives_nothing_extra(
        self, limiter: RateLimiter, clock: Clock, advance: Advance
    ) -> None:
        """What was saved in one period is not granted again at the start of the next."""
        of = limit(rate=5, per_seconds=1, burst=5)
        await self.ask(limiter, of)
        await advance(0.9)
        start, granted = clock.monotonic(), 0
        for pause in (0.0, 0.2):
            await advance(pause)
            for _ in range(6):
                granted += (await self.ask(limiter, of)).allowed
        assert granted <= 5 + 5 * (clock.monotonic() - start) + A_MOMENT

    @pytest.mark.parametrize("cost", [1, 3, 4])
    async def test_retry_after_is_true(
        self, limiter: RateLimiter, advance: Advance, cost: int
    ) -> None:
        """After `retry_after_seconds`, no longer than needed, the refused call is granted."""
        of = limit(rate=4, per_seconds=1, burst=4)
        await self.ask(limiter, of, cost=4)
        refused = await self.ask(limiter, of, cost=cost)
        assert not refused.allowed
        assert 0 < refused.states[0].retry_after_seconds <= cost / 4 + A_MOMENT
        await advance(refused.states[0].retry_after_seconds + A_MOMENT)
        assert (await self.ask(limiter, of, cost=cost)).allowed

    async def test_reset_after_is_true(self, limiter: RateLimiter, advance: Advance) -> None:
        """The whole burst is there again after `reset_after_seconds`, and not much sooner."""
        of = limit(rate=4, per_seconds=1, burst=4)
        state = (await self.ask(limiter, of, cost=3)).states[0]
        assert 0.5 < state.reset_after_seconds <= 0.75 + A_MOMENT
        await advance(state.reset_after_seconds + A_MOMENT)
        assert (await self.ask(limiter, of, cost=4)).allowed

    @needs("can_skip_time")
    async def test_a_wall_clock_set_forward_refills_nothing(
        self, limiter: RateLimiter, clock: Clock
    ) -> None:
        """A day's jump of the machine's clock is no day that has passed."""
        assert isinstance(clock, ManualClock)
        of = limit(burst=3)
        await self.ask(limiter, of, cost=3)
        clock.set_time(clock.time() + 86_400)
        assert not (await self.ask(limiter, of)).allowed

    @needs("can_skip_time")
    async def test_a_wall_clock_set_back_freezes_nothing(
        self, limiter: RateLimiter, clock: Clock, advance: Advance
    ) -> None:
        """A caller does not wait for the old time to come round again."""
        assert isinstance(clock, ManualClock)
        of = limit(rate=1, per_seconds=1, burst=1)
        await self.ask(limiter, of)
        clock.set_time(clock.time() - 86_400)
        await advance(1 + A_MOMENT)
        assert (await self.ask(limiter, of)).allowed

    # Bounds and outages

    @needs("max_keys")
    async def test_a_full_limiter_forgets_nobody_who_is_over_the_limit(
        self, limiter: RateLimiter
    ) -> None:
        """However many callers come, a bucket that has not refilled yet is not evicted."""
        assert self.max_keys is not None
        of = limit(burst=1)
        await self.ask(limiter, of)
        for number in range(2 * self.max_keys):
            with suppress(BackendUnavailable):
                await self.ask(limiter, of, f"caller-{number}")
        assert not (await self.ask(limiter, of)).allowed

    @needs("max_keys")
    async def test_a_full_limiter_grants_nobody_uncounted(self, limiter: RateLimiter) -> None:
        """A newcomer is counted or refused with BackendUnavailable; it never has a free hand."""
        assert self.max_keys is not None
        of = limit(burst=1)
        for number in range(2 * self.max_keys):
            granted = 0
            for _ in range(2):
                with suppress(BackendUnavailable):
                    granted += (await self.ask(limiter, of, f"caller-{number}")).allowed
            assert granted <= 1, f"caller {number} of a limiter for {self.max_keys} is not counted"

    @needs("max_keys", "can_skip_time")
    async def test_refilled_buckets_make_room(self, limiter: RateLimiter, advance: Advance) -> None:
        """Once its buckets have refilled, a full limiter takes new callers."""
        assert self.max_keys is not None
        of = limit(burst=1)
        for number in range(self.max_keys):
            with suppress(BackendUnavailable):
                await self.ask(limiter, of, f"caller-{number}")
        await advance(3600 + A_MOMENT)
        await self.assert_remaining(limiter, of, 1, "another")

    @needs("can_fail")
    async def test_an_outage_is_said_to_be_one(self, limiter: RateLimiter, outage: Outage) -> None:
        """In an outage no answer looks like a healthy one, and none takes longer than allowed."""
        async with outage():
            if self.has_stand_in:
                assert (await self.ask(limiter, limit())).is_degraded
            else:
                asked = [LimitRequest(limit=limit(), key="alice")]
                await self.assert_unavailable(limiter.acquire(asked))

    @needs("can_fail", "has_stand_in")
    async def test_the_stand_in_limits_too(self, limiter: RateLimiter, outage: Outage) -> None:
        """The stand-in grants a caller no more than the limit does."""
        async with outage():
            granted = [(await self.ask(limiter, limit(burst=5))).allowed for _ in range(10)]
        assert sum(granted) <= 5

    @needs("can_fail")
    async def test_an_outage_ends(
        self, limiter: RateLimiter, outage: Outage, advance: Advance
    ) -> None:
        """After the outage the limiter counts again for itself."""
        async with outage():
            pass
        await advance(self.staleness_seconds)
        assert not (await self.ask(limiter, limit())).is_degraded
        await self.assert_remaining(limiter, limit(burst=3), 3, "bob")
