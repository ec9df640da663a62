"""A RateLimiter that a fleet of processes shares through Redis."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from authkit.clock import Clock, SystemClock
from authkit.errors import ConfigurationError
from authkit.interfaces import LimitDecision, LimitRequest, StateChange
from authkit.limit_decisions import limit_decision
from authkit.reported_state import AVAILABLE, ReportedState
from authkit_redis.arguments import is_number, require_seconds
from authkit_redis.limits.charging import (
    Charge,
    Charging,
    Outcome,
    checked,
    not_a_limiters,
    slots_of,
    states_of,
)
from authkit_redis.limits.circuit import EVERYWHERE, Circuit
from authkit_redis.limits.denials import Denials
from authkit_redis.limits.leases import Leases
from authkit_redis.limits.plans import Keys, Plan, Plans
from authkit_redis.limits.policy_watch import PolicyWatch
from authkit_redis.limits.scripts import FOREIGN, TAKE_ONE
from authkit_redis.limits.stand_in import StandIn
from authkit_redis.link import Link, LinkError, OutcomeUnknown, ReplyError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from authkit.interfaces import Observable, RateLimiter

__all__ = ["RedisRateLimiter"]

_DEGRADED, _EVICTING = "degraded", "evicting"
_OF_THE_KEYS = frozenset({FOREIGN, "CROSSSLOT", "WRONGTYPE"})


class RedisRateLimiter:
    """Counts the calls of a fleet exactly, in one round trip, by the clock of the Redis server.

    All limits of a call are charged together or not at all, whatever their number, where their
    buckets are on one server.  A cluster has a slot for all buckets whose keys begin with the same
    word, which for the Verifier's is the issuer; a call over several slots charges them in order,
    the one that comes back most slowly first, and gives back what it charged before a refusal.

    What is refused is remembered here until it could be granted, ten seconds at most, and refused
    without asking again.

    While Redis does not answer, each process grants alone, within `fallback_share` of every limit,
    and says so with `is_degraded`.  A call that ended without an answer may have been counted; it
    is not repeated, and is decided in this process.  So P processes and an outage of t seconds add
    at most P * (max(1, share * burst) + share * rate * t / per_seconds) calls to what a limit
    allows; a server that comes back empty adds its burst.

    A limit in `leases` is granted in this process from calls taken in advance, which saves most
    round trips of a very hot key: an interval sees at most as many calls more as all processes
    hold, each up to the size of its lease, or the cost of one call if that is more.  What is leased
    and not used within a second is lost to the caller.

    It may be used without being entered while the link is.  It is an Observable, whose states are
    `available`; `degraded`, while it grants alone; and `evicting`, where Redis may drop what was
    counted when it is full.

    Args:
        link: to the servers.
        prefix: of all keys; the same for all processes that share limits, 1 to 64 printable ASCII
            characters without braces.
        secret: keys the hashes that stand for callers, at least 16 bytes; the same for all
            processes.
        fallback_share: of each limit, but at least one call of its burst, what a process grants
            while Redis does not answer; above 0 and at most 1.  One by the number of processes
            keeps the sum within the limit.
        leases: the size of the lease, in calls, by the name of the limit.
        timeout_seconds: within which Redis must answer.
        max_keys: how many callers the stand-in of this process knows at a time.
        clock: its `monotonic` counts in this process; None is the machine's.

    Raises:
        ConfigurationError: a value has no sense; the message says which.
    """

    def __init__(
        self,
        link: Link,
        *,
        prefix: str = "authkit",
        secret: bytes | None = None,
        fallback_share: float = 0.1,
        leases: Mapping[str, int] | None = None,
        timeout_seconds: float = 0.25,
        max_keys: int = 100_000,
        clock: Clock | None = None,
    ) -> None:
        require_seconds(timeout_seconds=timeout_seconds)
        if not (is_number(fallback_share) and 0 < fallback_share <= 1):
            raise ConfigurationError("fallback_share must be a number above 0 and at most 1")
        if type(max_keys) is not int:
            raise ConfigurationError("max_keys must be a whole number")
        self._link, clock = link, SystemClock() if clock is None else clock
        self._monotonic = clock.monotonic
        self._timeout_seconds = float(timeout_seconds)
        self._plans = Plans(prefix, secret, leases)
        self._charging = Charging(
            link, self._timeout_seconds, failed=self._failed, answered=self._answered
        )
        self._leases = Leases(self._charging, self._monotonic)
        self._denials = Denials()
        self._circuit = Circuit(self._timeout_seconds)
        self._stand_in = StandIn(fallback_share, max_keys)
        self._state = ReportedState("limiter", "redis", clock)
        trial = Keys(prefix, secret).of("trial", secrets.token_hex(8))
        self._policy = PolicyWatch(link, trial, self._timeout_seconds, self._learnt)
        self._entered = 0
        self._is_evicting = False
        self._allowed_total = self._refused_total = self._failures_total = self._unknown_total = 0

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        """Charges all of the requests, or none of them; see `RateLimiter.acquire`.

        Costs of the same bucket in one call add up.

        Raises:
            ConfigurationError: a cost below 0, above its limit's burst, or a limit whose burst
                takes centuries to come back; nothing was charged.
            BackendUnavailable: Redis does not answer, and the stand-in has no room for another
                caller.
        """
        if len(requests) == 1 and self._circuit.is_closed:
            # What a request costs that meets nothing unusual: the rest is left to the general way.
            request = requests[0]
            plan = self._plans.known.get(id(request.limit))
            if plan is not None and request.cost == 1:
                key = plan.keys.get(request.key) or plan.key(request.key)
                if plan.lease:
                    decision = self._leases.grant_one(key)
                    if decision is not None:
                        self._allowed_total += 1
                        return decision
                elif key not in self._denials.known:
                    ask = plan.asks.get(key) or self._ask(plan, key)
                    asked_at = self._monotonic()
                    try:
                        reply = await ask()
                        is_granted, used, _, _ = reply
                        if is_granted == 1 and 0 <= used <= plan.capacity:
                            self._allowed_total += 1
                            return plan.granted(used)
                        outcome = Outcome(*checked(reply, 4)[1:])
                    except LinkError as error:
                        problem = error
                    except (TypeError, ValueError):
                        problem = not_a_limiters()
                    else:
                        return self._refuse((Charge(plan, key, 1, 1),), (outcome,), asked_at)
                    self._failed(slots_of((Charge(plan, key, 1, 1),)), problem)
                    return self._without_redis(requests, problem)
        return await self._acquire(requests)

    async def _acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        charges = [self._charge(request) for request in requests]
        if not charges:
            return limit_decision(True, ())
        now = self._monotonic()
        refusal = self._denials.find(charges, now)
        if refusal is not None:
            self._refused_total += 1
            return refusal
        slots = slots_of(charges)
        if not self._circuit.admits(slots, now):
            return self._stand_in.acquire(requests, now)
        try:
            is_granted, outcomes = await self._leases.take(charges)
        except LinkError as error:
            return self._without_redis(requests, error)
        if not is_granted:
            return self._refuse(charges, outcomes, now)
        self._allowed_total += 1
        return limit_decision(True, states_of(charges, outcomes))

    def _ask(self, plan: Plan, key: bytes) -> Callable[[], Awaitable[Any]]:
        """What takes one call from a bucket; made once, as the same callers come again."""
        timeout = self._timeout_seconds
        ask = self._link.prepared(TAKE_ONE, (key,), plan.one, timeout_seconds=timeout)
        plan.asks[key] = ask
        return ask

    def _charge(self, request: LimitRequest) -> Charge:
        plan, cost = self._plans.of(request.limit), request.cost
        plan.check(cost)
        return Charge(plan, plan.key(request.key), cost, cost)

    def _refuse(
        self, charges: Sequence[Charge], outcomes: Sequence[Outcome], asked_at: float
    ) -> LimitDecision:
        self._refused_total += 1
        self._denials.add(charges, outcomes, asked_at)
        return limit_decision(False, states_of(charges, outcomes))

    def _without_redis(self, requests: Sequence[LimitRequest], error: LinkError) -> LimitDecision:
        """Decides in this process what Redis has not, or not certainly, decided."""
        self._failures_total += 1
        self._unknown_total += isinstance(error, OutcomeUnknown)
        return self._stand_in.acquire(requests, self._monotonic())

    def _failed(self, slots: frozenset[bytes], error: LinkError) -> None:
        if isinstance(error, ReplyError) and error.code in _OF_THE_KEYS:
            self._answered(slots)  # it is the keys that something is wrong with
            return
        self._circuit.failed(slots, self._monotonic())
        self._state.set(_DEGRADED, code="limiter_degraded", why=str(error))

    def _answered(self, slots: frozenset[bytes]) -> None:
        if not self._circuit.is_closed:
            self._circuit.succeeded(slots, self._monotonic())
            if self._circuit.is_closed:
                self._report_available()

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` on each change of the state."""
        self._state.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """Decisions and how they came about; `link_` are figures of the link.

        `allowed_total` and `refused_total` are Redis's, `remembered_total` of the latter without
        asking; `degraded_total` are the stand-in's.  Calls to Redis that failed are
        `failures_total`, and `unknown_total` those of them that may have been counted all the same.
        """
        return {
            "allowed_total": self._allowed_total,
            "refused_total": self._refused_total,
            "remembered_total": self._denials.refused_total,
            "degraded_total": self._stand_in.decisions_total,
            "failures_total": self._failures_total,
            "unknown_total": self._unknown_total,
            "refills_total": self._leases.refills_total,
            "denials": len(self._denials),
            "stand_in_keys": len(self._stand_in),
            "listener_errors_total": self._state.listener_errors_total,
            **{f"link_{name}": value for name, value in self._link.stats().items()},
        }

    async def __aenter__(self) -> Self:
        """Tries whether limits can be counted; where Redis does not answer, it begins all the same.

        Raises:
            ConfigurationError: Redis does not let this user in, or not do what is needed.
        """
        await self._link.__aenter__()
        try:
            if not self._entered:
                await self._policy.look()
        except LinkError as error:
            self._failed(EVERYWHERE, error)
        except BaseException:
            await self._link.__aexit__(None, None, None)
            raise
        self._entered += 1
        if self._entered == 1:
            self._policy.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the link."""
        self._entered -= 1
        if not self._entered:
            await self._policy.stop()
        await self._link.__aexit__(kind, error, trace)

    def _learnt(self, is_evicting: bool) -> None:
        self._is_evicting = is_evicting
        if self._circuit.is_closed:
            self._report_available()

    def _report_available(self) -> None:
        if self._is_evicting:
            why = "maxmemory-policy is not noeviction, so Redis may forget what was counted"
            self._state.set(_EVICTING, code="limiter_evicting", why=why)
        else:
            self._state.set(AVAILABLE)


if TYPE_CHECKING:

    def _kinds(limiter: RedisRateLimiter) -> None:
        _limiter: RateLimiter = limiter
        _observable: Observable = limiter
        _entered: AbstractAsyncContextManager[RedisRateLimiter] = limiter
