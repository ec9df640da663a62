"""The wall clock that believes no jump ahead."""

from __future__ import annotations

from authkit.revocations import EarliestTime
from authkit.testing import ManualClock

NOW = 1_800_000_000.0
WINDOW = 1000.0


def clocks() -> tuple[ManualClock, EarliestTime]:
    clock = ManualClock(NOW)
    return clock, EarliestTime(clock, WINDOW)


def test_is_the_wall_clock_while_that_runs_evenly() -> None:
    """Without a jump it is never behind by more than a float can tell."""
    clock, earliest = clocks()
    for _ in range(50):
        clock.advance(77.7)
        assert clock.time() - 1e-3 < earliest.now() <= clock.time()


def test_does_not_believe_a_jump_ahead() -> None:
    """After it, time passes as fast as it really does."""
    clock, earliest = clocks()
    clock.advance(100)
    clock.set_time(NOW + 86_400)
    assert abs(earliest.now() - (NOW + 100)) < 1e-6
    clock.advance(50)
    assert abs(earliest.now() - (NOW + 150)) < 1e-6


def test_believes_a_clock_that_was_set_back() -> None:
    """The earlier time holds at once, and stays the measure when the clock is set ahead again."""
    clock, earliest = clocks()
    clock.set_time(NOW - 5000)
    assert earliest.now() == NOW - 5000
    clock.set_time(NOW)
    clock.advance(10)
    assert abs(earliest.now() - (NOW - 4990)) < 1e-6


def test_believes_the_wall_clock_again_in_the_end() -> None:
    """A machine that started with a wrong clock is not behind for ever, but for a window or two."""
    clock = ManualClock(0.0)
    earliest = EarliestTime(clock, WINDOW)
    clock.set_time(NOW)
    behind = 0
    for _ in range(30):
        clock.advance(100)
        behind += earliest.now() < clock.time() - 1
    assert 10 <= behind <= 20
    assert clock.time() - 1e-3 < earliest.now() <= clock.time()


def test_a_long_silence_is_no_reason_to_believe_a_jump() -> None:
    """Although nobody asked for several windows, a jump just now counts for another window."""
    clock, earliest = clocks()
    clock.advance(5 * WINDOW)
    clock.set_time(NOW + 10**6)
    assert abs(earliest.now() - (NOW + 5 * WINDOW)) < 1e-6
    clock.advance(WINDOW - 1)
    assert abs(earliest.now() - (NOW + 6 * WINDOW - 1)) < 1e-6
