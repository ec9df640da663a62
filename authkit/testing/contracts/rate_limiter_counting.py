"""The promises of a RateLimiter about what it counts, apart from time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from authkit.errors import ConfigurationError
from authkit.interfaces import LimitDecision, LimitRequest, LimitState, RateLimit, RateLimiter
from authkit.testing.contracts.backend import BackendContract
from authkit.testing.contracts.concurrency import cancelled_among, together
from authkit.testing.contracts.difficult_text import EACH_DIFFICULT_TEXT, EACH_LOOK_ALIKE

__all__ = ["RateLimiterCounting", "limit"]

AT_ONCE = 50


def limit(
    name: str = "slow", *, burst: int = 5, rate: int = 1, per_seconds: float = 3600
) -> RateLimit:
    """A limit; unless told otherwise so slow that nothing comes back during a test."""
    return RateLimit(name=name, rate=rate, per_seconds=per_seconds, burst=burst, by="subject")


class RateLimiterCounting(BackendContract):
    """The part of the suite that needs no time to pass."""

    interface = "limiter"

    @pytest.fixture
    def limiter(self) -> RateLimiter:
        """The limiter under test, without any charge yet for each test; to be overridden."""
        raise NotImplementedError("override the fixture `limiter`")

    @pytest.fixture
    def backend(self, limiter: RateLimiter) -> RateLimiter:
        return limiter

    async def use(self, backend: RateLimiter) -> None:
        asked = LimitRequest(limit=limit("unused"), key="unused", cost=0)
        assert (await backend.acquire([asked])).allowed

    async def ask(
        self, limiter: RateLimiter, of: RateLimit, key: str = "alice", cost: int = 1
    ) -> LimitDecision:
        """Charges one bucket."""
        asked = [LimitRequest(limit=of, key=key, cost=cost)]
        return await self.in_time(limiter.acquire(asked))

    async def state(self, limiter: RateLimiter, of: RateLimit, key: str = "alice") -> LimitState:
        """The state of one bucket, by asking with cost 0."""
        return (await self.ask(limiter, of, key, cost=0)).states[0]

    async def assert_remaining(
        self, limiter: RateLimiter, of: RateLimit, expected: int, key: str = "alice"
    ) -> None:
        """Checks both what the limiter says, and that just so many calls are granted."""
        assert (await self.state(limiter, of, key)).remaining == expected
        for _ in range(expected):
            assert (await self.ask(limiter, of, key)).allowed
        assert not (await self.ask(limiter, of, key)).allowed

    async def test_grants_the_burst_and_no_more(self, limiter: RateLimiter) -> None:
        """A fresh bucket grants `burst` calls at once, and then refuses."""
        decisions = [(await self.ask(limiter, limit(burst=3))).allowed for _ in range(6)]
        assert decisions == [True, True, True, False, False, False]

    async def test_a_burst_of_one_is_granted_once(self, limiter: RateLimiter) -> None:
        """The smallest burst works."""
        decisions = [(await self.ask(limiter, limit(burst=1))).allowed for _ in range(2)]
        assert decisions == [True, False]

    async def test_remaining_counts_down(self, limiter: RateLimiter) -> None:
        """`remaining` is what would be allowed right now, after this call."""
        states = [(await self.ask(limiter, limit(burst=3))).states[0] for _ in range(4)]
        assert [state.remaining for state in states] == [2, 1, 0, 0]

    async def test_a_fresh_bucket_is_full(self, limiter: RateLimiter) -> None:
        """Before the first charge the whole burst remains, and nothing has to be waited for."""
        assert await self.state(limiter, limit(burst=5)) == LimitState(
            name="slow", remaining=5, retry_after_seconds=0, reset_after_seconds=0
        )

    async def test_a_refused_call_changes_nothing(self, limiter: RateLimiter) -> None:
        """However often it is refused, what is left stays, for a caller that asks for less."""
        of = limit(burst=5)
        await self.ask(limiter, of, cost=3)
        for _ in range(5):
            assert not (await self.ask(limiter, of, cost=3)).allowed
        await self.assert_remaining(limiter, of, 2)

    async def test_a_cost_counts_for_as_many_calls(self, limiter: RateLimiter) -> None:
        """A call of cost n takes n, and the whole burst may be taken at once."""
        of = limit(burst=5)
        await self.ask(limiter, of, cost=3)
        await self.assert_remaining(limiter, of, 2)
        assert (await self.ask(limiter, of, "bob", cost=5)).allowed
        await self.assert_remaining(limiter, of, 0, "bob")

    async def test_a_cost_of_nothing_only_asks(self, limiter: RateLimiter) -> None:
        """Asking with cost 0 takes nothing, however often."""
        of = limit(burst=3)
        await self.ask(limiter, of)
        for _ in range(10):
            assert (await self.ask(limiter, of, cost=0)).states[0].remaining == 2
        await self.assert_remaining(limiter, of, 2)

    async def test_asking_is_always_allowed(self, limiter: RateLimiter) -> None:
        """A cost of 0 is allowed on an empty bucket too, and refuses no call that holds it."""
        empty, full = limit("empty", burst=2), limit("full", burst=4)
        await self.ask(limiter, empty, cost=2)
        decision = await self.ask(limiter, empty, cost=0)
        assert decision.allowed
        assert (decision.states[0].remaining, decision.states[0].retry_after_seconds) == (0, 0)
        asked = [
            LimitRequest(limit=empty, key="alice", cost=0),
            LimitRequest(limit=full, key="alice"),
        ]
        assert (await self.in_time(limiter.acquire(asked))).allowed
        await self.assert_remaining(limiter, full, 3)
        await self.assert_remaining(limiter, empty, 0)

    async def test_a_refusal_tells_what_is_left(self, limiter: RateLimiter) -> None:
        """`remaining` of a refused call is what a smaller one would be granted."""
        of = limit(burst=5)
        await self.ask(limiter, of, cost=3)
        refused = await self.ask(limiter, of, cost=4)
        assert (refused.allowed, refused.states[0].remaining) == (False, 2)

    async def test_a_cost_below_nothing_is_a_mistake(self, limiter: RateLimiter) -> None:
        """A negative cost is a ConfigurationError: nothing is given back, and nothing charged."""
        of, other = limit(burst=5), limit("other", burst=5)
        await self.ask(limiter, of, cost=3)
        asked = [
            LimitRequest(limit=other, key="alice"),
            LimitRequest(limit=of, key="alice", cost=-1),
        ]
        with pytest.raises(ConfigurationError):
            await self.in_time(limiter.acquire(asked))
        assert (await self.state(limiter, of)).remaining == 2
        assert (await self.state(limiter, other)).remaining == 5

    async def test_a_cost_above_the_burst_is_a_mistake(self, limiter: RateLimiter) -> None:
        """What could never be granted is a ConfigurationError, and charges nothing."""
        of, other = limit(burst=5), limit("other", burst=5)
        asked = [
            LimitRequest(limit=other, key="alice"),
            LimitRequest(limit=of, key="alice", cost=6),
        ]
        with pytest.raises(ConfigurationError):
            await self.in_time(limiter.acquire(asked))
        assert (await self.state(limiter, of)).remaining == 5
        assert (await self.state(limiter, other)).remaining == 5

    @pytest.mark.parametrize("is_first", [True, False], ids=["first", "last"])
    async def test_charges_all_or_nothing(self, limiter: RateLimiter, is_first: bool) -> None:
        """Refused by one limit, the call charges none of the others, before it or after it."""
        empty, full = limit("empty", burst=2), limit("full", burst=4)
        await self.ask(limiter, empty, cost=2)
        asked = [LimitRequest(limit=of, key="alice") for of in (empty, full)]
        for _ in range(3):
            decision = await self.in_time(limiter.acquire(asked if is_first else asked[::-1]))
            assert not decision.allowed
        await self.assert_remaining(limiter, full, 4)

    async def test_charges_every_limit_of_an_allowed_call(self, limiter: RateLimiter) -> None:
        """Allowed by all limits, the call charges each of them with its own cost."""
        one, other = limit("one", burst=4), limit("other", burst=6)
        asked = [
            LimitRequest(limit=one, key="alice", cost=1),
            LimitRequest(limit=other, key="alice", cost=2),
        ]
        assert (await self.in_time(limiter.acquire(asked))).allowed
        await self.assert_remaining(limiter, one, 3)
        await self.assert_remaining(limiter, other, 4)

    async def test_the_same_bucket_twice_adds_up(self, limiter: RateLimiter) -> None:
        """Two requests for one bucket in one call are charged together, or refused together."""
        of = limit(burst=5)
        twice = [LimitRequest(limit=of, key="alice", cost=2)] * 2
        decision = await self.in_time(limiter.acquire(twice))
        assert (decision.allowed, len(decision.states)) == (True, 2)
        await self.ask(limiter, of, "bob", cost=2)
        for_bob = [LimitRequest(limit=of, key="bob", cost=2)] * 2
        assert not (await self.in_time(limiter.acquire(for_bob))).allowed
        await self.assert_remaining(limiter, of, 1)
        await self.assert_remaining(limiter, of, 3, "bob")

    async def test_states_stand_in_the_order_of_the_requests(self, limiter: RateLimiter) -> None:
        """There is one state for each request, in order, under its limit's name."""
        limits = [limit(name, burst=burst) for name, burst in (("c", 3), ("a", 1), ("b", 2))]
        asked = [LimitRequest(limit=of, key="alice") for of in limits]
        for _ in range(2):  # once allowed, once refused
            decision = await self.in_time(limiter.acquire(asked))
            assert [state.name for state in decision.states] == ["c", "a", "b"]
        assert [state.remaining for state in decision.states] == [2, 0, 1]

    async def test_says_which_limit_refused(self, limiter: RateLimiter) -> None:
        """`retry_after_seconds` is positive for the limits that refused, and 0 for the others."""
        empty, full = limit("empty", burst=1), limit("full", burst=4)
        assert (await self.ask(limiter, empty)).states[0].retry_after_seconds == 0
        asked = [LimitRequest(limit=of, key="alice") for of in (full, empty)]
        decision = await self.in_time(limiter.acquire(asked))
        assert [state.retry_after_seconds > 0 for state in decision.states] == [False, True]

    async def test_an_empty_call_is_allowed(self, limiter: RateLimiter) -> None:
        """Where no limit applies, nothing is charged and nothing refused."""
        decision = await self.in_time(limiter.acquire([]))
        assert (decision.allowed, decision.states) == (True, ())

    async def test_says_that_it_is_not_degraded(self, limiter: RateLimiter) -> None:
        """A healthy limiter answers for itself."""
        assert not (await self.ask(limiter, limit())).is_degraded

    @EACH_DIFFICULT_TEXT
    async def test_takes_any_text_for_a_key_or_a_name(
        self, limiter: RateLimiter, text: str
    ) -> None:
        """Keys and names may hold any characters and be long."""
        assert (await self.ask(limiter, limit(burst=1), text)).allowed
        assert not (await self.ask(limiter, limit(burst=1), text)).allowed
        decision = await self.ask(limiter, limit(text, burst=1))
        assert (decision.allowed, decision.states[0].name) == (True, text)
        assert not (await self.ask(limiter, limit(text, burst=1))).allowed

    @EACH_LOOK_ALIKE
    async def test_keeps_keys_and_names_apart(
        self, limiter: RateLimiter, one: str, other: str
    ) -> None:
        """Keys, and limits' names, that are not equal have buckets of their own."""
        await self.ask(limiter, limit(burst=2), one, cost=2)
        await self.assert_remaining(limiter, limit(burst=2), 2, other)
        await self.ask(limiter, limit(one, burst=2), cost=2)
        await self.assert_remaining(limiter, limit(other, burst=2), 2)

    @pytest.mark.parametrize("separator", [":", "|", "/", " ", "\x00", "\n", ","], ids=ascii)
    async def test_never_confuses_where_the_name_ends(
        self, limiter: RateLimiter, separator: str
    ) -> None:
        """What is cut at another place between name and key is another bucket."""
        await self.ask(limiter, limit(f"a{separator}b", burst=2), "c", cost=2)
        await self.assert_remaining(limiter, limit("a", burst=2), 2, f"b{separator}c")

    async def test_counts_exactly_at_once(self, limiter: RateLimiter) -> None:
        """Of fifty calls at the same time exactly `burst` are granted."""
        of = limit(burst=20)
        decisions = await self._all_at_once(limiter, [[of]] * AT_ONCE)
        assert sum(decision.allowed for decision in decisions) == 20

    async def test_counts_several_limits_exactly_at_once(self, limiter: RateLimiter) -> None:
        """Calls that charge two limits in either order neither wait for ever nor leak a charge."""
        narrow, wide = limit("narrow", burst=10), limit("wide", burst=40)
        both = [[narrow, wide], [wide, narrow]] * (AT_ONCE // 2)
        decisions = await self._all_at_once(limiter, both)
        assert sum(decision.allowed for decision in decisions) == 10
        await self.assert_remaining(limiter, wide, 30)

    async def _all_at_once(
        self, limiter: RateLimiter, calls: Sequence[Sequence[RateLimit]]
    ) -> list[LimitDecision]:
        asked = [[LimitRequest(limit=of, key="alice") for of in limits] for limits in calls]
        return await together(self.timeout_seconds, map(limiter.acquire, asked))

    async def test_a_cancelled_call_harms_no_other(self, limiter: RateLimiter) -> None:
        """Cancelled at any await, a call is charged once or not at all, and others are exact."""
        of, others = limit(burst=100), limit("others", burst=10)
        alice = [LimitRequest(limit=of, key="alice")]
        bob = [LimitRequest(limit=others, key="bob")]

        async def acquire(asked: list[LimitRequest]) -> LimitDecision:
            return await limiter.acquire(asked)

        decisions = await cancelled_among(
            self.timeout_seconds,
            lambda: acquire(alice),
            lambda: acquire(bob),
        )
        assert sum(decision.allowed for decision in decisions) == 10
        assert (await self.state(limiter, of)).remaining >= 100 - len(decisions) // 2
