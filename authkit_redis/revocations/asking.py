"""Asks Redis itself about one token, where the replica cannot answer."""

from __future__ import annotations

import re
from typing import Any

from authkit.clock import Clock
from authkit.errors import ConfigurationError
from authkit.interfaces import Revocation, TokenFacts
from authkit.revocations import covers
from authkit_redis.link import Link, LinkError, ReplyError
from authkit_redis.revocations.digests import Digests, named
from authkit_redis.revocations.entries import revocation_of, unpack_value
from authkit_redis.revocations.forms import well_formed
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.scripts import ASK
from authkit_redis.revocations.timing import Timing

__all__ = ["Asking", "NotProven"]

_POINT = re.compile(rb"(-)\d+|\d+(?::(.{8}))?", re.DOTALL)


class NotProven(LinkError):
    """The server answered, but may lack revocations that were made."""


class Asking:
    """Asks about one token at a time.

    Args:
        link: to the servers.
        keys: where the revocations are.
        digests: hash the ids.
        timing: its times.
        clock: the monotonic one says when to ask again after a failure.

    Attributes:
        asked_total: how often it asked.
    """

    def __init__(
        self, link: Link, keys: RevocationKeys, digests: Digests, timing: Timing, clock: Clock
    ) -> None:
        self._link = link
        self._keys = keys
        self._digests = digests
        self._timing = timing
        self._monotonic = clock.monotonic
        self._again_at = float("-inf")
        self.asked_total: int = 0

    async def find(self, token: TokenFacts) -> Revocation | None:
        """A revocation that covers the token, or None where the server proves that there is none.

        Raises:
            LinkError: the server did not answer, or proves nothing.  Shortly after a server did
                not answer it is not asked at all, so that requests do not queue up for it.
        """
        if self._monotonic() < self._again_at:
            raise NotProven("Redis did not answer a moment ago")
        self.asked_total += 1
        keys = [self._keys.point(digest) for digest in self._digests.of(token)]
        try:
            answer: Any = await self._link.run(
                ASK,
                (self._keys.log, self._keys.head, self._keys.repair, *keys),
                (self._digests.check,),
                timeout_seconds=self._timing.answer,
                is_repeatable=True,
            )
        except ReplyError:
            raise
        except LinkError:
            self._again_at = self._monotonic() + self._timing.heartbeat
            raise
        with well_formed():
            _, age_ms, is_repaired, is_evicting, *values = answer
            points = list(zip(named(token), values, strict=True))
            is_settled = age_ms >= self._timing.settle * 1000
        unreadable: LinkError | None = None
        for (scope, name), value in points:
            try:
                revocation = None if value is None else _revocation(scope, token, name, value)
            except ReplyError as error:
                unreadable = error  # another point may tell all the same that it is revoked
            else:
                if revocation is not None and covers(revocation, token):
                    return revocation
        if unreadable is not None:
            raise unreadable
        if not is_settled or is_repaired:
            raise NotProven("Redis may lack revocations that are being written back")
        if is_evicting:
            raise NotProven("Redis may have evicted revocations: its policy is not noeviction")
        return None


def _revocation(scope: Any, token: TokenFacts, name: str, value: bytes) -> Revocation | None:
    point = _POINT.fullmatch(value) if isinstance(value, bytes) else None
    if point is None:
        raise ReplyError("FOREIGN")
    if point[1]:
        return None  # lifted
    packed = unpack_value(point[2]) if point[2] else None
    try:
        # How long it is remembered is not asked: at least as long as this token lives.
        return revocation_of(scope, token.issuer, name, token.expires_at, packed)
    except ConfigurationError as error:
        raise ReplyError("FOREIGN") from error  # a value that the scope has not, or none
