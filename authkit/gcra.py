"""The generic cell rate algorithm: exact arithmetic over a bounded table of buckets.

A bucket is one number, its theoretical arrival time (TAT): when the whole burst is there
again.  A call that costs c moves it c emission intervals on, from now where it lies in the
past, and is allowed while it stays within burst intervals of now.  A bucket whose TAT has
passed says nothing that a new one would not, so only such a bucket is ever evicted.

All of it is integers.  Clocks count nanoseconds, and `monotonic()` is such a count turned
into a float: it is turned back here.  Each limit counts in the fraction of a nanosecond in
which its emission interval is whole, so no rounding adds up however long it runs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush, heapreplace
from itertools import count

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import LimitDecision, LimitRequest, LimitState, RateLimit
from authkit.limit_decisions import limit_decision, limit_state

__all__ = ["GcraTable"]

_LONGEST_NS = 2**63
_MAX_PLANS = 1_000
_STEPS_PER_NEW_KEY = 4
_STEPS_WHEN_FULL = 256


class GcraTable:
    """Decides on LimitRequests; knows at most `max_keys` callers at a time.

    A RateLimit's name and a request's key together name a bucket.  Two RateLimits of one
    name share it whatever their numbers are: a TAT is a moment, which means the same to both.

    In any interval of t seconds, in whole nanoseconds of the clock, a bucket grants at most
    `burst + rate * t / per_seconds`.

    Cleaning up is spread over the calls that bring a new key: each looks at a few buckets
    that should be replenished by now, so no call ever scans the table.

    Args:
        max_keys: how many buckets it holds.  When all of them are live, a new key is
            `BackendUnavailable`: forgetting one would give its caller a second burst.

    Attributes:
        allowed_total: decisions that allowed.
        refused_total: decisions that refused.
        evicted_total: replenished buckets that were forgotten.
        full_total: calls that found no room for a new key.

    Raises:
        ConfigurationError: `max_keys` is below 1.
    """

    def __init__(self, max_keys: int) -> None:
        if max_keys < 1:
            raise ConfigurationError("max_keys must be at least 1")
        self._max_keys = max_keys
        self._size = 0
        self._buckets: dict[str, dict[str, _Bucket]] = {}
        self._plans: dict[int, _Plan] = {}
        # One record for each bucket: (a nanosecond at or before its TAT, its number, itself).
        self._due: list[tuple[int, int, _Bucket]] = []
        self._number = count()
        self.allowed_total: int = 0
        self.refused_total: int = 0
        self.evicted_total: int = 0
        self.full_total: int = 0

    def __len__(self) -> int:
        return self._size

    def acquire(self, requests: Sequence[LimitRequest], now: float) -> LimitDecision:
        """Charges all of the requests or none, as `RateLimiter.acquire` promises.

        Costs of the same bucket in one call add up.  A cost of 0 is never refused, and
        leaves nothing behind.

        Args:
            requests: what to charge.
            now: `Clock.monotonic()`.

        Raises:
            ConfigurationError: a cost below 0 or above its limit's burst.
            BackendUnavailable: no room for a new key; nothing was charged.
        """
        now_ns = int(now * 1e9 + 0.5)
        if len(requests) == 1:
            # What a cached token costs: a known caller, within its one limit.  Everything
            # else, and what is wrong with a cost, is left to the general way.
            request = requests[0]
            plan = self._plans.get(id(request.limit))
            bucket = plan.buckets.get(request.key) if plan else None
            if bucket and plan is bucket.plan:
                now_units = now_ns * plan.scale
                tat = bucket.tat
                cost = request.cost
                tat = (tat if tat > now_units else now_units) + cost * plan.interval
                ahead = tat - now_units
                if cost >= 0 and ahead <= plan.capacity:
                    bucket.tat = tat
                    self.allowed_total += 1
                    return limit_decision(True, (_state(plan, ahead, 0),))
        return self._acquire(requests, now_ns)

    def _acquire(self, requests: Sequence[LimitRequest], now_ns: int) -> LimitDecision:
        if self._size + len(requests) > self._max_keys:
            self._evict(now_ns, _STEPS_WHEN_FULL)
        if len(self._plans) > _MAX_PLANS:
            # Somebody makes limits by the call.  A bucket keeps its own plan, and with it the
            # dictionary that the bucket is in.
            self._plans.clear()
            self._buckets = {name: held for name, held in self._buckets.items() if held}
        charged: list[_Charge] = []
        try:
            fresh = self._charge(requests, now_ns, charged)
        except Exception:
            _put_back(charged)
            raise
        allowed = not any(lacking > 0 for _, _, _, lacking in charged)
        if not allowed:
            _put_back(charged)
            self.refused_total += 1
        elif fresh and not self._admit(fresh, now_ns):
            _put_back(charged)
            self.full_total += 1
            raise BackendUnavailable("limiter", "holds as many live buckets as it may")
        else:
            self.allowed_total += 1
        states = [
            _state(plan, bucket.tat_in(plan) - now_ns * plan.scale, lacking)
            for plan, bucket, _, lacking in charged
        ]
        return limit_decision(allowed, tuple(states))

    def _charge(
        self, requests: Sequence[LimitRequest], now_ns: int, charged: list[_Charge]
    ) -> Collection[_Bucket]:
        """Charges one by one, each on top of those before it; returns the buckets that are new."""
        fresh: dict[tuple[str, str], _Bucket] = {}
        for request in requests:
            plan = self._plans.get(id(request.limit)) or self._plan(request.limit)
            cost = request.cost
            if not 0 <= cost <= plan.burst:
                raise ConfigurationError(
                    f"RateLimit {plan.name}: a cost is at least 0 and at most the burst, "
                    f"{plan.burst}; {cost} could never be granted"
                )
            now_units = now_ns * plan.scale
            bucket = plan.buckets.get(request.key)
            if bucket is None:
                bucket = _Bucket(plan, request.key, now_units)
                bucket = fresh.setdefault((plan.name, request.key), bucket)
            before = bucket.tat_in(plan)
            bucket.plan = plan
            bucket.tat = (before if before > now_units else now_units) + cost * plan.interval
            lacking = bucket.tat - plan.capacity - now_units if cost else 0
            charged.append((plan, bucket, before, lacking))
        return fresh.values()

    def _admit(self, fresh: Collection[_Bucket], now_ns: int) -> bool:
        """Takes new buckets into the table, all or none; those without a charge need no place."""
        live = [bucket for bucket in fresh if bucket.replenished_ns() > now_ns]
        if self._size + len(live) > self._max_keys:
            return False
        for bucket in live:
            bucket.plan.buckets[bucket.key] = bucket
            heappush(self._due, (bucket.replenished_ns(), next(self._number), bucket))
            self._size += 1
            self._evict(now_ns, _STEPS_PER_NEW_KEY)
        return True

    def evict(self, now: float) -> None:
        """Forgets some replenished buckets, if there are any.

        Args:
            now: `Clock.monotonic()`.
        """
        self._evict(int(now * 1e9 + 0.5), _STEPS_WHEN_FULL)

    def _evict(self, now_ns: int, steps: int) -> None:
        # A record is moved on only when it comes to the front, once for any number of
        # grants: the cost is spread over the grants, and one call takes few steps.
        due = self._due
        while steps and due and due[0][0] <= now_ns:
            steps -= 1
            _, number, bucket = due[0]
            replenished_ns = bucket.replenished_ns()
            if replenished_ns > now_ns:
                heapreplace(due, (replenished_ns, number, bucket))
                continue
            heappop(due)
            del bucket.plan.buckets[bucket.key]
            self._size -= 1
            self.evicted_total += 1

    def _plan(self, limit: RateLimit) -> _Plan:
        """The limit in whole numbers, kept by the limit's identity, which costs least to find."""
        plan = _Plan(limit, self._buckets.setdefault(limit.name, {}))
        self._plans[id(limit)] = plan
        return plan


class _Plan:
    """A RateLimit in whole numbers of units of 1/scale nanoseconds.

    It holds its limit, so that the limit's identity stays taken.
    """

    __slots__ = ("buckets", "burst", "capacity", "interval", "limit", "name", "scale")

    def __init__(self, limit: RateLimit, buckets: dict[str, _Bucket]) -> None:
        # The shortest text of a float is what was meant: 0.1 is a tenth, not 2**-56 more.
        period = Fraction(repr(float(limit.per_seconds))) * 1_000_000_000
        interval = period / int(limit.rate)
        self.limit = limit
        self.name = limit.name
        self.burst = int(limit.burst)
        self.interval = interval.numerator
        self.scale = interval.denominator
        self.capacity = self.burst * self.interval
        self.buckets = buckets
        if self.capacity > _LONGEST_NS * self.scale:
            raise ConfigurationError(
                f"RateLimit {limit.name}: its burst takes centuries to come back; "
                "raise rate or lower burst"
            )


@dataclass(slots=True, eq=False)
class _Bucket:
    """One caller's TAT under one limit, in the units of the plan that it was last charged by."""

    plan: _Plan
    key: str
    tat: int

    def tat_in(self, plan: _Plan) -> int:
        """The TAT in the units of another plan of the same name, rounded against the caller."""
        if plan.scale == self.plan.scale:
            return self.tat
        return -(-self.tat * plan.scale // self.plan.scale)

    def replenished_ns(self) -> int:
        """The first whole nanosecond at which the TAT has passed."""
        return -(-self.tat // self.plan.scale)


_Charge = tuple[_Plan, _Bucket, int, int]
"""What was charged, where, the TAT before it, and how many units it lies over the limit."""


def _put_back(charged: list[_Charge]) -> None:
    for plan, bucket, before, _ in reversed(charged):
        bucket.plan = plan
        bucket.tat = before


def _state(plan: _Plan, ahead: int, lacking: int) -> LimitState:
    """The state of a bucket whose TAT lies `ahead` units of its plan from now."""
    # Waits are rounded up to a whole nanosecond: after one, what it was for is there.
    remaining = (plan.capacity - max(0, ahead)) // plan.interval
    return limit_state(
        plan.name,
        remaining if remaining > 0 else 0,
        -(-lacking // plan.scale) / 1e9 if lacking > 0 else 0.0,
        -(-ahead // plan.scale) / 1e9 if ahead > 0 else 0.0,
    )
