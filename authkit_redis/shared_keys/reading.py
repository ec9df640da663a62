"""Reads what stands in Redis, and passes over what this fleet has not written, or not lately."""

from __future__ import annotations

import hashlib

from authkit.jose.encoding import NotStrict
from authkit_redis.shared_keys.exchange import Claimed
from authkit_redis.shared_keys.fleet import Fleet
from authkit_redis.shared_keys.newest import Moment
from authkit_redis.shared_keys.seal import NotOurs, Record
from authkit_redis.shared_keys.terms import FUTURE_MS, SKEW_MS

__all__ = ["Reading"]


class Reading:
    """What one fetch reads.

    Args:
        fleet: what the calls of a source have in common.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._passed_record = self._passed_note = b""

    @property
    def passed_over(self) -> tuple[bytes, bytes]:
        """SHA-1 of a record and of a note that count for nothing, in hexadecimal."""
        return self._passed_record, self._passed_note

    async def record(self, claimed: Claimed, began: Moment) -> Record | None:
        """The record, if there is one that may be used: a bad one counts as none.

        Args:
            claimed: what the server said.
            began: when it was asked.
        """
        data = claimed.record
        if data is None or _sha1(data) == self._passed_record:
            return None
        fleet = self._fleet
        try:
            record = fleet.seal.open_record(data)
            if record.asked_ms > claimed.now_ms + FUTURE_MS:
                raise NotOurs
            await fleet.requests.require_key_set(record.body)
        except (NotOurs, NotStrict):
            self.pass_record_over(claimed)
            self._refused("a record was refused that this fleet has not published")
            return None
        if _is_older_than_said(record.wall_ms, claimed.now_ms - record.asked_ms, began):
            self.pass_record_over(claimed)
            self._refused(
                "a record was refused that is older than redis says, unless clocks of the fleet "
                "are more than an hour apart"
            )
            return None
        if record.asked_ms < fleet.newest.asked_ms(claimed.now_ms):
            self.pass_record_over(claimed)
            fleet.figures.rolled_back_total += 1
            fleet.said.amiss("a record was refused that is older than one known here")
            return None
        return record

    def pass_record_over(self, claimed: Claimed) -> None:
        """The record does not hold this fetch back any more."""
        self._passed_record = _sha1(claimed.record or b"")

    def note_ms(self, claimed: Claimed) -> int:
        """When the attempt began that failed last, as far as is known; 0 if none did."""
        try:
            return self._fleet.seal.open_note(claimed.note or b"").failed_ms
        except NotOurs:
            return 0

    def cooldown_left(self, claimed: Claimed, began: Moment, *, known_failure: int) -> int | None:
        """How many ms the last failure still holds back; None if nobody of the fleet says so.

        Args:
            claimed: what the server said.
            began: when it was asked.
            known_failure: a failure after this holds back, however long ago.
        """
        now_ms, note = claimed.now_ms, claimed.note or b""
        try:
            failed_ms, wall_ms = self._fleet.seal.open_note(note)
            left = failed_ms + self._fleet.terms.cooldown_ms - now_ms
            is_due = failed_ms <= now_ms + FUTURE_MS and (left > 0 or failed_ms > known_failure)
            if not is_due or _is_older_than_said(wall_ms, now_ms - failed_ms, began):
                raise NotOurs
        except NotOurs:
            self._passed_note = _sha1(note)
            self._refused("a note of a failure was refused that this fleet has not written")
            return None
        return max(0, left)

    def foreign(self) -> None:
        """Something was there that nobody of authkit has put there."""
        self._refused("something else than a key set was in its place")

    def _refused(self, why: str) -> None:
        self._fleet.figures.refused_total += 1
        self._fleet.said.amiss(why)


def _is_older_than_said(wall_ms: int, age_ms: int, began: Moment) -> bool:
    """Whether something is older by the clocks of the fleet than by that of the server.

    So a server that lies about the time, or whoever gives its old answers again, does not make a
    set young.  The other way about it is only taken for older than it is.
    """
    return began.wall_ms - wall_ms > age_ms + SKEW_MS


def _sha1(data: bytes) -> bytes:
    # So that a script can tell what is meant; nothing is secured by it.
    return hashlib.sha1(data, usedforsecurity=False).hexdigest().encode()
