"""The calls to Redis by which a fleet agrees who fetches, and hands on the result."""

from __future__ import annotations

import logging
import secrets
from typing import Any, Final, NamedTuple

from authkit_redis.link import Link, LinkError, ReplyError, Script
from authkit_redis.server_policy import admission
from authkit_redis.shared_keys.scripts import CLAIM, END, LOOK, PUBLISH, TRY
from authkit_redis.shared_keys.seal import MAX_RECORD_BYTES, MAX_TIME_MS
from authkit_redis.shared_keys.terms import Terms

__all__ = ["Claimed", "Exchange"]

_log: Final = logging.getLogger("authkit")


class Claimed(NamedTuple):
    """What became of a claim.

    Attributes:
        what: one of the answers of CLAIM.
        now_ms: by the server.
        record: as it stands there, or None.
        note: of the last attempt, if it failed.
        owner: the name of the attempt that was begun last, or None.
        is_foreign: whether something was there that nobody of authkit has put there.
    """

    what: int
    now_ms: int
    record: bytes | None
    note: bytes | None
    owner: bytes | None
    is_foreign: bool


class Exchange:
    """The one hash of a key set.

    Args:
        link: to the servers.
        key: of the hash.
        terms: its times.
    """

    def __init__(self, link: Link, key: bytes, terms: Terms) -> None:
        self._link = link
        self._key = key
        self._terms = terms

    async def claim(
        self,
        attempt: bytes,
        *,
        known: int,
        sufficing: int,
        passed_over: tuple[bytes, bytes],
        known_failure: int,
    ) -> Claimed:
        """Asks for the record, and for the right to fetch where it does not suffice.

        Args:
            attempt: a name that nobody else has.
            known: when the provider was asked for what the caller has, in ms; or minus its age.
            sufficing: whether any newer record suffices (2), or one that is not too old (1); 0
                where only one that is younger than the cooldown does.
            passed_over: SHA-1 of a record and of a note that hold nobody back, in hexadecimal.
            known_failure: a failure after this holds back, however long ago.

        Raises:
            LinkError: nothing was learnt; perhaps the right was given.
        """
        terms = self._terms
        reply: Any = await self._run(
            CLAIM,
            attempt,
            terms.lease_ms,
            known,
            sufficing,
            terms.cooldown_ms,
            *passed_over,
            known_failure,
            terms.longest_lease_ms,
            terms.attempt_life_ms,
            MAX_RECORD_BYTES,
        )
        try:
            what, now, record, note, owner, foreign = reply
            if not all(part is None or isinstance(part, bytes) for part in (record, note, owner)):
                raise ValueError
            claimed = Claimed(int(what), int(now), record, note, owner, bool(foreign))
            if not 0 <= claimed.now_ms < MAX_TIME_MS:
                raise ValueError
            return claimed
        except (TypeError, ValueError, OverflowError):
            raise ReplyError("UNREADABLE") from None

    async def look(self, attempt: bytes) -> int:
        """1 while the attempt is on, 0 when it has ended, -1 when its time has run out.

        Raises:
            LinkError: nothing was learnt.
        """
        reply: Any = await self._run(LOOK, attempt)
        if reply not in (-1, 0, 1):
            raise ReplyError("UNREADABLE")
        return int(reply)

    async def publish(
        self, attempt: bytes, record: bytes, *, asked_ms: int, fresh_seconds: float
    ) -> bool:
        """Publishes a record, and ends the attempt; False where another has begun since.

        Raises:
            LinkError: it may have been published or not.
        """
        until = asked_ms + self._terms.enough_ms(fresh_seconds)
        life = max(self._terms.usable_ms(fresh_seconds), self._terms.attempt_life_ms)
        reply: Any = await self._run(PUBLISH, attempt, record, asked_ms, until, life)
        return bool(reply == 1)

    async def end(self, attempt: bytes, *, note: bytes = b"", failed_ms: int = 0) -> None:
        """Ends an attempt without a result, with the note that it failed if there is one.

        Raises:
            LinkError: it may not have been noted; the attempt ends by itself.
        """
        await self._run(END, attempt, note, failed_ms, self._terms.attempt_life_ms)

    async def begin(self) -> None:
        """Tries every command that is needed; a server that does not answer is let off.

        Raises:
            ConfigurationError: Redis does not let this user in, or not do what is needed.
        """
        own = self._key + b":" + secrets.token_hex(8).encode()
        try:
            await admission(
                self._link, "keys", TRY, (own,), (), timeout_seconds=self._terms.timeout_seconds
            )
        except LinkError as error:
            _log.warning("keys in redis: begins without sharing: %s", error)

    async def _run(self, script: Script, *args: bytes | int) -> Any:
        return await self._link.run(
            script,
            (self._key,),
            args,
            timeout_seconds=self._terms.timeout_seconds,
            is_repeatable=True,
        )
