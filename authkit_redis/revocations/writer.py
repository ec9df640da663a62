"""Writes entries to the log, and to the points that answer for one id alone."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.revocations import EarliestTime
from authkit_redis.link import AccessRefused, Link, LinkError, ReplyError
from authkit_redis.revocations.entries import Entry, unpack_value
from authkit_redis.revocations.forms import well_formed
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.write_script import WRITE

__all__ = ["Writer", "Written", "of_change"]

_log = logging.getLogger("authkit")

_KEPT_AFTER_EXPIRY_SECONDS = 180.0
"""A minute more than a revocation is answered, for what clocks and rounding take away."""


class Written(NamedTuple):
    """What became of an entry.

    Attributes:
        entry: as it stands in the log, merged with what was there.
        expires_at: of the merged one, exactly.
        lifted_stamp: when the id had been lifted before, or 0: what is known from before that
            holds no more.
    """

    entry: Entry
    expires_at: float
    lifted_stamp: int


class Writer:
    """Writes for one prefix.

    Args:
        link: to the servers.
        keys: where.
        check: differs where the secret does; the script refuses to mix secrets.
        earliest: what is surely past already.
        longest_seconds: for which anything may have to be remembered.
    """

    def __init__(
        self,
        link: Link,
        keys: RevocationKeys,
        check: bytes,
        earliest: EarliestTime,
        longest_seconds: float,
    ) -> None:
        self._link = link
        self._keys = keys
        self._check = check
        self._earliest = earliest
        self._has_warned = False
        self._longest_ms = math.ceil((longest_seconds + _KEPT_AFTER_EXPIRY_SECONDS + 60) * 1000)

    async def add(
        self, entry: Entry, issuer: str, expires_at: float, now: float, timeout_seconds: float
    ) -> Written:
        """Adds a new entry, with the stamp of the server.

        Args:
            entry: its stamp is one that the new stamp must not be before.
            issuer: whose tag the entry has.
            expires_at: of the entry, not rounded.
            now: what `expires_at` is in relation to.
            timeout_seconds: for the whole call.

        Raises:
            LinkError: it may or may not have been added; adding it again does no harm.
        """
        life_ms = self._life_ms(expires_at, now)
        replies: Any = await self._link.run(
            WRITE,
            self._key_names([entry]),
            (
                self._check,
                int(self._earliest.now()),
                issuer.encode("utf-8", "surrogatepass"),
                0,
                self._longest_ms,
                *_arguments(entry, life_ms, is_new=True),
            ),
            timeout_seconds=timeout_seconds,
            is_repeatable=True,
        )
        with well_formed():
            stamp, kept_ms, value, lifted_stamp, is_followed = replies[0]
            # One second more, as in the script: some of the life passes on the way.
            longer = (int(kept_ms) - life_ms) / 1000 + 1 if int(kept_ms) > life_ms else 0.0
            merged = Entry(
                entry.what,
                entry.expires_at + round(longer),
                int(stamp),
                unpack_value(value) if value else None,
            )
            was_lifted = int(lifted_stamp)
        if not is_followed and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "revocations in redis: no app has ever followed the revocations under the prefix "
                "%s of this Redis: is it the one that the apps have?",
                self._keys.prefix,
            )
        return Written(merged, expires_at + longer, was_lifted)

    async def restore(
        self, entries: Sequence[Entry], announced_seconds: float, timeout_seconds: float
    ) -> None:
        """Writes entries back that the server may have lost; what is there already is merged.

        Args:
            entries: with the stamps that they have.
            announced_seconds: for how long more is to be expected.
            timeout_seconds: for the whole call.

        Raises:
            LinkError: some of them may have been written.
        """
        now = self._earliest.now()
        lives = [(entry, self._life_ms(entry.expires_at, now)) for entry in entries]
        live = [(entry, life_ms) for entry, life_ms in lives if life_ms > 0]
        operations = [
            part for entry, life_ms in live for part in _arguments(entry, life_ms, is_new=False)
        ]
        announced_ms = max(1, round(announced_seconds * 1000))
        await self._link.run(
            WRITE,
            self._key_names([entry for entry, _ in live]),
            (self._check, int(now), b"", announced_ms, self._longest_ms, *operations),
            timeout_seconds=timeout_seconds,
            is_repeatable=True,
        )

    def _life_ms(self, expires_at: float, now: float) -> int:
        life_ms = round((expires_at - now + _KEPT_AFTER_EXPIRY_SECONDS) * 1000)
        return min(life_ms, self._longest_ms)

    def _key_names(self, entries: Sequence[Entry]) -> list[bytes]:
        keys = self._keys
        points = [keys.point(entry.digest) for entry in entries]
        return [keys.log, keys.head, keys.issuers, keys.repair, *points]


def of_change(error: LinkError) -> ConfigurationError | BackendUnavailable:
    """What becomes of a revocation or a lifting that Redis has not taken."""
    if isinstance(error, AccessRefused):
        return ConfigurationError(f"revocations: {error}")
    if isinstance(error, ReplyError) and error.code == "SECRET":
        return ConfigurationError("revocations: another secret is in use under this prefix")
    if isinstance(error, ReplyError) and error.code == "OOM":
        return BackendUnavailable("revocations", "Redis is full, nothing was kept")
    return BackendUnavailable("revocations", str(error))


def _arguments(entry: Entry, life_ms: int, *, is_new: bool) -> tuple[bytes | int, ...]:
    packed = entry.packed_value
    return (entry.what, entry.expires_at, max(1, life_ms), entry.stamp, packed, int(is_new))
