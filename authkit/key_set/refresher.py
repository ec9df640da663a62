"""Fetches a key set when it is due, takes a good one over, and tells what changed."""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from typing import Final

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument, KeySource
from authkit.jose.encoding import NotStrict, parse_json_object
from authkit.key_set.causes import failure
from authkit.key_set.flight import Flight
from authkit.key_set.index import KeySet
from authkit.key_set.parsing import parse_in_background
from authkit.key_set.report import Reporter
from authkit.key_set.schedule import Schedule

__all__ = ["SHORTEST_PAUSE_SECONDS", "Refresher"]

SHORTEST_PAUSE_SECONDS: Final = 1.0
"""Between two looks of the background, whatever the other times are set to."""

_CLOCK_STEP_SECONDS: Final = 1.0
"""By how much the wall clock may run apart from the monotonic one before it counts as set."""

_KEYS_IN_A_ROW: Final = 16
"""How many keys are tried at once, some 0.1 ms each at worst."""


class Refresher:
    """The known key set of one source, and the one fetch that may be on for it.

    Attributes:
        keys: the set; whether it may be used, the schedule says.
        schedule: its times.
        reporter: tells of its changes.
        last_error: why the last fetch failed; None if it did not.
        fetches: how many were begun.
        failures: how many of them failed.
    """

    def __init__(
        self,
        source: KeySource,
        schedule: Schedule,
        reporter: Reporter,
        clock: Clock,
        *,
        limit_seconds: float,
        min_fresh_seconds: float,
        max_fresh_seconds: float,
        max_keys: int,
    ) -> None:
        """A fetch that takes longer than `limit_seconds` is given up."""
        self.keys: KeySet = KeySet(trusted_until=-math.inf)
        self.schedule = schedule
        self.reporter = reporter
        self.last_error: BackendUnavailable | None = None
        self.fetches: int = 0
        self.failures: int = 0
        self._source = source
        self._clock = clock
        self._limit_seconds = limit_seconds
        self._min_fresh_seconds = min_fresh_seconds
        self._max_fresh_seconds = max_fresh_seconds
        self._max_keys = max_keys
        self._document: KeySetDocument | None = None
        self._wall_offset = clock.time() - clock.monotonic()
        self._flight: Flight | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_ahead = False

    def flight(self, now: float) -> Flight | None:
        """The fetch that is on, or a new one if the cooldown allows it."""
        if self._flight is not None and not self._flight.is_over:
            return self._flight
        if self.schedule.cooldown_left(now) > 0:
            return None
        self.schedule.started(now)
        self.fetches += 1
        self._flight = Flight(self._fetch(), self._plan_ahead)
        return self._flight

    def report(self, now: float) -> None:
        """Tells of the state, if it is another one by now."""
        state = self.schedule.state(now)
        error = self.last_error
        if state == "fresh" or error is None:
            age = now - self.schedule.fetched_at
            reason = f"{len(self.keys)} keys, {age:.0f} s old"
            self.reporter.state_is(state, code=None, reason=reason)
        else:
            self.reporter.state_is(state, code=error.code, reason=str(error))

    def heed_wall_clock(self, now: float) -> None:
        """Puts the leases right where the wall clock was set or the machine slept; asks again."""
        wall = self._clock.time()
        if abs(wall - now - self._wall_offset) > _CLOCK_STEP_SECONDS:
            self._move_leases(now, wall)
            self.schedule.hasten(now)

    def start_ahead(self) -> None:
        """From now on fetches at once when it is due, without being asked."""
        self._is_ahead = True
        self._look()

    async def stop(self, timeout_seconds: float) -> None:
        """Ends what goes on in the background."""
        self._is_ahead = False
        if self._timer is not None:
            self._timer.cancel()
        if self._flight is not None and not self._flight.is_over:
            await self._flight.stop(timeout_seconds)

    # Fetching -------------------------------------------------------------------------------------

    async def _fetch(self) -> bool:
        try:
            async with asyncio.timeout(self._limit_seconds):
                document = await self._source.fetch(self._document)
            await self._accept(document)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._reject(error)  # Not this fetch: something inside the source was cancelled.
        except Exception as error:
            self._reject(error)
        self.report(self._clock.monotonic())
        return self.schedule.is_confirmed

    async def _accept(self, document: KeySetDocument) -> None:
        """Puts a document in the place of the known one, or raises before anything has changed."""
        if not math.isfinite(document.fetched_at + document.fresh_seconds):
            raise NotStrict("the times of the document are not finite")
        known, replaced = self._document, self.keys
        if known is None or document.body != known.body:
            keys = await parse_in_background(document.body, max_keys=self._max_keys)
            self.keys = replaced.replaced_by(keys)
        now, wall = self._clock.monotonic(), self._clock.time()
        age = max(0.0, wall - document.fetched_at)
        fresh = min(max(document.fresh_seconds, self._min_fresh_seconds), self._max_fresh_seconds)
        self._document, self.last_error = document, None
        stated = document.fresh_seconds
        self.schedule.succeeded(now, age_seconds=age, fresh_seconds=fresh, stated_seconds=stated)
        self._move_leases(now, wall)
        if known is not None and self.keys is not replaced:
            withdrawn = len(replaced) - self.keys.kept
            self.reporter.replaced(known.body, document.body, keys=self.keys, withdrawn=withdrawn)
        if self.keys is not replaced:
            await self._examine(document.body)

    async def _examine(self, body: bytes) -> None:
        """Tells if no key of the set can be used; others are served meanwhile if it has many."""
        keys = self.keys
        for number, is_usable in enumerate(keys.each_usable()):
            if is_usable:
                self.reporter.is_of_use()
                return
            if number % _KEYS_IN_A_ROW == 0:
                await asyncio.sleep(0)
        self.reporter.is_of_no_use(keys, entries=len(parse_json_object(body)["keys"]))

    def _reject(self, error: BaseException) -> None:
        self.failures += 1
        self.last_error = _as_unavailable(error)
        self.schedule.failed(self._clock.monotonic())

    # Time -----------------------------------------------------------------------------------------

    def _move_leases(self, now: float, wall: float) -> None:
        """Ages are measured on the monotonic clock; leases tell their end on the wall clock."""
        self._wall_offset = wall - now
        self.keys.trust(wall + (self.schedule.trusted_until - now))

    def _look(self) -> None:
        """Fetches if that is due, else plans the next look."""
        now = self._clock.monotonic()
        self.heed_wall_clock(now)
        if now < self.schedule.next_attempt_at() or self.flight(now) is None:
            self._plan_ahead()

    def _plan_ahead(self) -> None:
        """Sets the timer for the next look; called whenever a fetch is over."""
        if self._timer is not None:
            self._timer.cancel()
        if self._is_ahead:
            pause = self.schedule.next_attempt_at() - self._clock.monotonic()
            self._timer = asyncio.get_running_loop().call_later(
                max(pause, SHORTEST_PAUSE_SECONDS), self._look, context=Context()
            )


def _as_unavailable(error: BaseException) -> BackendUnavailable:
    if isinstance(error, BackendUnavailable):
        return error
    if isinstance(error, NotStrict):
        reason = "what the source gave is not a JWK Set"
    elif isinstance(error, TimeoutError):
        reason = "the source did not answer in time"
    else:
        reason = f"the source failed with {failure(error)}"
    unavailable = BackendUnavailable("keys", reason)
    unavailable.__cause__ = error
    return unavailable
