"""Asks the server which one it is, and where its log ends."""

from __future__ import annotations

from typing import Any, NamedTuple

from authkit_redis.link import Link
from authkit_redis.revocations.forms import well_formed
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.scripts import HEARTBEAT, RENEW
from authkit_redis.revocations.timing import Timing

__all__ = ["Head", "Sight"]


class Sight(NamedTuple):
    """What the server has said.

    Attributes:
        epoch: which server it is, and since when.
        is_settled: whether it has been so for long enough for others to write back what it lacks.
        end: the id that the log ends with.
        is_repaired: whether somebody is writing back.
    """

    epoch: bytes
    is_settled: bool
    end: bytes
    is_repaired: bool


class Head:
    """The head of the log of one prefix.

    Args:
        link: to the servers.
        keys: where the log is.
        check: differs where the secret does.
        timing: its times.
    """

    def __init__(self, link: Link, keys: RevocationKeys, check: bytes, timing: Timing) -> None:
        self._link = link
        self._keys = keys
        self._check = check
        self._timing = timing

    async def look(self) -> Sight:
        """What the server says now.

        Raises:
            LinkError: it did not answer, or not in time; or another secret is in use.
        """
        answer: Any = await self._link.run(
            HEARTBEAT,
            (self._keys.log, self._keys.head, self._keys.repair),
            (self._check,),
            timeout_seconds=self._timing.answer,
            is_repeatable=True,
        )
        with well_formed():
            epoch, age_ms, end, is_repaired = answer
            if not (isinstance(epoch, bytes) and isinstance(end, bytes)):
                raise TypeError
            sight = Sight(epoch, age_ms >= self._timing.settle * 1000, end, bool(is_repaired))
        return sight

    async def renew(self, epoch: bytes) -> None:
        """Ends an epoch: every process reads the log anew, and trusts none before that is done.

        Raises:
            LinkError: the server did not answer.
        """
        await self._link.run(
            RENEW,
            (self._keys.head,),
            (epoch,),
            timeout_seconds=self._timing.timeout,
            is_repeatable=True,
        )
