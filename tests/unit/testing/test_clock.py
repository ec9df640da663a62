"""ManualClock: time passes only when a test says so."""

from __future__ import annotations

import pytest

from authkit.testing import ManualClock


def test_time_stands_still_until_it_is_moved() -> None:
    """Two readings are the same, and the start is the one asked for."""
    clock = ManualClock(start=1000.0)
    assert (clock.time(), clock.time()) == (1000.0, 1000.0)
    assert clock.monotonic() == clock.monotonic()


def test_advancing_moves_both_times() -> None:
    """Deadlines by either clock pass together."""
    clock = ManualClock(start=1000.0)
    before = clock.monotonic()
    clock.advance(12.5)
    assert clock.time() == 1012.5
    assert clock.monotonic() - before == 12.5


def test_time_does_not_go_back_by_advancing() -> None:
    """A negative advance is a mistake, and changes nothing."""
    clock = ManualClock(start=1000.0)
    with pytest.raises(ValueError, match="set_time"):
        clock.advance(-1)
    assert clock.time() == 1000.0


def test_the_wall_clock_can_be_set_back_alone() -> None:
    """As by NTP: the monotonic time does not follow."""
    clock = ManualClock(start=1000.0)
    before = clock.monotonic()
    clock.set_time(500.0)
    assert clock.time() == 500.0
    assert clock.monotonic() == before
