"""One fetch of a shared key set: taken from Redis, waited for, or made for the whole fleet."""

from __future__ import annotations

import asyncio
from typing import Final

from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument
from authkit_redis.link import LinkError
from authkit_redis.shared_keys.exchange import Claimed
from authkit_redis.shared_keys.fleet import Fleet
from authkit_redis.shared_keys.reading import Reading
from authkit_redis.shared_keys.scripts import GRANTED, HELD, SUFFICES
from authkit_redis.shared_keys.seal import Note, Record

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
        self._reading = Reading(fleet)
        self._began = fleet.moment()
        self._ends_at = asyncio.get_running_loop().time() + fleet.terms.patience_seconds
        self._known = fleet.newest.known(previous)
        self._is_due = self._asks_because_of_age()
        self._known_failure = _NEVER_MS
        self._has_joined = self._may_hold = False
        self._set_back_ms: int | None = None

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
                if self._set_back_ms is not None and claimed.what != GRANTED:
                    return None
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
        fleet = self._fleet
        self._began = fleet.moment()
        self._may_hold = True
        claimed = await fleet.exchange.claim(
            self._attempt,
            known=self._known,
            sufficing=2 if self._has_joined else int(self._is_due),
            passed_over=self._reading.passed_over,
            known_failure=self._known_failure,
        )
        self._may_hold = claimed.what == GRANTED
        if claimed.is_foreign:
            self._reading.foreign()
        self._set_back_ms = None
        if not fleet.newest.follows(claimed.now_ms, at=self._began.at):
            self._set_back_ms = claimed.now_ms
            fleet.figures.rolled_back_total += 1
            fleet.said.amiss("not shared: the server's clock is set back, or its answer is old")
        return claimed

    def _without_asking(self, claimed: Claimed, record: Record | None) -> KeySetDocument | None:
        """What can be given although this process does not fetch; None: go on.

        Raises:
            BackendUnavailable: the provider failed a moment ago.
        """
        if claimed.what == SUFFICES:
            if record is not None and self._suffices(record, claimed.now_ms):
                return self._taken(record, claimed.now_ms)
            self._reading.pass_record_over(claimed)
            return None
        if claimed.what == HELD:
            return None if self._previous is not None else self._stale(claimed, record)
        left_ms = self._reading.cooldown_left(
            claimed, self._began, known_failure=self._known_failure
        )
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
        """After another's attempt its outcome counts, good or bad, as if it were one's own.

        What was there before that attempt can have begun, is not its outcome.
        """
        self._is_due = self._has_joined = True
        begun_ms = claimed.now_ms - self._fleet.terms.longest_lease_ms
        known = self._known_ms(claimed.now_ms) if record is None else record.asked_ms
        self._known = max(known, begun_ms, 0)
        self._known_failure = max(self._reading.note_ms(claimed), begun_ms)

    # What stands in Redis -------------------------------------------------------------------------

    async def _read(self, claimed: Claimed) -> Record | None:
        if self._set_back_ms is not None:
            return None  # its age cannot be told
        return await self._reading.record(claimed, self._began)

    def _known_ms(self, now_ms: int) -> int:
        return self._known if self._known >= 0 else now_ms + self._known

    def _suffices(self, record: Record, now_ms: int) -> bool:
        """What the script has found, from what is sealed."""
        terms, age_ms = self._fleet.terms, now_ms - record.asked_ms
        if age_ms < terms.cooldown_ms:
            return True
        is_newer = record.asked_ms > self._known_ms(now_ms)
        is_enough = self._is_due and age_ms < terms.enough_ms(record.fresh_seconds)
        return is_newer and (self._has_joined or is_enough)

    # Answers --------------------------------------------------------------------------------------

    def _stale(self, claimed: Claimed, record: Record | None) -> KeySetDocument | None:
        """The record where there is nothing better, so that a new process can begin.

        Whoever asks because something is missing is not told that it still is.
        """
        if record is None or not self._is_due:
            return None
        terms, now_ms = self._fleet.terms, claimed.now_ms
        age_ms = now_ms - record.asked_ms
        is_newer = record.asked_ms > self._known_ms(now_ms)
        if not is_newer or age_ms >= terms.usable_ms(record.fresh_seconds):
            return None
        self._fleet.figures.stale_total += age_ms >= terms.fresh_ms(record.fresh_seconds)
        return self._taken(record, claimed.now_ms)

    def _taken(self, record: Record, now_ms: int) -> KeySetDocument:
        document = self._document_of(record, now_ms)
        age = self._began.wall - document.fetched_at
        fleet = self._fleet
        fleet.newest.is_now(document, asked_ms=record.asked_ms, asked_at=self._began.at - age)
        fleet.figures.shared_total += 1
        fleet.said.well()
        return document

    def _document_of(self, record: Record, now_ms: int) -> KeySetDocument:
        """The record, its age by the server taken from this process's time."""
        return record.document(self._began.wall - max(0, now_ms - record.asked_ms) / 1000)

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
        self._heed_clock()
        newest_ms = max(self._fleet.newest.asked_ms(now_ms), record.asked_ms if record else 0)
        return await self._published(document, max(now_ms, newest_ms + 1))

    async def _failed(self, now_ms: int) -> None:
        try:
            note = self._fleet.seal.note(Note(now_ms, self._began.wall_ms))
            await self._fleet.exchange.end(self._attempt, note=note, failed_ms=now_ms)
        except LinkError as error:
            self._fleet.said.amiss(f"not shared: {error}")
        else:
            self._may_hold = False

    async def _published(self, document: KeySetDocument, asked_ms: int) -> KeySetDocument:
        """Publishes a document; it is good for this process where that fails, too."""
        fleet = self._fleet
        # A source that gives what it has had for a while does not make it younger by that.
        lag = max(0.0, self._began.wall - document.fetched_at)
        record = Record(
            asked_ms=asked_ms,
            wall_ms=self._began.wall_ms,
            fresh_seconds=max(0.0, document.fresh_seconds - lag),
            etag=document.etag,
            body=document.body,
        )
        fleet.newest.is_now(document, asked_ms=asked_ms, asked_at=self._began.at)
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
        self._heed_clock()
        fleet.newest.is_now(document, asked_ms=None, asked_at=begun_at)
        return document

    def _heed_clock(self) -> None:
        """Goes by the server's clock again, after the provider itself was asked."""
        if self._set_back_ms is not None:
            self._fleet.newest.begins_anew(self._set_back_ms, at=self._began.at)
