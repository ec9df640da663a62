"""A KeyProvider over any KeySource: kept fresh in the background, and bounded in an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from authkit.clock import Clock, SystemClock
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import KeySource, StateChange, VerificationKey
from authkit.key_set.arguments import check_number
from authkit.key_set.refresher import SHORTEST_PAUSE_SECONDS, Refresher
from authkit.key_set.report import Reporter
from authkit.key_set.schedule import Schedule

if TYPE_CHECKING:
    from authkit.interfaces import KeyProvider, Observable, Refreshable

__all__ = ["KeySetProvider"]


class KeySetProvider:
    """Finds keys in a set that is fetched from a KeySource and kept up to date.

    A set is *fresh* for as long as its document says, within `min_fresh_seconds` and
    `max_fresh_seconds`.  Before that time ends it is fetched again in the background.  Where
    that fails it stays in use as *last known good* for `last_known_good_seconds` more, and
    is then *unavailable*.  A fetch that fails, or that brings no JWK Set, never evicts keys;
    a set without a key is what the issuer publishes, and withdraws them all.

    While fetching fails, requests are answered at once, from the last known good set or as
    unavailable, and the next attempt is made beside them.

    A key id that is not in the set costs at most one fetch that the request waits for, and
    within `cooldown_seconds` of any fetch none, whichever and however many ids are asked for.

    Entered (the Verifier does that), it fetches at once and then ahead of time, so that no
    request waits for a fetch.  Not entered, it fetches when it is asked.  It belongs to one
    event loop at a time, and is not for use from several threads.

    Args:
        source: where the set comes from; entered and left with the provider if it can be.
        name: stands in reports and log lines, e.g. the issuer.
        clock: tells the time; None is the machine's.
        timeout_seconds: how long a request waits for a fetch at most.
        cooldown_seconds: the least time from the start of one fetch to that of the next,
            whether it succeeded or not.  It goes before freshness.
        last_known_good_seconds: how long a set that is no longer fresh stays in use while
            fetching fails.
        refresh_ahead: the share of its freshness by which a set is fetched ahead; half of
            that is left to chance, so that a fleet does not ask at once.
        min_fresh_seconds: a document that says less is taken to say this.
        max_fresh_seconds: a document that says more is taken to say this.
        max_keys: a set of more keys is refused as a whole.
        longest_fetch_seconds: how long the source may take beside the requests, which do not wait
            for it.  A fetch is given up after that, or when the next one would be allowed if that
            is later.

    Raises:
        ConfigurationError: a number that cannot be meant, or no KeySource.
    """

    def __init__(
        self,
        source: KeySource,
        *,
        name: str = "keys",
        clock: Clock | None = None,
        timeout_seconds: float = 5.0,
        cooldown_seconds: float = 30.0,
        last_known_good_seconds: float = 3600.0,
        refresh_ahead: float = 0.2,
        min_fresh_seconds: float = 60.0,
        max_fresh_seconds: float = 86400.0,
        max_keys: int = 1000,
        longest_fetch_seconds: float = 0.0,
    ) -> None:
        check_number("timeout_seconds", timeout_seconds, above=0)
        check_number("cooldown_seconds", cooldown_seconds)
        check_number("last_known_good_seconds", last_known_good_seconds)
        check_number("refresh_ahead", refresh_ahead, at_most=0.9)
        check_number("min_fresh_seconds", min_fresh_seconds, above=0)
        check_number("max_fresh_seconds", max_fresh_seconds, at_least=min_fresh_seconds)
        check_number("max_keys", max_keys, at_least=1)
        check_number("longest_fetch_seconds", longest_fetch_seconds)
        if not callable(getattr(source, "fetch", None)):
            raise ConfigurationError("source must be a KeySource: an object with a method fetch")
        self._source = source
        self._clock = SystemClock() if clock is None else clock
        self._timeout_seconds = timeout_seconds
        self._schedule = Schedule(
            timeout_seconds=timeout_seconds,
            cooldown_seconds=cooldown_seconds,
            last_known_good_seconds=last_known_good_seconds,
            refresh_ahead=refresh_ahead,
        )
        self._reporter = Reporter(name, self._clock)
        self._refresher = Refresher(
            source,
            self._schedule,
            self._reporter,
            self._clock,
            # A source that never ends is given up when the next fetch would be allowed.
            limit_seconds=max(timeout_seconds, cooldown_seconds, longest_fetch_seconds),
            min_fresh_seconds=min_fresh_seconds,
            max_fresh_seconds=max_fresh_seconds,
            max_keys=max_keys,
        )
        self._unknown_key_ids = 0
        self._entered = 0
        self._is_open = False
        self._opening = asyncio.Lock()

    async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        """The keys that fit; without suspending while the set is fresh and has them.

        A key id that is known with another algorithm counts as one that is not known.

        Raises:
            BackendUnavailable: no set is known; or, with code `key_unknown_unconfirmed`, the
                set has no such key, and the last fetch failed.
        """
        now = self._clock.monotonic()
        self._refresher.heed_wall_clock(now)
        if now >= self._schedule.due_at:
            await self._renew(now)
        return self._refresher.keys.find(kid, alg) or await self._find_after_refresh(kid, alg)

    async def refresh(self) -> None:
        """Fetches now, or joins the fetch that is on; within the cooldown does nothing.

        Raises:
            BackendUnavailable: the fetch failed, or within the cooldown the last one did.
        """
        if not await self._is_confirmed():
            raise self._unavailable("the key set could not be refreshed")

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` on each change of state, and on each change of the keys.

        The states are `unknown`, `fresh`, `last_known_good` and `unavailable`.  A change with
        the code `keys_rotated` is one of the keys: `old` and `new` are digests of the two
        published documents, and the state is as it was.
        """
        self._reporter.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """Figures; `age_seconds` is infinite until a set is known."""
        now = self._clock.monotonic()
        return {
            "age_seconds": now - self._schedule.fetched_at,
            "fetch_failures_total": self._refresher.failures,
            "fetches_total": self._refresher.fetches,
            "keys": len(self._refresher.keys),
            "listener_errors_total": self._reporter.listener_errors,
            "rotations_total": self._reporter.rotations,
            "trusted_seconds": max(0.0, self._schedule.trusted_until - now),
            "unknown_key_ids_total": self._unknown_key_ids,
            "unusable_keys": self._refresher.keys.unusable,
        }

    async def __aenter__(self) -> Self:
        if not self._entered and not self._opening.locked():
            # A lock belongs to the event loop in which it was first waited for.
            self._opening = asyncio.Lock()
        async with self._opening:
            if not self._is_open:
                if isinstance(self._source, AbstractAsyncContextManager):
                    await self._source.__aenter__()
                self._is_open = True
                self._refresher.start_ahead()
            self._entered += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered -= 1
        async with self._opening:
            if self._entered or not self._is_open:
                return
            self._is_open = False
            try:
                await self._refresher.stop(self._timeout_seconds)
            finally:
                if isinstance(self._source, AbstractAsyncContextManager):
                    await self._source.__aexit__(kind, error, traceback)

    async def _renew(self, now: float) -> None:
        """Refreshes a set that is due; waits for it only where that is worth it."""
        flight = self._refresher.flight(now)
        if flight is not None and not self._schedule.may_answer_at_once(now):
            await flight.wait(self._timeout_seconds)
            now = self._clock.monotonic()
        self._refresher.report(now)
        if now >= self._schedule.trusted_until:
            raise self._unavailable("no current key set is known")

    async def _find_after_refresh(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        self._unknown_key_ids += 1
        is_confirmed = await self._is_confirmed()
        found = self._refresher.keys.find(kid, alg)
        if not found and not is_confirmed:
            raise self._unavailable(
                "no such key is known, and whether there is one could not be asked",
                code="key_unknown_unconfirmed",
            )
        return found

    async def _is_confirmed(self) -> bool:
        """Whether the set is current: by a fetch if one is allowed, else by the last one.

        No table of unknown key ids is needed: within the cooldown none of them costs a fetch.
        """
        flight = self._refresher.flight(self._clock.monotonic())
        if flight is None:
            return self._schedule.is_confirmed
        return await flight.wait(self._timeout_seconds)

    def _unavailable(self, message: str, *, code: str | None = None) -> BackendUnavailable:
        left = self._schedule.cooldown_left(self._clock.monotonic())
        error = BackendUnavailable(
            "keys", message, code=code, retry_after_seconds=left or SHORTEST_PAUSE_SECONDS
        )
        error.__cause__ = self._refresher.last_error
        return error


if TYPE_CHECKING:

    def _conforms(provider: KeySetProvider) -> tuple[KeyProvider, Refreshable, Observable]:
        return provider, provider, provider
