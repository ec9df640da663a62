"""The times of a replica follow from its bound, and a bound that has no sense is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from authkit.errors import ConfigurationError
from authkit_redis.revocations.timing import Timing


@pytest.mark.parametrize("bound", [0.2, 0.5, 5.0, 600.0])
def test_several_heartbeats_fit_into_the_bound(bound: float) -> None:
    """One that is lost, with the wait for its answer, does not make a replica stale."""
    timing = Timing(bound, 1.0)
    assert 10 * timing.heartbeat <= bound
    assert timing.settle < bound / 2 < bound
    assert timing.recent >= 2 * (timing.settle + bound)
    assert timing.heartbeat + timing.answer <= max(bound, 0.2)


def test_an_answer_is_waited_for_no_longer_than_the_timeout() -> None:
    """Not even where the bound would allow it."""
    assert Timing(600.0, 0.25).answer == 0.25
    assert Timing(0.2, 0.05).answer == 0.05
    assert Timing(0.2, 1.0).answer == 0.1


@pytest.mark.parametrize("bound", [0.0, 0.19, -1.0, math.inf, math.nan])
def test_a_bound_without_sense_is_refused(bound: float) -> None:
    """Below what heartbeats can prove, or without an end."""
    with pytest.raises(ConfigurationError, match="max_staleness_seconds"):
        Timing(bound, 1.0)


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.inf, math.nan])
def test_a_timeout_without_sense_is_refused(timeout: float) -> None:
    """Every call ends."""
    with pytest.raises(ConfigurationError, match="timeout_seconds"):
        Timing(5.0, timeout)


@pytest.mark.parametrize("value", ["1", None, True])
def test_a_time_is_a_number(value: Any) -> None:
    """Text from the environment is not, nor is a truth value."""
    with pytest.raises(ConfigurationError, match="max_staleness_seconds"):
        Timing(value, 1.0)
    with pytest.raises(ConfigurationError, match="timeout_seconds"):
        Timing(5.0, value)
