"""The earliest that it may be now, so that no jump of the wall clock ends anything too soon."""

from __future__ import annotations

from authkit.clock import Clock

__all__ = ["EarliestTime"]


class EarliestTime:
    """A wall clock that believes no jump forward.

    Revocations end at a moment of the wall clock, as the tokens do that they take back.  A
    wall clock that jumps ahead and is set right again must not have cost one.  So how far the
    wall clock is ahead of the monotonic one is noted whenever it is asked for, and the
    smallest distance counts: after a jump ahead, time passes as fast as it really does; after
    being set back, the earlier time is believed at once.

    A distance is forgotten after one to two windows of time that really passed.  Then the
    wall clock is believed again: no revocation that was kept before the jump could matter
    any more, and a clock that was wrong when the machine started is wrong no longer.

    Args:
        clock: both of its times.
        window_seconds: longer than anything has to be remembered.
    """

    __slots__ = ("_clock", "_distance", "_distance_before", "_window_ends", "_window_seconds")

    def __init__(self, clock: Clock, window_seconds: float) -> None:
        monotonic = clock.monotonic()
        self._clock = clock
        self._window_seconds = window_seconds
        self._window_ends = monotonic + window_seconds
        self._distance = self._distance_before = clock.time() - monotonic

    def now(self) -> float:
        """Seconds since the epoch, at most what the wall clock says."""
        wall, monotonic = self._clock.time(), self._clock.monotonic()
        distance = wall - monotonic
        if monotonic >= self._window_ends:
            self._window_ends = monotonic + self._window_seconds
            self._distance_before, self._distance = self._distance, distance
        elif distance < self._distance:
            self._distance = distance
        # Subtracting and adding again may round; the wall clock itself does not.
        return min(wall, monotonic + min(self._distance, self._distance_before))
