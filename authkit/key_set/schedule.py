"""When a key set is fresh, due, trusted, and when it may be asked for: rules only, no I/O."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf
from typing import Final

from authkit.key_set.report import KeySetState

__all__ = ["Schedule"]

_RETRY_SPREAD: Final = 0.2
"""The share of the cooldown over which a fleet's retries are spread."""

_RECENT_COOLDOWNS: Final = 3
"""A failure this many cooldowns ago is recent: whoever keeps trying has tried again by then."""


class Schedule:
    """The times of one key set, all on the monotonic clock, which no administrator sets.

    Attributes:
        fetched_at: when the set was last known to be what the issuer publishes.
        due_at: from then on it is fetched again, ahead of `fresh_until`.
        fresh_until: until then it may be used without asking.
        trusted_until: until then it may be used where asking fails.
        is_confirmed: whether the last fetch that began brought a set, and a fresh one.
    """

    __slots__ = (
        "_attempted_at",
        "_cooldown_seconds",
        "_failed_at",
        "_jitter",
        "_last_known_good_seconds",
        "_overdue_at",
        "_refresh_ahead",
        "_retry_at",
        "_timeout_seconds",
        "due_at",
        "fetched_at",
        "fresh_until",
        "is_confirmed",
        "trusted_until",
    )

    def __init__(
        self,
        *,
        timeout_seconds: float,
        cooldown_seconds: float,
        last_known_good_seconds: float,
        refresh_ahead: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """All arguments in seconds, but `refresh_ahead`, a share of the freshness, and
        `jitter`, which gives numbers from 0 to 1.
        """
        self._timeout_seconds = timeout_seconds
        self._cooldown_seconds = cooldown_seconds
        self._last_known_good_seconds = last_known_good_seconds
        self._refresh_ahead = refresh_ahead
        self._jitter = jitter
        self._attempted_at = self._failed_at = self._retry_at = -inf
        self._overdue_at = inf
        self.fetched_at: float = -inf
        self.due_at: float = -inf
        self.fresh_until: float = -inf
        self.trusted_until: float = -inf
        self.is_confirmed: bool = False

    def state(self, now: float) -> KeySetState:
        """What the set is good for."""
        if now < self.fresh_until:
            return "fresh"
        if now < self.trusted_until:
            return "last_known_good"
        has_ended = max(self.fetched_at, self._failed_at) > -inf
        return "unavailable" if has_ended else "unknown"

    def cooldown_left(self, now: float) -> float:
        """Seconds until a fetch is allowed again; it counts attempts, failed ones too."""
        return max(0.0, self._attempted_at + self._cooldown_seconds - now)

    def may_answer_at_once(self, now: float) -> bool:
        """Whether a request need not wait for a fetch: the set is fresh, or asking fails just now.

        The first fetch is worth waiting for, and so is one after a time when nobody asked.
        """
        if now < self.fresh_until:
            return True
        fails = now - self._failed_at < _RECENT_COOLDOWNS * self._cooldown_seconds
        return fails or now >= self._overdue_at

    def next_attempt_at(self) -> float:
        """When a fetch should begin that no request waits for."""
        return max(self.due_at, self._retry_at, self._attempted_at + self._cooldown_seconds)

    def started(self, now: float) -> None:
        """A fetch begins."""
        self._attempted_at = now
        self._overdue_at = now + self._timeout_seconds
        self.is_confirmed = False

    def succeeded(
        self,
        now: float,
        *,
        age_seconds: float,
        fresh_seconds: float,
        stated_seconds: float | None = None,
    ) -> None:
        """The fetch brought a set that was current `age_seconds` ago.

        It is in use for `fresh_seconds`; its document says `stated_seconds`.

        One that is not fresh any more is what a source gives in an outage: it may be used, but
        tells nothing of keys that it lacks.
        """
        # Half of the time ahead is left to chance, so that a fleet started at once does not
        # ask at once.
        ahead = fresh_seconds * self._refresh_ahead * (1 - self._jitter() / 2)
        if self.fetched_at == -inf and age_seconds < fresh_seconds:
            # A process that begins with a set somebody else asked for may ask for a newer one,
            # for a key that it lacks, as soon as that one may.
            self._attempted_at = min(self._attempted_at, now - age_seconds)
        self.fetched_at = now - age_seconds
        self.fresh_until = self.fetched_at + fresh_seconds
        self.due_at = self.fresh_until - ahead
        self.trusted_until = self.fresh_until + self._last_known_good_seconds
        stated = fresh_seconds if stated_seconds is None else stated_seconds
        # What was asked for just now is current, whatever its document says.
        self.is_confirmed = age_seconds < min(fresh_seconds, max(stated, self._timeout_seconds))
        self._failed_at = -inf if self.is_confirmed else now
        self._retry_at = -inf
        self._overdue_at = inf

    def failed(self, now: float) -> None:
        """The fetch ended without a set; what is known stays as it is."""
        self._failed_at = now
        self._overdue_at = inf
        spread = self._jitter() * _RETRY_SPREAD * self._cooldown_seconds
        self._retry_at = self._attempted_at + self._cooldown_seconds + spread

    def hasten(self, now: float) -> None:
        """Makes the next fetch due."""
        self.due_at = min(self.due_at, now)
