"""Who is let through to a server that does not answer."""

from __future__ import annotations

from itertools import pairwise

from authkit_redis.limits.circuit import EVERYWHERE, Circuit

TIMEOUT = 0.25
A, B = frozenset({b"a"}), frozenset({b"b"})


def test_lets_all_through_while_nothing_fails() -> None:
    """A circuit is closed until a call fails."""
    circuit = Circuit(TIMEOUT)
    assert circuit.is_closed
    assert circuit.admits(A, 0.0)


def test_one_call_at_a_time_tries_a_failing_slot() -> None:
    """After the pause; and nobody else until that one has ended."""
    circuit = Circuit(TIMEOUT)
    circuit.failed(A, 0.0)
    assert not circuit.is_closed
    assert [circuit.admits(A, now) for now in (0.0, 0.09, 0.11, 0.12, 0.3, 0.45)] == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    assert circuit.admits(A, 0.11 + TIMEOUT + 0.11), "one that never ended is not waited for"


def test_pauses_grow_to_a_second() -> None:
    """A long outage is tried about once a second."""
    circuit = Circuit(TIMEOUT)
    now, tried = 0.0, []
    circuit.failed(A, now)
    while now < 10:
        now += 0.01
        if circuit.admits(A, now):
            tried.append(now)
            circuit.failed(A, now)
    gaps = [round(after - before, 1) for before, after in pairwise(tried)]
    assert gaps[:4] == [0.2, 0.4, 0.8, 1.0]
    assert set(gaps[4:]) == {1.0}


def test_other_slots_go_on() -> None:
    """One node of a cluster is not all; a call over both needs both."""
    circuit = Circuit(TIMEOUT)
    circuit.failed(A, 0.0)
    assert circuit.admits(B, 0.0)
    assert not circuit.admits(A | B, 0.0)
    circuit.succeeded(B, 0.0)
    assert not circuit.is_closed
    circuit.succeeded(A, 1.0)
    assert circuit.is_closed


def test_many_failing_slots_are_a_failing_server() -> None:
    """Those that nobody has asked for yet do not each wait in vain."""
    circuit = Circuit(TIMEOUT)
    for number in range(9):
        circuit.failed(frozenset({b"%d" % number}), 0.0)
    assert not circuit.admits(B, 0.05)


def test_any_answer_ends_a_failure_of_everything() -> None:
    """What failed before anybody asked for a slot is over with the first success."""
    circuit = Circuit(TIMEOUT)
    circuit.failed(EVERYWHERE, 0.0)
    assert not circuit.admits(A, 0.05)
    assert circuit.admits(A, 0.2)
    circuit.succeeded(A, 0.2)
    assert circuit.admits(B, 0.2)
    circuit.succeeded(B, 1.0)
    assert circuit.is_closed


def test_a_slot_that_nobody_asks_for_is_forgotten() -> None:
    """After ten seconds it is not known to fail, as soon as another succeeds."""
    circuit = Circuit(TIMEOUT)
    circuit.failed(A, 0.0)
    circuit.failed(B, 11.0)
    circuit.succeeded(B, 12.0)
    assert circuit.is_closed


def test_a_server_that_fails_now_and_then_is_one_outage() -> None:
    """Only after a second without a failure is it over; meanwhile calls are let through."""
    circuit = Circuit(TIMEOUT)
    for tenth in range(0, 20, 2):
        circuit.failed(A, tenth / 10)
        circuit.succeeded(A, tenth / 10 + 0.1)
        assert not circuit.is_closed
        assert circuit.admits(A, tenth / 10 + 0.1)
    circuit.succeeded(A, 3.0)
    assert circuit.is_closed
