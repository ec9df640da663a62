"""A RevocationStore in the memory of one process."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from authkit.clock import Clock, SystemClock
from authkit.errors import ConfigurationError
from authkit.interfaces import Revocation, RevocationReceipt, StateChange, TokenFacts
from authkit.reported_state import ReportedState
from authkit.revocations import (
    EarliestTime,
    Feed,
    Subscription,
    filled_in,
    longest_seconds,
    require_within_horizon,
)
from authkit_memory.revocation_table import RevocationTable
from authkit_memory.workers import warn_of_several_workers

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from authkit.interfaces import (
        Observable,
        RevocationFeed,
        RevocationLifting,
        RevocationStore,
    )

__all__ = ["MemoryRevocationStore"]


class MemoryRevocationStore:
    """Remembers revocations for one process, until the process ends.

    It can lift, it feeds subscribers, and it is an Observable: its state is `available`, or
    `full` while it refuses new revocations because all that it holds are live.  It may be
    used without being entered; entering it only warns where several worker processes would
    each know only the revocations made in them.

    A revocation is over when the wall clock says so, except that a jump ahead of the wall
    clock is not believed: one that is corrected later has cost no revocation.

    Args:
        max_token_lifetime_seconds: the longest-lived token that it vouches for.  It takes
            back nothing for longer than that, and two minutes for clocks that differ.
        max_entries: how many revocations it holds, about 500 bytes each.
        clock: tells the time; None is the machine's clock.

    Raises:
        ConfigurationError: a bound that is not positive.
    """

    def __init__(
        self,
        *,
        max_token_lifetime_seconds: float = 86_400.0,
        max_entries: int = 1_000_000,
        clock: Clock | None = None,
    ) -> None:
        if not 0 < max_token_lifetime_seconds < math.inf:
            raise ConfigurationError("max_token_lifetime_seconds must be positive and finite")
        self._clock = SystemClock() if clock is None else clock
        self._max_token_lifetime_seconds = float(max_token_lifetime_seconds)
        self._state = ReportedState("revocations", "memory", self._clock)
        earliest = EarliestTime(self._clock, longest_seconds(self._max_token_lifetime_seconds))
        self._table = RevocationTable(max_entries, earliest, self._state)
        self._issuers = self._table.issuers
        self._feed = Feed()
        self._revoked_total = 0
        self._lifted_total = 0

    @property
    def max_token_lifetime_seconds(self) -> float:
        """The longest-lived token that it vouches for."""
        return self._max_token_lifetime_seconds

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        """Keeps a revocation; see `RevocationStore.revoke`.  It never suspends.

        One whose `expires_at` has passed already is accepted, and does no harm.

        Raises:
            ConfigurationError: `expires_at`, or `issued_until`, lies further ahead than a
                token that is issued now could live.
            BackendUnavailable: it holds as many live revocations as it may; this one is not kept.
        """
        now = self._clock.time()
        require_within_horizon(revocation, now, self._max_token_lifetime_seconds)
        kept = self._table.keep(filled_in(revocation, now, self._max_token_lifetime_seconds))
        self._revoked_total += 1
        self._feed.publish(kept)
        return RevocationReceipt(revocation=kept, effective_at=now)

    async def find(self, token: TokenFacts) -> Revocation | None:
        """A live revocation that covers the token, or None; see `RevocationStore.find`.

        Of several it is the first in the order of RevocationScope.  It never suspends.
        """
        ids = self._issuers.get(token.issuer)
        return None if ids is None else self._table.find(ids, token)

    async def lift(self, revocation: Revocation) -> RevocationReceipt:
        """Forgets the revocation with this scope, issuer and id; see `RevocationLifting.lift`.

        Subscribers are not told.  The receipt holds the revocation that was lifted, or the
        given one where there was none.
        """
        now = self._clock.time()
        lifted = self._table.lift(revocation)
        if lifted is None:
            lifted = filled_in(revocation, now, self._max_token_lifetime_seconds)
        else:
            self._lifted_total += 1
        return RevocationReceipt(revocation=lifted, effective_at=now)

    def subscribe(self) -> Subscription:
        """The revocations from this call on; see `RevocationFeed.subscribe`.

        Each subscriber may fall 1,000 revocations behind.  One that is dropped is forgotten.
        """
        return self._feed.subscribe()

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` whenever it becomes full, or has room again."""
        self._state.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """`entries` held, `subscribers`, and what happened so far."""
        return {
            "entries": len(self._table),
            "subscribers": len(self._feed),
            "revoked_total": self._revoked_total,
            "lifted_total": self._lifted_total,
            "forgotten_total": self._table.forgotten_total,
            "full_total": self._table.full_total,
            "feed_overflow_total": self._feed.overflow_total,
            "listener_errors_total": self._state.listener_errors_total,
        }

    async def __aenter__(self) -> Self:
        warn_of_several_workers(self, "a revocation made in one is unknown to the others")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing: it holds nothing open, and remembers on for whoever else has entered it."""


if TYPE_CHECKING:
    _store: RevocationStore = MemoryRevocationStore()
    _lifting: RevocationLifting = MemoryRevocationStore()
    _feed: RevocationFeed = MemoryRevocationStore()
    _observable: Observable = MemoryRevocationStore()
    _entered: AbstractAsyncContextManager[MemoryRevocationStore] = MemoryRevocationStore()
