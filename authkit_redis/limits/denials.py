"""Refusals, remembered until the call could be granted: asking again costs no command."""

from __future__ import annotations

from collections.abc import Sequence

from authkit.interfaces import LimitDecision
from authkit.limit_decisions import limit_decision
from authkit_redis.limits.charging import Charge, Outcome

__all__ = ["Denials"]

_MAX_DENIALS = 10_000
_LONGEST_SECONDS = 10.0
"""After this Redis is asked again, whoever may have emptied the bucket there."""

# Which buckets for which costs.
_Question = bytes | tuple[tuple[bytes, int], ...]

_Denial = tuple[float, float, Sequence[Charge], Sequence[Outcome]]


class Denials:
    """A refused call changes nothing: until what it lacked is there, it would be refused again.

    What the buckets have won back since is reckoned in; what other calls have used of those that
    did not refuse is not.  The oldest of too many are forgotten, which costs a question.

    Attributes:
        known: the calls that were refused; a key alone is a call of cost 1.
        refused_total: how often one was refused from memory.
    """

    __slots__ = ("known", "refused_total")

    def __init__(self) -> None:
        self.known: dict[_Question, _Denial] = {}
        self.refused_total: int = 0

    def __len__(self) -> int:
        return len(self.known)

    def add(self, charges: Sequence[Charge], outcomes: Sequence[Outcome], asked_at: float) -> None:
        """Remembers a refusal of a call that was made at `asked_at`, on the monotonic clock."""
        waits = [
            outcome.lacking / charge.plan.scale / 1e6
            for charge, outcome in zip(charges, outcomes, strict=True)
        ]
        until = asked_at + min(max(waits), _LONGEST_SECONDS)
        question = _question(charges)
        if len(self.known) >= _MAX_DENIALS and question not in self.known:
            self.known.pop(next(iter(self.known)), None)
        self.known[question] = (until, asked_at, charges, outcomes)

    def find(self, charges: Sequence[Charge], now: float) -> LimitDecision | None:
        """The refusal of a call that would be refused now, or None."""
        question = _question(charges)
        denial = self.known.get(question)
        if denial is None:
            return None
        until, asked_at, asked, outcomes = denial
        if now >= until:
            self.known.pop(question, None)  # another thread may have been faster
            return None
        if [charge.plan.one for charge in asked] != [charge.plan.one for charge in charges]:
            return None  # limits of one name share a bucket, which may have room for the other
        self.refused_total += 1
        passed = int((now - asked_at) * 1e6)
        states = [
            charge.plan.state(
                outcome.used - passed * charge.plan.scale,
                outcome.lacking - passed * charge.plan.scale,
            )
            for charge, outcome in zip(asked, outcomes, strict=True)
        ]
        return limit_decision(False, tuple(states))


def _question(charges: Sequence[Charge]) -> _Question:
    if len(charges) == 1 and charges[0].cost == 1:
        return charges[0].key
    return tuple([(charge.key, charge.cost) for charge in charges])
