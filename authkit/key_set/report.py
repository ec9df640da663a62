"""Who is told that a key set changed: listeners and the log."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Final, Literal

from authkit.clock import Clock
from authkit.interfaces import StateChange
from authkit.key_set.index import KeySet

__all__ = ["KEYS_ROTATED", "KeySetState", "Reporter"]

KeySetState = Literal["unknown", "fresh", "last_known_good", "unavailable"]
"""What a key set is good for: never fetched, in use, in use although asking fails, not in use."""

KEYS_ROTATED: Final = "keys_rotated"
"""The code of a StateChange that is a change of the keys themselves.

Its `old` and `new` are not states but short digests of the published documents, which are
the same in every process that uses the same set.
"""

_log = logging.getLogger("authkit")

_LEVELS: Final[dict[KeySetState, int]] = {
    "unknown": logging.INFO,
    "fresh": logging.INFO,
    "last_known_good": logging.WARNING,
    "unavailable": logging.ERROR,
}


class Reporter:
    """Tells of the changes of one key set, once each.

    Attributes:
        state: the state that was told of last.
        rotations: how often the keys changed.
        listener_errors: how often a listener raised.
    """

    __slots__ = (
        "_clock",
        "_is_of_use",
        "_listeners",
        "_reason",
        "listener_errors",
        "name",
        "rotations",
        "state",
    )

    def __init__(self, name: str, clock: Clock, state: KeySetState = "unknown") -> None:
        self.name: str = name
        self.state: KeySetState = state
        self.rotations: int = 0
        self.listener_errors: int = 0
        self._reason = ""
        self._is_of_use = True
        self._clock = clock
        self._listeners: list[Callable[[StateChange], None]] = []

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` on each change from now on; adding it again changes nothing."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def state_is(self, state: KeySetState, *, code: str | None, reason: str) -> None:
        """Tells of the state if it is not the one that was told of last.

        Where it is, but for another reason with a code, only the log is told.  The end of a
        state that the log warned of is logged as loudly, so that no alarm is its last word.
        """
        if state != self.state:
            old, self.state, self._reason = self.state, state, reason
            level = max(_LEVELS[state], min(_LEVELS[old], logging.WARNING))
            _log.log(level, "keys of %s: %s, was %s (%s)", self.name, state, old, reason)
            self._tell(old, state, code)
        elif code is not None and reason != self._reason:
            self._reason = reason
            _log.warning("keys of %s: still %s (%s)", self.name, state, reason)

    def is_of_no_use(self, keys: KeySet, *, entries: int) -> None:
        """Logs that a set of so many published entries is in use, and has no usable key."""
        self._is_of_use = False
        _log.warning(
            "keys of %s: no key that is published can be used (%d entries, %d skipped, "
            "%d unusable)",
            self.name,
            entries,
            entries - len(keys),
            keys.unusable,
        )

    def is_of_use(self) -> None:
        """Logs that there is a usable key, if the log has it that there is none."""
        if not self._is_of_use:
            self._is_of_use = True
            _log.warning("keys of %s: a key that can be used is published again", self.name)

    def replaced(self, old: bytes, new: bytes, *, keys: KeySet, withdrawn: int) -> None:
        """Tells that `keys`, published as `new`, are in use now, unless they are the same keys."""
        added = len(keys) - keys.kept
        if added or withdrawn:
            self.rotations += 1
            _log.info("keys of %s: rotated, %d added, %d withdrawn", self.name, added, withdrawn)
            self._tell(_digest(old), _digest(new), KEYS_ROTATED)

    def _tell(self, old: str, new: str, code: str | None) -> None:
        change = StateChange(
            interface="keys",
            name=self.name,
            old=old,
            new=new,
            code=code,
            time=self._clock.time(),
        )
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except Exception:
                self.listener_errors += 1


def _digest(document: bytes) -> str:
    return f"sha256:{hashlib.sha256(document).hexdigest()[:16]}"
