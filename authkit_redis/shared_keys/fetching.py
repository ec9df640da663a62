"""One fetch of a shared key set: taken from Redis, waited for, or made for the whole fleet."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument
from authkit.jose.encoding import NotStrict
from authkit_redis.link import LinkError
from authkit_redis.shared_keys.exchange import Claimed
from authkit_redis.shared_keys.fleet import Fleet
from authkit_redis.shared_keys.scripts import GRANTED, HELD, SUFFICES
from authkit_redis.shared_keys.seal import NotOurs, Record
from authkit_redis.shared_keys.terms import FUTURE_MS

__all__ = ["Fetching"]

_MOST_CLAIMS: Final = 16
"""Of one fetch; a fleet needs two or three, whoever forges what stands in Redis any number."""

_NEVER_MS: Final = 2**53


class Fetching:
    """One call of `RedisKeySource.fetch`.

    Args:
        fleet: what the calls of a source have in common.
        previous: what the caller has.
    """

    def __init__(self, fleet: Fleet, previous: KeySetDocument | None) -> None:
        self._fleet = fleet
        self._previous = previous
        self._attempt = fleet.new_attempt()
        self._begun_wall = self._begun_at = 0.0
        self._ends_at = asyncio.get_running_loop().time() + fleet.terms.patience_seconds
        self._known = fleet.newest.known(previous)
        self._is_due = self._asks_because_of_age()
        self._known_failure = _NEVER_MS
        self._passed_record = self._passed_note = b""
        self._has_joined = self._may_hold = False

    async def document(self) -> KeySetDocument:
        """The document.

        Raises:
            BackendUnavailable: there is none to be had.
        """
        try:
            document = await self._shared()
            return await self._alone() if document is None else document
        finally:
            if self._may_hold:  # cancelled, or Redis did not answer
                self._fleet.let_go(self._attempt)

    def _asks_because_of_age(self) -> bool:
        """Whether the caller's set has grown old, so that any newer one will do.

        If it has not, something is missing in it, a key id that is not known: only a set that the
        provider has been asked for within the cooldown can tell that there is no such key.
        """
        if self._previous is None:
            return True
        age_ms = (self._fleet.clock.time() - self._previous.fetched_at) * 1000
        return age_ms >= self._fleet.terms.enough_ms(self._previous.fresh_seconds)

    # Rounds ---------------------------------------------------------------------------------------

    async def _shared(self) -> KeySetDocument | None:
        """What is had by way of Redis; None where that gives nothing within bounds."""
        fleet, loop = self._fleet, asyncio.get_running_loop()
        try:
            for _ in range(_MOST_CLAIMS):
                claimed = await self._claim()
                record = await self._read(claimed)
                if claimed.what == GRANTED:
                    return await self._fetched(claimed, record)
                document = self._without_asking(claimed, record)
                if document is not None:
                    return document
                if claimed.what == HELD and claimed.owner is not None:
                    await fleet.wait_for(claimed.owner, self._ends_at)
                    self._joined(claimed, record)
                if loop.time() >= self._ends_at:
                    break
        except LinkError as error:
            fleet.said.amiss(f"not shared: {error}")
            return None
        fleet.said.amiss("not shared: others hold the right to fetch, and give nothing")
        return None

    async def _claim(self) -> Claimed:
        clock = self._fleet.clock
        self._begun_wall, self._begun_at = clock.time(), clock.monotonic()
        self._may_hold = True
        claimed = await self._fleet.exchange.claim(
            self._attempt,
            known=self._known,
            sufficing=2 if self._has_joined else int(self._is_due),
            passed_over=(self._passed_record, self._passed_note),
            known_failure=self._known_failure,
        )
        self._may_hold = claimed.what == GRANTED
        if claimed.is_foreign:
            self._refused("something else than a key set was in its place")
        return claimed

    def _without_asking(self, claimed: Claimed, record: Record | None) -> KeySetDocument | None:
        """What can be given although this process does not fetch; None: go on.

        Raises:
            BackendUnavailable: the provider failed a moment ago.
        """
        if claimed.what == SUFFICES:
            if record is not None and self._suffices(record, claimed.now_ms):
                return self._taken(record, claimed.now_ms)
            self._passed_record = _sha1(claimed.record or b"")
            return None
        if claimed.what == HELD:
            return None if self._previous is not None else self._stale(claimed, record)
        left_ms = self._cooldown_left(claimed)
        if left_ms is None:
            return None
        document = self._stale(claimed, record)
        if document is None:
            raise BackendUnavailable(
                "keys",
                "the provider failed a moment ago, and is not asked again yet",
                retry_after_seconds=max(1.0, left_ms / 1000),
            )
        return document

    def _joined(self, claimed: Claimed, record: Record | None) -> None:
        """After another's attempt its outcome counts, good or bad, as if it were one's own."""
        self._is_due = self._has_joined = True
        if record is not None:
            self._known = record.asked_ms
        try:
            self._known_failure = self._fleet.seal.open_note(claimed.note or b"")
        except NotOurs:
            self._known_failure = 0

    # What stands in Redis -------------------------------------------------------------------------

    async def _read(self, claimed: Claimed) -> Record | None:
        """The record, if there is one that may be used: a bad one counts as none."""
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
            self._passed_record = _sha1(data)
            self._refused("a record was refused that this fleet has not published")
            return None
        if record.asked_ms < fleet.newest.asked_ms(claimed.now_ms):
            self._passed_record = _sha1(data)
            fleet.figures.rolled_back_total += 1
            fleet.said.amiss("a record was refused that is older than one known here")
            return None
        return record

    def _refused(self, why: str) -> None:
        self._fleet.figures.refused_total += 1
        self._fleet.said.amiss(why)

    def _suffices(self, record: Record, now_ms: int) -> bool:
        """What the script has found, from what is sealed."""
        terms, age_ms = self._fleet.terms, now_ms - record.asked_ms
        if age_ms < terms.cooldown_ms:
            return True
        known = self._known if self._known >= 0 else now_ms + self._known
        is_newer = record.asked_ms > known
        is_enough = self._is_due and age_ms < terms.enough_ms(record.fresh_seconds)
        return is_newer and (self._has_joined or is_enough)

    def _cooldown_left(self, claimed: Claimed) -> int | None:
        """How many ms the last failure still holds back; None if nobody of the fleet says so."""
        note = claimed.note or b""
        try:
            failed_ms = self._fleet.seal.open_note(note)
        except NotOurs:
            failed_ms = -1
        left = failed_ms + self._fleet.terms.cooldown_ms - claimed.now_ms
        is_past = 0 <= failed_ms <= claimed.now_ms + FUTURE_MS
        if is_past and (left > 0 or failed_ms > self._known_failure):
            return max(0, left)
        self._passed_note = _sha1(note)
        self._refused("a note of a failure was refused that this fleet has not written")
        return None

    # Answers --------------------------------------------------------------------------------------

    def _stale(self, claimed: Claimed, record: Record | None) -> KeySetDocument | None:
        """The record where there is nothing better, so that a new process can begin.

        Whoever asks because something is missing is not told that it still is.
        """
        if record is None or not self._is_due:
            return None
        known = self._known if self._known >= 0 else claimed.now_ms + self._known
        age_ms = claimed.now_ms - record.asked_ms
        if record.asked_ms <= known or age_ms >= self._fleet.terms.usable_ms(record.fresh_seconds):
            return None
        self._fleet.figures.stale_total += age_ms >= record.fresh_seconds * 1000
        return self._taken(record, claimed.now_ms)

    def _taken(self, record: Record, now_ms: int) -> KeySetDocument:
        document = self._document_of(record, now_ms)
        age = self._begun_wall - document.fetched_at
        fleet = self._fleet
        fleet.newest.is_now(document, asked_ms=record.asked_ms, asked_at=self._begun_at - age)
        fleet.figures.shared_total += 1
        fleet.said.well()
        return document

    def _document_of(self, record: Record, now_ms: int) -> KeySetDocument:
        """The record, its age by the server taken from this process's time."""
        return record.document(self._begun_wall - max(0, now_ms - record.asked_ms) / 1000)

    async def _fetched(self, claimed: Claimed, record: Record | None) -> KeySetDocument:
        """Asks the provider for the whole fleet."""
        previous, now_ms = self._previous, claimed.now_ms
        if record is not None:
            shared = self._document_of(record, now_ms)
            if previous is None or shared.fetched_at > previous.fetched_at:
                previous = shared
        try:
            document = await self._fleet.requests.ask(previous)
        except BackendUnavailable:
            await self._failed(now_ms)
            stale = self._stale(claimed, record)
            if stale is None:
                raise
            return stale
        newest_ms = max(self._fleet.newest.asked_ms(now_ms), record.asked_ms if record else 0)
        return await self._published(document, max(now_ms, newest_ms + 1))

    async def _failed(self, now_ms: int) -> None:
        try:
            note = self._fleet.seal.note(now_ms)
            await self._fleet.exchange.end(self._attempt, note=note, failed_ms=now_ms)
        except LinkError as error:
            self._fleet.said.amiss(f"not shared: {error}")
        else:
            self._may_hold = False

    async def _published(self, document: KeySetDocument, asked_ms: int) -> KeySetDocument:
        """Publishes a document; it is good for this process where that fails, too."""
        fleet = self._fleet
        # A source that gives what it has had for a while does not make it younger by that.
        lag = max(0.0, self._begun_wall - document.fetched_at)
        record = Record(
            asked_ms=asked_ms,
            fresh_seconds=max(0.0, document.fresh_seconds - lag),
            etag=document.etag,
            body=document.body,
        )
        fleet.newest.is_now(document, asked_ms=asked_ms, asked_at=self._begun_at)
        try:
            is_shared = await fleet.exchange.publish(
                self._attempt,
                fleet.seal.record(record),
                asked_ms=asked_ms,
                fresh_seconds=record.fresh_seconds,
            )
            self._may_hold = False
            why = "another process has fetched meanwhile"
        except (LinkError, ValueError) as error:
            is_shared, why = False, str(error)
        if is_shared:
            fleet.said.well()
        else:
            fleet.figures.unshared_total += 1
            fleet.said.amiss(f"a key set could not be shared: {why}")
        return document

    async def _alone(self) -> KeySetDocument:
        """Asks the provider for this process alone."""
        fleet = self._fleet
        fleet.figures.direct_total += 1
        begun_at = fleet.clock.monotonic()
        document = await fleet.requests.ask(self._previous)
        fleet.newest.is_now(document, asked_ms=None, asked_at=begun_at)
        return document


def _sha1(data: bytes) -> bytes:
    # So that a script can tell what is meant; nothing is secured by it.
    return hashlib.sha1(data, usedforsecurity=False).hexdigest().encode()
