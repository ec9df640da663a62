"""Who has which slot of a Redis Cluster, as its nodes tell it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Any

from authkit_redis.link.dialling import Dialler
from authkit_redis.link.errors import AccessRefused, LinkError, NotSent, ReplyError
from authkit_redis.link.first_answer import Address, Unanswered, first_answer

__all__ = ["Remap", "SlotMap", "ask_for_slots"]

_SLOTS = 16_384
_HEAD_START = 0.2  # of the time that one node has
_random = SystemRandom()

SlotMap = dict[int, Address]
Remap = Callable[[Address], Address]


class _Incomplete(NotSent):
    """A node knows masters of some slots only, or of none: it may have left the cluster."""

    def __init__(self, slots: SlotMap) -> None:
        super().__init__("the Redis cluster has no master for some of its slots")
        self.slots = slots


async def ask_for_slots(dialler: Dialler, hosts: Sequence[Address], remap: Remap | None) -> SlotMap:
    """The master of each slot, as the first host to know all of them tells it.

    Where none does, as the one tells it that knows most.

    Raises:
        AccessRefused: the user may not ask.
        NotSent: none told of any; the text says why.
    """

    async def ask(address: Address) -> SlotMap:
        host, port = address
        reply = await dialler.ask("CLUSTER", "SLOTS", host=host, port=port)
        slots = _slots_in(reply, host, remap)
        if len(slots) < _SLOTS:
            raise _Incomplete(slots)
        return slots

    # In another order each time: many processes that ask at once do not all ask the same node.
    shuffled = _random.sample(hosts, len(hosts))
    try:
        return await first_answer(ask, shuffled, dialler.timeout_seconds * _HEAD_START)
    except Unanswered as error:
        partial = [each.slots for each in error.problems if isinstance(each, _Incomplete)]
        if any(partial):
            return max(partial, key=len)
        problem = _unanswered(error.worst)
    raise problem


def _slots_in(reply: Any, asked: str, remap: Remap | None) -> SlotMap:
    slots: SlotMap = {}
    try:
        for first, last, master, *_ in reply:
            # Without a name, or with one that it does not know, it is the one that was asked.
            name = (master[0] or b"").decode()
            address = (name if name not in ("", "?") else asked, int(master[1]))
            if remap is not None:
                address = remap(address)
            if not 0 <= first <= last < _SLOTS:
                raise ValueError("no such slot")
            slots.update(dict.fromkeys(range(first, last + 1), address))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise NotSent("the Redis server has answered something else than a slot map") from error
    return slots


def _unanswered(problem: LinkError) -> LinkError:
    if not isinstance(problem, ReplyError) or isinstance(problem, AccessRefused):
        return problem
    if problem.code == "ERR":
        return NotSent("the Redis server is no cluster: redis:// or rediss:// is for a single one")
    return NotSent(f"the Redis cluster has not told who has a key: {problem}")
