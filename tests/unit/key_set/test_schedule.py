"""The times of a key set, by rules alone."""

from __future__ import annotations

import pytest

from authkit.key_set.schedule import Schedule


def schedule(jitter: float = 0.0, **changes: float) -> Schedule:
    """A schedule with round numbers."""
    numbers = {
        "timeout_seconds": 5.0,
        "cooldown_seconds": 30.0,
        "last_known_good_seconds": 1000.0,
        "refresh_ahead": 0.2,
    }
    return Schedule(jitter=lambda: jitter, **{**numbers, **changes})


def test_a_set_is_fresh_then_last_known_good_then_unavailable() -> None:
    """Each state ends on its second."""
    times = schedule()
    assert times.state(0) == "unknown"
    times.started(0)
    times.succeeded(1, age_seconds=0, fresh_seconds=100)

    assert [times.state(now) for now in (1, 100.9, 101, 1100.9, 1101)] == [
        "fresh",
        "fresh",
        "last_known_good",
        "last_known_good",
        "unavailable",
    ]


def test_a_set_that_was_old_when_it_came_counts_from_when_it_was_new() -> None:
    """What another process fetched is not younger for having been handed on."""
    times = schedule()
    times.started(500)
    times.succeeded(500, age_seconds=90, fresh_seconds=100)

    assert times.fetched_at == 410
    assert times.fresh_until == 510
    assert times.trusted_until == 1510


def test_a_set_that_came_too_old_confirms_nothing_and_is_asked_for_again_after_the_cooldown() -> (
    None
):
    """What is handed on in an outage is of use, but does not end the outage."""
    times = schedule()
    times.started(500)
    times.succeeded(501, age_seconds=100, fresh_seconds=100)

    assert not times.is_confirmed
    assert times.state(501) == "last_known_good"
    assert times.may_answer_at_once(501)
    assert times.next_attempt_at() == 530

    times.started(530)
    times.succeeded(531, age_seconds=99, fresh_seconds=100)
    assert times.is_confirmed


def test_a_set_is_as_old_as_its_document_says_whatever_it_is_used_for() -> None:
    """A document that is older than it may be confirms nothing, though it is in use for longer."""
    times = schedule()
    times.started(500)
    times.succeeded(500, age_seconds=30, fresh_seconds=60, stated_seconds=10)
    assert not times.is_confirmed
    assert times.state(500) == "fresh"

    times.started(530)
    times.succeeded(530, age_seconds=0.1, fresh_seconds=60, stated_seconds=0)
    assert times.is_confirmed


def test_whoever_begins_with_a_set_of_others_may_soon_ask_for_a_newer_one() -> None:
    """The cooldown counts from when the set was asked for, and later from the process's own."""
    times = schedule()
    times.started(500)
    times.succeeded(500, age_seconds=20, fresh_seconds=100)
    assert times.cooldown_left(500) == 10

    times.started(510)
    times.succeeded(510, age_seconds=50, fresh_seconds=100)
    assert times.cooldown_left(511) == 29


@pytest.mark.parametrize(("jitter", "due_at"), [(0.0, 80.0), (0.5, 85.0), (1.0, 90.0)])
def test_a_set_is_due_ahead_of_time_and_half_of_that_is_chance(
    jitter: float, due_at: float
) -> None:
    """Processes that were started together do not ask together."""
    times = schedule(jitter)
    times.started(0)
    times.succeeded(0, age_seconds=0, fresh_seconds=100)

    assert times.due_at == times.next_attempt_at() == due_at


def test_the_cooldown_counts_from_the_start_of_an_attempt_that_failed_too() -> None:
    """A server that fails is not asked more often than one that works."""
    times = schedule()
    assert times.cooldown_left(0) == 0
    times.started(0)
    times.failed(4)

    assert times.cooldown_left(4) == 26
    assert times.cooldown_left(29) == 1
    assert times.cooldown_left(30) == 0
    assert times.next_attempt_at() == 30
    assert times.state(4) == "unavailable"


def test_retries_of_a_fleet_are_spread() -> None:
    """The end of an outage is not the start of a stampede."""
    times = schedule(jitter=1.0)
    times.started(0)
    times.failed(1)

    assert times.next_attempt_at() == 36


def test_the_cooldown_goes_before_freshness() -> None:
    """However short a set is fresh, it is not fetched more often than allowed."""
    times = schedule(cooldown_seconds=300.0)
    times.started(0)
    times.succeeded(0, age_seconds=0, fresh_seconds=60)

    assert times.next_attempt_at() == 300
    assert times.state(299) == "last_known_good"


def test_nobody_waits_for_a_server_that_is_known_to_be_down() -> None:
    """In an outage the answer comes at once, with keys or without; a set nobody asked for waits."""
    times = schedule()
    times.started(0)
    times.succeeded(0, age_seconds=0, fresh_seconds=100)
    assert times.may_answer_at_once(99)
    assert not times.may_answer_at_once(101)

    times.started(80)
    times.failed(85)
    assert times.may_answer_at_once(101)
    assert not times.may_answer_at_once(85 + 3 * 30)
    times.started(1200)
    times.failed(1201)
    assert times.may_answer_at_once(1202)
    assert not times.may_answer_at_once(1201 + 3 * 30)


def test_the_first_fetch_is_waited_for_until_it_is_overdue_or_has_failed() -> None:
    """A cold start is no outage; what hangs from the start, or fails, is one."""
    times = schedule()
    assert not times.may_answer_at_once(0)
    times.started(0)
    assert not times.may_answer_at_once(4)
    assert times.may_answer_at_once(5)
    times.failed(6)
    assert times.may_answer_at_once(7)


def test_nobody_waits_for_a_fetch_that_is_overdue() -> None:
    """A source that hangs delays the requests of one timeout, not those after it."""
    times = schedule()
    times.started(0)
    times.succeeded(0, age_seconds=0, fresh_seconds=100)
    times.started(200)

    assert not times.may_answer_at_once(204)
    assert times.may_answer_at_once(205)
    times.succeeded(206, age_seconds=0, fresh_seconds=100)
    assert not times.may_answer_at_once(400)
