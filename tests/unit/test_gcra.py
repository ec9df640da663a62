"""The limiter's arithmetic and its bounded table."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.gcra import GcraTable
from authkit.interfaces import LimitDecision, LimitRequest, LimitState, RateLimit

NANOSECOND = 1e-9


def limit(rate: int = 10, per_seconds: float = 1.0, burst: int = 3, name: str = "api") -> RateLimit:
    return RateLimit(name=name, rate=rate, per_seconds=per_seconds, burst=burst, by="subject")


def ask(
    table: GcraTable, of: RateLimit, now: float, cost: int = 1, key: str = "alice"
) -> LimitDecision:
    return table.acquire([LimitRequest(limit=of, key=key, cost=cost)], now)


def granted(table: GcraTable, of: RateLimit, now: float, key: str = "alice") -> int:
    """How many calls of cost 1 are granted at this moment."""
    count = 0
    while ask(table, of, now, key=key).allowed:
        count += 1
    return count


def steps_of(call: Any, *arguments: Any) -> int:
    """How many lines of Python a call takes."""
    lines = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call(*arguments)
    finally:
        sys.settrace(before)
    return lines


class TestArithmetic:
    @pytest.mark.parametrize(
        ("rate", "per_seconds"), [(10, 1.0), (3, 1.0), (7, 60.0), (1, 0.1), (3, 0.7)]
    )
    def test_the_burst_is_whole_again_after_as_long_as_the_rate_says(
        self, rate: int, per_seconds: float
    ) -> None:
        """With a burst of `rate`, all of it is there after `per_seconds` and a part is before."""
        table = GcraTable(10)
        of = limit(rate=rate, per_seconds=per_seconds, burst=rate)
        assert granted(table, of, 1000.0) == rate
        assert granted(table, of, 1000.0 + per_seconds - 2 * NANOSECOND) == rate - 1
        assert granted(table, of, 2000.0) == rate
        assert granted(table, of, 2000.0 + per_seconds) == rate

    def test_times_that_add_up_in_decimal_add_up_here(self) -> None:
        """A thousand steps of 0.1 s are 100 s, although 0.1 is not quite a tenth as a float."""
        table, of, now = GcraTable(10), limit(rate=10, burst=1), 0.0
        for _ in range(1000):
            assert granted(table, of, now) == 1
            now += 0.1
        assert now != 100.0

    def test_an_odd_rate_loses_nothing_in_the_long_run(self) -> None:
        """Seven calls in 3 s are 7,000 in 3,000 s, one by one, and not one more."""
        table, of = GcraTable(10), limit(rate=7, per_seconds=3.0, burst=1)
        total = sum(granted(table, of, 50 + step / 16) for step in range(48_001 // 4))
        # A call is granted at the first sixteenth of a second after it is due.
        assert total <= 1 + 7 * 12_000 // 48
        table, of = GcraTable(10), limit(rate=7, per_seconds=3.0, burst=7)
        assert sum(granted(table, of, 50.0 + 3 * period) for period in range(1000)) == 7000

    def test_a_rate_faster_than_the_clock_ticks(self) -> None:
        """Three calls in a nanosecond are three for each nanosecond that the clock shows."""
        table, of = GcraTable(10), limit(rate=3, per_seconds=NANOSECOND, burst=3)
        assert granted(table, of, 1.0) == 3
        assert granted(table, of, 1.0 + NANOSECOND) == 3

    def test_a_clock_that_shows_an_earlier_time_refills_nothing(self) -> None:
        """It is only less time that has passed."""
        table, of = GcraTable(10), limit()
        assert granted(table, of, 100.0) == 3
        assert granted(table, of, 50.0) == 0

    def test_what_takes_centuries_to_come_back_is_a_mistake(self) -> None:
        """Such a limit is a ConfigurationError that names it, and charges no other limit."""
        table = GcraTable(10)
        asked = [
            LimitRequest(limit=limit(name="first"), key="alice"),
            LimitRequest(limit=limit(rate=1, per_seconds=1e300, name="slow"), key="alice"),
        ]
        with pytest.raises(ConfigurationError, match="slow"):
            table.acquire(asked, 100.0)
        assert ask(table, limit(name="first"), 100.0, cost=0).states[0].remaining == 3


class TestStates:
    def test_a_state_counts_down_and_says_how_long(self) -> None:
        """`remaining`, `retry_after_seconds` and `reset_after_seconds` are exact."""
        table, of = GcraTable(10), limit()
        states = [ask(table, of, 100.0).states[0] for _ in range(4)]
        assert states == [
            LimitState(name="api", remaining=2, retry_after_seconds=0.0, reset_after_seconds=0.1),
            LimitState(name="api", remaining=1, retry_after_seconds=0.0, reset_after_seconds=0.2),
            LimitState(name="api", remaining=0, retry_after_seconds=0.0, reset_after_seconds=0.3),
            LimitState(name="api", remaining=0, retry_after_seconds=0.1, reset_after_seconds=0.3),
        ]

    @pytest.mark.parametrize("cost", [1, 2, 3])
    @pytest.mark.parametrize("rate", [3, 7, 1000])
    def test_waiting_as_told_is_enough_and_no_less(self, cost: int, rate: int) -> None:
        """After `retry_after_seconds` the cost fits; a nanosecond earlier it does not."""
        table, of = GcraTable(10), limit(rate=rate)
        assert granted(table, of, 100.0) == 3
        wait = ask(table, of, 100.0, cost).states[0].retry_after_seconds
        assert not ask(table, of, 100.0 + wait - NANOSECOND, cost).allowed
        assert ask(table, of, 100.0 + wait, cost).allowed

    @pytest.mark.parametrize("rate", [3, 7, 1000])
    def test_waiting_for_the_reset_gives_the_whole_burst(self, rate: int) -> None:
        """After `reset_after_seconds` everything remains and nothing is to be waited for."""
        table, of = GcraTable(10), limit(rate=rate)
        wait = ask(table, of, 100.0, cost=2).states[0].reset_after_seconds
        state = ask(table, of, 100.0 + wait, cost=0).states[0]
        assert (state.remaining, state.reset_after_seconds) == (3, 0.0)

    def test_answers_are_the_values_that_the_interface_names(self) -> None:
        """They are equal to, as frozen as, and of the same class as values made by hand."""
        decision = ask(GcraTable(10), limit(), 100.0)
        state = LimitState(
            name="api", remaining=2, retry_after_seconds=0.0, reset_after_seconds=0.1
        )
        assert decision == LimitDecision(allowed=True, states=(state,), is_degraded=False)
        assert hash(decision) == hash(
            LimitDecision(allowed=True, states=(state,), is_degraded=False)
        )
        assert repr(decision.states[0]) == repr(state)
        for value, field in ((decision, "allowed"), (decision.states[0], "remaining")):
            assert type(value) in (LimitDecision, LimitState)
            with pytest.raises(AttributeError):
                setattr(value, field, 1)


class TestCosts:
    @pytest.mark.parametrize("cost", [-1, 4, 10**30])
    @pytest.mark.parametrize("is_known", [True, False])
    def test_a_cost_that_makes_no_sense_is_a_mistake(self, cost: int, is_known: bool) -> None:
        """Below 0 or above the burst it is a ConfigurationError that names the limit."""
        table, of = GcraTable(10), limit()
        if is_known:
            ask(table, of, 100.0)
        with pytest.raises(ConfigurationError, match="api"):
            ask(table, of, 100.0, cost)
        assert granted(table, of, 100.0) == 3 - is_known

    def test_asking_leaves_nothing_behind(self) -> None:
        """A cost of 0 for an unknown key takes no place in the table."""
        table = GcraTable(1)
        for key in ("alice", "bob", "carol"):
            assert ask(table, limit(), 100.0, cost=0, key=key).states[0].remaining == 3
        assert len(table) == 0

    def test_asking_is_never_refused(self) -> None:
        """It is allowed for a bucket that is empty, even one that another limit overdrew."""
        table = GcraTable(10)
        ask(table, limit(rate=1, burst=100), 100.0, cost=100)
        asked = ask(table, limit(rate=1, burst=1), 100.0, cost=0)
        assert asked.allowed
        assert asked.states[0] == LimitState(
            name="api", remaining=0, retry_after_seconds=0.0, reset_after_seconds=100.0
        )


class TestSeveralAtOnce:
    def test_the_same_bucket_adds_up_and_shows_its_final_state(self) -> None:
        """Both requests of an allowed call see what is left after both."""
        table, of = GcraTable(10), limit(burst=5)
        twice = [LimitRequest(limit=of, key="alice", cost=2)] * 2
        first = table.acquire(twice, 100.0)
        assert (first.allowed, [state.remaining for state in first.states]) == (True, [1, 1])
        again = table.acquire(twice, 100.0)
        assert not again.allowed
        assert [state.remaining for state in again.states] == [1, 1]
        waits = [state.retry_after_seconds for state in again.states]
        assert waits == [0.1, pytest.approx(0.3)]

    def test_more_than_the_burst_in_one_call_is_refused(self) -> None:
        """Two costs of 2 on a fresh bucket of 3: the second is the one that does not fit."""
        twice = [LimitRequest(limit=limit(), key="alice", cost=2)] * 2
        table = GcraTable(10)
        decision = table.acquire(twice, 100.0)
        assert not decision.allowed
        assert [state.retry_after_seconds for state in decision.states] == [0.0, 0.1]
        assert len(table) == 0

    def test_every_limit_that_refuses_says_how_long(self) -> None:
        """Those that would have allowed say 0."""
        table = GcraTable(10)
        slow, fast, open_ = (
            limit(rate=1, burst=1, name="slow"),
            limit(burst=1, name="fast"),
            limit(),
        )
        asked = [LimitRequest(limit=of, key="alice") for of in (slow, open_, fast)]
        assert table.acquire(asked, 100.0).allowed
        waits = [state.retry_after_seconds for state in table.acquire(asked, 100.0).states]
        assert waits == [1.0, 0.0, 0.1]
        assert ask(table, open_, 100.0, cost=0).states[0].remaining == 2

    def test_nothing_asked_is_allowed(self) -> None:
        """No requests, no states."""
        decision = GcraTable(1).acquire((), 100.0)
        assert decision == LimitDecision(allowed=True, states=(), is_degraded=False)


class TestLimitsOfOneName:
    def test_share_a_bucket(self) -> None:
        """What one has taken is gone for the other, in time: half a second either way."""
        table = GcraTable(10)
        slow, fast = limit(rate=2, burst=2), limit(rate=6, per_seconds=1.0, burst=6)
        assert ask(table, slow, 100.0).allowed
        assert ask(table, fast, 100.0, cost=0).states[0].remaining == 3
        assert ask(table, fast, 100.0, cost=3).allowed
        assert ask(table, slow, 100.0, cost=0).states[0].remaining == 0
        assert ask(table, slow, 100.5).allowed

    def test_share_it_within_one_call(self) -> None:
        """Each adds its own interval, and a refusal puts back the units that stood before."""
        table = GcraTable(10)
        thirds, sevenths = limit(rate=3, burst=3), limit(rate=7, burst=7)
        assert ask(table, thirds, 100.0).allowed
        both = [
            LimitRequest(limit=thirds, key="alice"),
            LimitRequest(limit=sevenths, key="alice", cost=7),
        ]
        for _ in range(100):
            assert not table.acquire(both, 100.0).allowed
        assert granted(table, thirds, 100.0) == 2

    def test_a_charge_is_never_rounded_away(self) -> None:
        """Going to and fro between two limits costs at least what each of them says."""
        table = GcraTable(10)
        thirds, sevenths = limit(rate=3, burst=300), limit(rate=7, burst=700)
        for _ in range(100):
            assert ask(table, thirds, 100.0).allowed
            assert ask(table, sevenths, 100.0).allowed
        state = ask(table, thirds, 100.0, cost=0).states[0]
        assert state.reset_after_seconds >= 100 / 3 + 100 / 7
        assert state.reset_after_seconds < 100 / 3 + 100 / 7 + 200 * NANOSECOND

    def test_limits_made_by_the_call_are_bounded_and_forget_nothing(self) -> None:
        """Thousands of equal limits count as one, and of other names nothing is left over."""
        table = GcraTable(5000)
        allowed = sum(ask(table, limit(), 100.0).allowed for _ in range(3000))
        assert allowed == 3
        for number in range(3000):
            ask(table, limit(name=f"limit-{number}"), 100.0, cost=0)
        assert not ask(table, limit(), 100.0).allowed
        for kept in (table._plans, table._buckets):
            assert len(kept) <= 1100


class TestBounds:
    def test_needs_room_for_one(self) -> None:
        """A table for nobody is a ConfigurationError."""
        with pytest.raises(ConfigurationError):
            GcraTable(0)

    def test_a_new_key_is_unavailable_while_all_are_live(self) -> None:
        """It is neither granted nor refused, charges nothing, and others go on."""
        table, of = GcraTable(2), limit()
        assert ask(table, of, 100.0, key="alice").allowed
        assert ask(table, of, 100.0, key="bob").allowed
        with pytest.raises(BackendUnavailable) as raised:
            ask(table, of, 100.0, key="carol")
        assert raised.value.interface == "limiter"
        assert (len(table), table.full_total) == (2, 1)
        assert granted(table, of, 100.0, key="alice") == 2

    def test_a_full_table_still_refuses(self) -> None:
        """A call that a known bucket refuses is a refusal, whatever else it would need."""
        table, of = GcraTable(1), limit()
        assert granted(table, of, 100.0) == 3
        both = [LimitRequest(limit=of, key=key) for key in ("bob", "alice")]
        assert not table.acquire(both, 100.0).allowed
        assert table.full_total == 0

    def test_no_room_for_one_of_several_charges_none(self) -> None:
        """All or nothing holds for want of room too."""
        table, of = GcraTable(2), limit()
        ask(table, of, 100.0, key="alice")
        asked = [LimitRequest(limit=of, key=key) for key in ("alice", "bob", "carol")]
        with pytest.raises(BackendUnavailable):
            table.acquire(asked, 100.0)
        assert len(table) == 1
        assert granted(table, of, 100.0, key="alice") == 2
        assert granted(table, of, 100.0, key="bob") == 3

    def test_a_replenished_bucket_makes_room_at_the_very_moment(self) -> None:
        """At its TAT, and not a nanosecond earlier, its place is another's."""
        table, of = GcraTable(1), limit(rate=3)
        wait = ask(table, of, 100.0).states[0].reset_after_seconds
        with pytest.raises(BackendUnavailable):
            ask(table, of, 100.0 + wait - NANOSECOND, key="bob")
        assert ask(table, of, 100.0 + wait, key="bob").allowed
        assert (len(table), table.evicted_total) == (1, 1)

    def test_a_bucket_charged_again_is_not_evicted_at_its_first_moment(self) -> None:
        """What counts is when the last charge is over."""
        table, of = GcraTable(1), limit()
        ask(table, of, 100.0)
        ask(table, of, 100.05, cost=2)
        with pytest.raises(BackendUnavailable):
            ask(table, of, 100.25, key="bob")
        assert granted(table, of, 100.25) == 2
        assert ask(table, of, 100.55, key="bob").allowed

    def test_a_replenished_bucket_of_the_same_call_is_charged_all_the_same(self) -> None:
        """Making room may forget it first; then it starts anew, and counts."""
        table, of = GcraTable(2), limit()
        ask(table, of, 100.0, key="alice")
        ask(table, of, 100.0, key="bob")
        both = [LimitRequest(limit=of, key=key, cost=3) for key in ("carol", "alice")]
        assert table.acquire(both, 200.0).allowed
        assert granted(table, of, 200.0, key="alice") == 0
        assert granted(table, of, 200.0, key="carol") == 0
        assert len(table) == 2

    def test_memory_is_given_back_as_new_keys_come(self) -> None:
        """Callers that come once do not stay: the table follows those that are live."""
        table, of = GcraTable(100_000), limit()
        for number in range(5000):
            ask(table, of, 100.0 + number / 100, key=f"caller-{number}")
        assert len(table) <= 30

    def test_evict_gives_memory_back_without_a_new_key(self) -> None:
        """It forgets what is replenished, and nothing live."""
        table, of = GcraTable(10), limit()
        ask(table, of, 100.0, key="alice")
        ask(table, of, 100.0, key="bob", cost=3)
        table.evict(100.1)
        assert len(table) == 1
        assert granted(table, of, 100.1, key="bob") == 1

    def test_no_call_scans_the_table(self) -> None:
        """With thousands of records to be moved on, a call takes no more than some of them."""
        table, of = GcraTable(3000), limit(burst=30)
        for number in range(3000):
            ask(table, of, 100.0, key=f"caller-{number}")
        for number in range(3000):
            ask(table, of, 100.0, key=f"caller-{number}", cost=20)
        newcomer = [LimitRequest(limit=of, key="newcomer")]

        def come() -> None:
            with pytest.raises(BackendUnavailable):
                table.acquire(newcomer, 101.0)

        assert steps_of(come) < 5000
        assert len(table) == 3000
        for _ in range(20):  # in the end all have been looked at
            come()
        assert table.acquire(newcomer, 103.0).allowed
