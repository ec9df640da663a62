"""Which slots Redis does not answer for, so that not every call waits there in vain."""

from __future__ import annotations

__all__ = ["EVERYWHERE", "Circuit"]

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
_MOST_SLOTS = 8
"""When more than these fail, it is not one node of a cluster: all count as failing."""

_FORGOTTEN_SECONDS = 10.0
"""A slot that nobody has asked about for so long is not known to fail any more."""

_CALM_SECONDS = 1.0
"""For how long nothing must have failed, so that a server that fails now and then is one outage."""

_ALL = b""
EVERYWHERE = frozenset({_ALL})
"""All slots, for what is not known to concern some."""


class Circuit:
    """Lets one call through to a failing slot now and then, and all others be answered without.

    The pauses grow from a tenth of a second to a second.

    Args:
        timeout_seconds: within which a call that was let through has ended.

    Attributes:
        is_closed: nothing fails, and nothing has failed of late.
    """

    __slots__ = ("_failed_at", "_failing", "_timeout_seconds", "is_closed")

    def __init__(self, timeout_seconds: float) -> None:
        self._failing: dict[bytes, tuple[float, float]] = {}
        self._failed_at = 0.0
        self._timeout_seconds = timeout_seconds
        # An attribute, because it is asked for with every call.
        self.is_closed: bool = True

    def admits(self, slots: frozenset[bytes], now: float) -> bool:
        """Whether a call that needs these slots may ask Redis; if one fails, only to try it."""
        if self.is_closed:
            return True
        failing = slots & self._failing.keys() | {_ALL} & self._failing.keys()
        if any(now < self._failing[slot][0] for slot in failing):
            return False
        for slot in failing:
            _, pause = self._failing[slot]
            self._failing[slot] = (now + self._timeout_seconds + pause, pause)
        return True

    def failed(self, slots: frozenset[bytes], now: float) -> None:
        """A call that needed these slots got no answer."""
        for slot in (
            slots | {_ALL} if len(self._failing | dict.fromkeys(slots)) > _MOST_SLOTS else slots
        ):
            _, pause = self._failing.get(slot, (0.0, _FIRST_PAUSE_SECONDS / 2))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            self._failing[slot] = (now + pause, pause)
        self._failed_at = now
        self.is_closed = False

    def succeeded(self, slots: frozenset[bytes], now: float) -> None:
        """A call that needed these slots was answered."""
        self._failing = {
            slot: known
            for slot, known in self._failing.items()
            if slot not in slots and slot != _ALL and now - known[0] < _FORGOTTEN_SECONDS
        }
        self.is_closed = not self._failing and now - self._failed_at >= _CALM_SECONDS
