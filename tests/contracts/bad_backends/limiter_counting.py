"""Rate limiters that count wrongly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import LimitDecision, LimitRequest, LimitState, RateLimit
from tests.contracts.bad_backends.honest_rate_limiter import HonestLimiter, Key


class ChargesTheRefused(HonestLimiter):
    breaks = (
        "test_a_refused_call_changes_nothing",
        "test_charges_all_or_nothing",
        "test_counts_several_limits_exactly_at_once",
        "test_never_grants_more_than_promised",
        "test_retry_after_is_true",
        "test_the_same_bucket_twice_adds_up",
    )

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        decision = await super().acquire(requests)
        if not decision.allowed:
            self.charge(requests)
        return decision


class ChargesAsItGoes(HonestLimiter):
    """One limit after the other, up to the one that refuses."""

    breaks = (
        "test_charges_all_or_nothing",
        "test_counts_several_limits_exactly_at_once",
        "test_states_stand_in_the_order_of_the_requests",
        "test_the_same_bucket_twice_adds_up",
    )

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        for request in requests:
            self.check(request)
        decision = LimitDecision(allowed=True, states=(), is_degraded=False)
        states: tuple[LimitState, ...] = ()
        for request in requests:
            decision = await super().acquire([request])
            states += decision.states
            if not decision.allowed:
                break
        return replace(decision, states=states)


class AlwaysAllows(HonestLimiter):
    breaks = ("test_grants_the_burst_and_no_more", "test_never_grants_more_than_promised")
    breaks_more = True

    def lacking(self, request: LimitRequest, level: float) -> float:
        return 0.0


class ChargesTheFirstOnly(HonestLimiter):
    breaks = ("test_charges_every_limit_of_an_allowed_call",)
    breaks_more = True

    def charge(self, requests: Sequence[LimitRequest]) -> None:
        super().charge(requests[:1])


class LooksAtEachAlone(HonestLimiter):
    breaks = ("test_the_same_bucket_twice_adds_up",)

    def levels(self, requests: Sequence[LimitRequest]) -> list[float]:
        return [self.level(request) for request in requests]


class SortsTheStates(HonestLimiter):
    breaks = (
        "test_says_which_limit_refused",
        "test_states_stand_in_the_order_of_the_requests",
    )

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        decision = await super().acquire(requests)
        return replace(decision, states=tuple(sorted(decision.states, key=lambda s: s.name)))


class BlamesEveryLimit(HonestLimiter):
    breaks = ("test_says_which_limit_refused",)

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        decision = await super().acquire(requests)
        longest = max((state.retry_after_seconds for state in decision.states), default=0.0)
        states = [replace(state, retry_after_seconds=longest) for state in decision.states]
        return replace(decision, states=tuple(states))


class RefusesTheEmptyCall(HonestLimiter):
    breaks = ("test_an_empty_call_is_allowed",)

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        decision = await super().acquire(requests)
        return replace(decision, allowed=bool(requests) and decision.allowed)


class GrantsOneMore(HonestLimiter):
    breaks = ("test_a_burst_of_one_is_granted_once", "test_grants_the_burst_and_no_more")
    breaks_more = True

    def lacking(self, request: LimitRequest, level: float) -> float:
        return super().lacking(request, level + 1)


class SaysWhatThereWas(HonestLimiter):
    breaks = (
        "test_remaining_counts_down",
        "test_states_stand_in_the_order_of_the_requests",
    )

    def state(self, request: LimitRequest, lacking: float) -> LimitState:
        state = super().state(request, lacking)
        return state if lacking else replace(state, remaining=state.remaining + request.cost)


class FoldsKeys(HonestLimiter):
    breaks = ("test_keeps_keys_and_names_apart",)

    def key(self, limit: RateLimit, key: str) -> Key:
        return (limit.name, key.casefold())


class CutsNames(HonestLimiter):
    breaks = ("test_keeps_keys_and_names_apart",)

    def key(self, limit: RateLimit, key: str) -> Key:
        return (limit.name[:64], key)


class JoinsNameAndKey(HonestLimiter):
    breaks = ("test_never_confuses_where_the_name_ends",)

    def key(self, limit: RateLimit, key: str) -> Key:
        return (f"{limit.name}:{key}",)


class RefusesLongKeys(HonestLimiter):
    breaks = ("test_keeps_keys_and_names_apart", "test_takes_any_text_for_a_key_or_a_name")

    def key(self, limit: RateLimit, key: str) -> Key:
        if len(key) > 1024:
            raise BackendUnavailable("limiter", "the key is too long")
        return super().key(limit, key)


class ReadsBeforeItWaits(HonestLimiter):
    """Another call may have charged between its look and its own charge."""

    breaks = ("test_counts_exactly_at_once", "test_counts_several_limits_exactly_at_once")

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        self.answer()
        for request in requests:
            self.check(request)
        lacking = list(map(self.lacking, requests, self.levels(requests)))
        allowed = not any(lacking)
        if allowed:
            await asyncio.sleep(0)
            self.charge(requests)
        states = tuple(map(self.state, requests, lacking))
        return LimitDecision(allowed=allowed, states=states, is_degraded=False)


class LocksInTheOrderGiven(HonestLimiter):
    """Two calls that want each other's lock wait for ever."""

    breaks = ("test_counts_several_limits_exactly_at_once",)

    def __init__(self, clock: Clock, max_keys: int) -> None:
        super().__init__(clock, max_keys)
        self.locks: dict[Key, asyncio.Lock] = {}

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        return await self.locked(list(dict.fromkeys(map(self.key_of, requests))), requests)

    def key_of(self, request: LimitRequest) -> Key:
        return self.key(request.limit, request.key)

    async def locked(self, keys: list[Key], requests: Sequence[LimitRequest]) -> LimitDecision:
        if not keys:
            return await super().acquire(requests)
        async with self.locks.setdefault(keys[0], asyncio.Lock()):
            await asyncio.sleep(0)
            return await self.locked(keys[1:], requests)


class NeverFreesItsLock(HonestLimiter):
    breaks = ("test_a_cancelled_call_harms_no_other",)

    def __init__(self, clock: Clock, max_keys: int) -> None:
        super().__init__(clock, max_keys)
        self.lock = asyncio.Lock()

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        await self.lock.acquire()
        await asyncio.sleep(0)  # where a cancellation leaves the lock behind
        try:
            return await super().acquire(requests)
        finally:
            self.lock.release()


class ChargesAgainWhenCancelled(HonestLimiter):
    breaks = ("test_a_cancelled_call_harms_no_other",)

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        decision = await super().acquire(requests)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            for _ in range(10):
                self.charge(requests)
            raise
        return decision


class ForgetsToSayThatItIsEntered(HonestLimiter):
    """Its suite says `is_context_manager = False`, so its opening and closing go untested."""

    breaks = ("test_declares_the_abilities_that_it_has",)

    async def __aenter__(self) -> HonestLimiter:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_down = True
