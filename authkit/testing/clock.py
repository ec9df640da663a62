"""A clock that stands still until a test moves it."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """A Clock for tests: both of its times move together, by `advance` alone.

    Args:
        start: seconds since the epoch to begin at.
    """

    __slots__ = ("_monotonic", "_time")

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._time = start
        self._monotonic = 0.0

    def time(self) -> float:
        return self._time

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Lets `seconds` pass.

        Raises:
            ValueError: `seconds` is negative; use `set_time` for a clock that was set back.
        """
        if seconds < 0:
            raise ValueError("time does not go back; set_time sets the wall clock")
        self._time += seconds
        self._monotonic += seconds

    def set_time(self, seconds_since_epoch: float) -> None:
        """Sets the wall clock alone, as an administrator or NTP would."""
        self._time = seconds_since_epoch
