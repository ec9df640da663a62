"""Charges in Redis: by one script, or where buckets are on several nodes, slot by slot."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Sequence
from typing import Any, NamedTuple

from authkit.interfaces import LimitState
from authkit_redis.limits.plans import Plan
from authkit_redis.limits.scripts import GIVE_BACK, TAKE, TAKE_ONE
from authkit_redis.link import Link, LinkError, OutcomeUnknown, ReplyError, Script

__all__ = ["Charge", "Charging", "Outcome", "not_a_limiters", "slots_of", "states_of"]


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


class Charging:
    """All or nothing over the buckets of one call.

    Where they are on several nodes of a cluster, nothing can be atomic: each slot is charged in its
    turn, the limit that comes back most slowly first, and what was charged before a refusal is
    given back.  What cannot be given back, because Redis fails just then, is lost to the caller,
    never won.

    Args:
        link: to the servers.
        timeout_seconds: for each call.
    """

    def __init__(self, link: Link, timeout_seconds: float) -> None:
        self._link = link
        self._timeout_seconds = timeout_seconds
        self._is_split = False

    async def take(self, charges: Sequence[Charge]) -> tuple[bool, list[Outcome]]:
        """Whether all were granted, and each bucket afterwards.

        Raises:
            LinkError: what was charged is not known, or nothing was.
        """
        if len(charges) == 1:
            return await self._at_once(charges)
        if not self._is_split:
            try:
                return await self._at_once(charges)
            except ReplyError as error:
                if error.code != "CROSSSLOT":
                    raise
                self._is_split = True
        return await self._in_turn(charges)

    async def give_back(self, charges: Sequence[Charge]) -> None:
        """Gives costs back that were charged; what fails is lost."""
        for group in _by_slot(charges):
            try:
                await self._run(GIVE_BACK, group, self._timeout_seconds)
            except LinkError:
                continue

    async def _at_once(
        self, charges: Sequence[Charge], timeout_seconds: float | None = None
    ) -> tuple[bool, list[Outcome]]:
        script = TAKE_ONE if len(charges) == 1 else TAKE
        reply = await self._run(script, charges, timeout_seconds or self._timeout_seconds)
        if type(reply) is not list or {*map(type, reply)} != {int}:
            raise not_a_limiters()
        rows = [*zip(reply[1::3], reply[2::3], reply[3::3], strict=False)]
        if len(rows) != len(charges):
            raise not_a_limiters()
        return reply[0] == 1, [Outcome(*row) for row in rows]

    async def _run(self, script: Script, charges: Sequence[Charge], timeout_seconds: float) -> Any:
        return await self._link.run(
            script,
            [charge.key for charge in charges],
            [argument for charge in charges for argument in charge.arguments],
            timeout_seconds=timeout_seconds,
        )

    async def _in_turn(self, charges: Sequence[Charge]) -> tuple[bool, list[Outcome]]:
        outcomes: dict[int, Outcome] = {}
        charged: list[Charge] = []
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
                left = max(deadline - time(), 0.001)
                is_granted_here, found = await self._at_once(asked, left)
                outcomes.update(zip(map(id, group), found, strict=True))
                if is_granted and is_granted_here:
                    charged += group
                is_granted = is_granted and is_granted_here
        except BaseException:
            await self.give_back(charged)
            raise
        if not is_granted:
            await self.give_back(charged)
            for charge in charged:
                used = outcomes[id(charge)].used - charge.cost * charge.plan.interval
                outcomes[id(charge)] = Outcome(used, 0, 0)
        return is_granted, [outcomes[id(charge)] for charge in charges]


def not_a_limiters() -> OutcomeUnknown:
    """What a reply is that no script of these gives."""
    return OutcomeUnknown("the reply of the Redis server is not a limiter's")


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
