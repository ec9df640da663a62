"""Charges in Redis: by one script, or where buckets are on several nodes, slot by slot."""

from __future__ import annotations

from asyncio import gather, get_running_loop
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from authkit.interfaces import LimitState
from authkit_redis.limits.plans import Plan
from authkit_redis.limits.scripts import GIVE_BACK, TAKE, TAKE_ONE
from authkit_redis.link import Link, LinkError, OutcomeUnknown, ReplyError, Script

__all__ = ["Charge", "Charging", "Outcome", "checked", "not_a_limiters", "slots_of", "states_of"]

_TOO_LARGE = 2**53


class Charge(NamedTuple):
    """One bucket to be charged: its cost, and how many more may be taken where there is room."""

    plan: Plan
    key: bytes
    cost: int
    most: int

    @property
    def arguments(self) -> tuple[bytes, ...]:
        """What a script is given of it."""
        return self.plan.arguments(self.cost, self.most)


class Outcome(NamedTuple):
    """A bucket afterwards: what is used up and lacks, in the plan's units, and what was taken."""

    used: int
    lacking: int
    taken: int


class _Charged(NamedTuple):
    """What was charged of one slot, and when by the clock of its server, in microseconds."""

    charges: Sequence[Charge]
    outcomes: Sequence[Outcome]
    moment: int


class Charging:
    """All or nothing over the buckets of one call.

    Where they are on several nodes of a cluster, nothing can be atomic: each slot is charged in its
    turn, the limit that comes back most slowly first, and what was charged before a refusal is
    given back.  What cannot be given back, because Redis fails just then, is lost to the caller,
    never won.

    Args:
        link: to the servers.
        timeout_seconds: for each call.
        failed: is told for which slots Redis did not decide, and why.
        answered: is told for which slots it did.
    """

    def __init__(
        self,
        link: Link,
        timeout_seconds: float,
        *,
        failed: Callable[[frozenset[bytes], LinkError], None],
        answered: Callable[[frozenset[bytes]], None],
    ) -> None:
        self._link = link
        self._timeout_seconds = timeout_seconds
        self._failed = failed
        self._answered = answered
        self._is_split = False

    async def take(self, charges: Sequence[Charge]) -> tuple[bool, list[Outcome]]:
        """Whether all were granted, and each bucket afterwards.

        Raises:
            LinkError: what was charged is not known, or nothing was.
        """
        if len(charges) == 1:
            return _read(await self._ask(TAKE_ONE, charges, self._timeout_seconds))
        if not self._is_split:
            try:
                return _read(await self._ask(TAKE, charges, self._timeout_seconds))
            except ReplyError as error:
                if error.code != "CROSSSLOT":
                    raise
                self._is_split = True
        return await self._in_turn(charges)

    async def _ask(
        self, script: Script, charges: Sequence[Charge], timeout_seconds: float
    ) -> list[int]:
        try:
            reply = await self._link.run(
                script,
                [charge.key for charge in charges],
                [argument for charge in charges for argument in charge.arguments],
                timeout_seconds=timeout_seconds,
            )
            numbers = checked(reply, 4 if script is TAKE_ONE else 2 + 3 * len(charges))
        except LinkError as error:
            self._failed(slots_of(charges), error)
            raise
        self._answered(slots_of(charges))
        return numbers

    async def _in_turn(self, charges: Sequence[Charge]) -> tuple[bool, list[Outcome]]:
        outcomes: dict[int, Outcome] = {}
        charged: list[_Charged] = []
        is_granted = True
        time = get_running_loop().time
        deadline = time() + self._timeout_seconds
        try:
            for group in _by_slot(charges):
                # After a refusal the others are only asked for their state.
                asked = (
                    group if is_granted else [charge._replace(cost=0, most=0) for charge in group]
                )
                # All of them together take no longer than one would.
                reply = await self._ask(TAKE, asked, max(deadline - time(), 0.001))
                is_granted_here, found = _read(reply)
                outcomes.update(zip(map(id, group), found, strict=True))
                if is_granted and is_granted_here:
                    charged.append(_Charged(group, found, reply[-1]))
                is_granted = is_granted and is_granted_here
        except BaseException:
            await self._give_back(charged)
            raise
        if not is_granted:
            await self._give_back(charged)
            for each in charged:
                outcomes.update(zip(map(id, each.charges), _before(each), strict=True))
        return is_granted, [outcomes[id(charge)] for charge in charges]

    async def _give_back(self, charged: Sequence[_Charged]) -> None:
        """Gives costs back that were charged, everywhere at once; what fails is lost."""
        await gather(*map(self._give_back_one, charged))

    async def _give_back_one(self, charged: _Charged) -> None:
        arguments: list[int] = []
        for charge, outcome in zip(charged.charges, charged.outcomes, strict=True):
            plan = charge.plan
            arguments += (plan.interval, plan.scale, charge.cost, outcome.used)
        with suppress(LinkError):
            await self._link.run(
                GIVE_BACK,
                [charge.key for charge in charged.charges],
                [*arguments, charged.moment],
                timeout_seconds=self._timeout_seconds,
            )


def checked(reply: Any, length: int) -> list[int]:
    """A reply, if it is as many numbers as it should be, which can be reckoned with.

    Raises:
        OutcomeUnknown: it is none that these scripts give.
    """
    if (
        type(reply) is not list
        or len(reply) != length
        or {*map(type, reply)} != {int}
        or not 0 <= min(reply) <= max(reply) < _TOO_LARGE
    ):
        raise not_a_limiters()
    return reply


def not_a_limiters() -> OutcomeUnknown:
    """What a reply is that no script of these gives."""
    return OutcomeUnknown("the reply of the Redis server is not a limiter's")


def _read(reply: list[int]) -> tuple[bool, list[Outcome]]:
    rows = zip(reply[1::3], reply[2::3], reply[3::3], strict=False)  # a moment may follow
    return reply[0] == 1, [Outcome(*row) for row in rows]


def _before(charged: _Charged) -> list[Outcome]:
    """The buckets of a slot as they are without what was charged."""
    costs: Counter[bytes] = Counter()
    for charge in charged.charges:
        costs[charge.key] += charge.cost
    return [
        Outcome(max(0, outcome.used - costs[charge.key] * charge.plan.interval), 0, 0)
        for charge, outcome in zip(charged.charges, charged.outcomes, strict=True)
    ]


def states_of(charges: Sequence[Charge], outcomes: Sequence[Outcome]) -> tuple[LimitState, ...]:
    """The states of the buckets of a call, in order."""
    return tuple(
        [
            charge.plan.state(outcome.used, outcome.lacking)
            for charge, outcome in zip(charges, outcomes, strict=True)
        ]
    )


def slots_of(charges: Sequence[Charge]) -> frozenset[bytes]:
    """What the keys of a call have before the end of their hash tags."""
    return frozenset([charge.key.partition(b"}")[0] for charge in charges])


def _by_slot(charges: Sequence[Charge]) -> list[list[Charge]]:
    """The charges of each slot, that with the limit that comes back most slowly first."""
    groups: dict[bytes, list[Charge]] = {}
    for charge in charges:
        groups.setdefault(charge.key.partition(b"}")[0], []).append(charge)
    return sorted(groups.values(), key=lambda group: -max(_seconds_of(each) for each in group))


def _seconds_of(charge: Charge) -> float:
    return charge.plan.interval / charge.plan.scale
