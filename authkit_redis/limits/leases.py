"""Calls taken from Redis in advance and granted in this process, for very hot limits."""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from authkit.interfaces import LimitDecision
from authkit_redis.limits.charging import Charge, Charging, Outcome
from authkit_redis.limits.plans import Plan
from authkit_redis.link import LinkError, OutcomeUnknown

__all__ = ["Leases"]

_LEASE_SECONDS = 1.0
"""What is not used for so long is lost to the caller, so that no process keeps what others need."""

_MAX_LEASES = 10_000

_WOKEN = 4
"""How many of those who wait try again at once, each of which wakes the next one in its turn."""


class _Refusal(NamedTuple):
    """That a cost was refused, and what was left of the bucket."""

    cost: int
    outcome: Outcome


class _Lease:
    """What this process holds of one bucket.

    Attributes:
        calls: how many it may still grant.
        until: when they are lost, on the monotonic clock.
        used: what was used up of the bucket when calls were last taken from it, in the plan's
            units, these calls included.
        decision: what grants one of these calls.
        refill: takes more, for everybody who waits.
        waiting: are woken a few at a time, since one of them may need all that there is.
    """

    __slots__ = ("calls", "decision", "refill", "until", "used", "waiting")

    def __init__(self) -> None:
        self.calls: int = 0
        self.until: float = 0.0
        self.used: int = 0
        self.decision: LimitDecision | None = None
        self.refill: asyncio.Task[None] | None = None
        self.waiting: deque[asyncio.Future[_Refusal | None]] = deque()

    def wake(self, count: int) -> None:
        """Lets some of those who wait try again."""
        while count and self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def refuse(self, refusal: _Refusal) -> None:
        """Tells all of those who wait."""
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_result(refusal)

    def fail(self, error: LinkError) -> None:
        """Tells all of those who wait, each with an error of its own."""
        while self.waiting:
            waiter = self.waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error.copy(error.__cause__))

    def outcome(self, plan: Plan) -> Outcome:
        """The bucket as it was then, but for what was granted since."""
        return Outcome(max(0, self.used - self.calls * plan.interval), 0, 0)


class Leases:
    """Takes up to `plan.lease` calls at once, and grants them one by one.

    A process holds at most so many calls of a bucket, or the cost of one call if that is more, and
    these may be granted up to a second after Redis has said so.  So with P processes (event
    loops, to be exact) an interval of t seconds sees at most
    `burst + rate * t / per_seconds + P * lease`.

    Args:
        charging: takes from Redis.
        monotonic: the clock.

    Attributes:
        refills_total: how often calls were taken in advance.
    """

    def __init__(self, charging: Charging, monotonic: Callable[[], float]) -> None:
        self._charging = charging
        self._monotonic = monotonic
        self._of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bytes, _Lease]] = (
            WeakKeyDictionary()
        )
        self._latest: tuple[asyncio.AbstractEventLoop | None, dict[bytes, _Lease]] = (None, {})
        self.refills_total: int = 0

    async def take(self, charges: Sequence[Charge]) -> tuple[bool, list[Outcome]]:
        """Whether all were granted, and each bucket afterwards.

        What is leased is taken first, since it costs nothing to put back.

        Raises:
            LinkError: what was charged is not known, or nothing was.
        """
        held: list[Charge] = []
        outcomes: dict[int, Outcome] = {}
        is_granted = True
        try:
            for charge in charges:
                if is_granted and charge.cost and charge.plan.lease:
                    is_granted, outcomes[id(charge)] = await self._take(charge)
                    if is_granted:
                        held.append(charge)
            others = [charge for charge in charges if id(charge) not in outcomes]
            if others:
                # After a refusal they are only asked for their state.
                asked = (
                    others if is_granted else [other._replace(cost=0, most=0) for other in others]
                )
                are_granted, found = await self._charging.take(asked)
                outcomes.update(zip(map(id, others), found, strict=True))
                is_granted = is_granted and are_granted
        except BaseException:
            self._put_back(held, outcomes)
            raise
        if not is_granted:
            self._put_back(held, outcomes)
        return is_granted, [outcomes[id(charge)] for charge in charges]

    def grant_one(self, key: bytes) -> LimitDecision | None:
        """Grants one call from what this process holds; None if it holds none.

        All calls of a lease are granted with the state of the bucket when they were taken.
        """
        lease = self._here().get(key)
        if lease is None or lease.calls < 1 or self._monotonic() >= lease.until:
            return None
        lease.calls -= 1
        return lease.decision

    async def _take(self, charge: Charge) -> tuple[bool, Outcome]:
        """Grants a charge, after taking more from Redis where that is needed."""
        lease = self._lease(charge.key)
        while lease.calls < charge.cost or self._monotonic() >= lease.until:
            if lease.refill is None:
                lease.refill = asyncio.create_task(self._refill(lease, charge))
            refusal = await self._woken(lease)
            # Another's refusal says something of a cost that is no smaller.
            if refusal is not None and refusal.cost <= charge.cost:
                return False, refusal.outcome
        lease.calls -= charge.cost
        lease.wake(1)
        return True, lease.outcome(charge.plan)

    async def _woken(self, lease: _Lease) -> _Refusal | None:
        waiter: asyncio.Future[_Refusal | None] = get_running_loop().create_future()
        lease.waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            lease.wake(1)  # perhaps in its own place
            raise

    def _put_back(self, held: Sequence[Charge], outcomes: dict[int, Outcome]) -> None:
        for charge in held:
            lease = self._lease(charge.key)
            # What was leased anew meanwhile and no longer fits is lost, so that the bound holds.
            most = max(charge.plan.lease, charge.cost)
            lease.calls = min(lease.calls + charge.cost, most)
            outcomes[id(charge)] = lease.outcome(charge.plan)

    def _here(self) -> dict[bytes, _Lease]:
        """The leases of this event loop."""
        loop, leases = self._latest
        if loop is not get_running_loop():
            loop = get_running_loop()
            leases = self._of_loops.setdefault(loop, {})
            self._latest = (loop, leases)
        return leases

    def _lease(self, key: bytes) -> _Lease:
        leases = self._here()
        lease = leases.get(key)
        if lease is None:
            if len(leases) >= _MAX_LEASES:
                del leases[next(iter(leases))]
            lease = leases[key] = _Lease()
        return lease

    async def _refill(self, lease: _Lease, charge: Charge) -> None:
        """Takes what lacks for a charge, and as much more as a lease may hold."""
        try:
            if self._monotonic() >= lease.until:
                lease.calls = 0
            needed = max(1, charge.cost - lease.calls)
            most = max(needed, charge.plan.lease - lease.calls)
            self.refills_total += 1
            asked = charge._replace(cost=needed, most=most)
            is_granted, (outcome,) = await self._charging.take([asked])
        except LinkError as error:
            lease.fail(error)
            return
        except BaseException:
            # A fault, or the end of the event loop: whoever waits must not wait for ever.
            lease.fail(OutcomeUnknown("taking calls in advance was given up"))
            raise
        finally:
            lease.refill = None
        lease.used, lease.decision = outcome.used, charge.plan.granted(outcome.used)
        if is_granted:
            lease.calls += outcome.taken
            # From now, since a slow reply must not be too late for those who wait for it.
            lease.until = self._monotonic() + _LEASE_SECONDS
            lease.wake(_WOKEN)
        else:
            lease.refuse(_Refusal(charge.cost, outcome))
