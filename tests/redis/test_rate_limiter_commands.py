"""What a limiter sends to Redis, and what it does not; what stands there afterwards."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from authkit import Verifier
from authkit.errors import ConfigurationError, RateLimited
from authkit.interfaces import LimitRequest
from authkit.testing import LocalIssuer, ManualClock
from authkit_redis import RedisRateLimiter, RedisRevocationStore
from authkit_redis.link import open_link
from tests.redis.limiters import ask, calls, counted, limit, limiter, scripts_run
from tests.redis.servers import RedisServer

pytestmark = pytest.mark.anyio

SECRET, OTHER_SECRET = b"s" * 32, b"t" * 32


class TestKeys:
    async def test_one_command_whatever_the_number_of_limits(
        self, redis_server: RedisServer
    ) -> None:
        """One to eight limits are charged in one round trip each, after the first of a script."""
        async with limiter(redis_server.url) as one:
            limits = [limit(f"limit-{number}") for number in range(8)]
            await ask(one, *limits[:2])
            await ask(one, limits[0], key="issuer bob")
            redis_server.command("CONFIG", "RESETSTAT")
            for count in range(1, 9):
                assert (await ask(one, *limits[:count], key=f"issuer {count}")).allowed
            assert (calls(redis_server, "evalsha"), calls(redis_server, "eval")) == (8, 0)

    async def test_keys_say_nothing_of_callers_and_limits(self, redis_server: RedisServer) -> None:
        """Neither a subject nor an issuer nor a name can be read, and other words are others."""
        async with limiter(redis_server.url, secret=SECRET) as one:
            await ask(one, limit("reading"), key="https://idp.example alice@example.org")
            first = counted(redis_server)
            text = b" ".join(first).lower()
            for word in (b"reading", b"alice", b"example", b"https"):
                assert word not in text
        async with limiter(redis_server.url, secret=OTHER_SECRET) as other:
            await ask(other, limit("reading"), key="https://idp.example alice@example.org")
        async with limiter(redis_server.url) as third:
            await ask(third, limit("reading"), key="https://idp.example alice@example.org")
        keys = counted(redis_server)
        assert len(keys) == 3
        # Not even the slot is the same, which would tell that the issuer is.
        assert len({key.partition(b"}")[0] for key in keys}) == 3

    async def test_the_limits_of_a_caller_are_in_one_slot(self, redis_server: RedisServer) -> None:
        """All keys that begin with the same word; another word is in another."""
        async with limiter(redis_server.url) as one:
            for name in ("a", "b", "c"):
                for caller in ("https://one alice", "https://one client web", "https://two alice"):
                    await ask(one, limit(name), key=caller)
        keys = counted(redis_server)
        assert len(keys) == 9
        assert len({key.partition(b"}")[0] for key in keys}) == 2

    async def test_asking_with_a_cost_of_nothing_writes_nothing(
        self, redis_server: RedisServer
    ) -> None:
        """No SET, for buckets that are there and for those that are not."""
        async with limiter(redis_server.url) as one:
            await ask(one, limit("there"))
            redis_server.command("CONFIG", "RESETSTAT")
            await ask(one, limit("there"), cost=0)
            await ask(one, limit("there"), limit("not there"), cost=0)
            assert calls(redis_server, "get") == 3
            assert calls(redis_server, "set") == 0

    async def test_a_lost_script_is_brought_again(self, redis_server: RedisServer) -> None:
        """After SCRIPT FLUSH nothing is counted twice, and nothing is degraded."""
        async with limiter(redis_server.url) as one:
            for remaining in (4, 3, 2):
                redis_server.command("SCRIPT", "FLUSH")
                decision = await ask(one, limit())
                assert (decision.is_degraded, decision.states[0].remaining) == (False, remaining)


class TestDenials:
    async def test_a_refused_caller_costs_no_command(self, redis_server: RedisServer) -> None:
        """It is refused from memory, with what it still has to wait, and then asked for again."""
        of, clock = limit(burst=2, rate=1, per_seconds=4.0), ManualClock()
        async with limiter(redis_server.url, clock=clock) as one:
            await ask(one, of, cost=2)
            refused = await ask(one, of)
            wait = refused.states[0].retry_after_seconds
            assert 3.5 < wait <= 4.0
            redis_server.command("CONFIG", "RESETSTAT")
            for passed in (0.0, 1.0, 2.0, 3.0):
                again = await ask(one, of)
                assert not again.allowed
                assert again.states[0].retry_after_seconds == pytest.approx(wait - passed, abs=1e-5)
                assert again.states[0].reset_after_seconds == pytest.approx(
                    refused.states[0].reset_after_seconds - passed, abs=1e-5
                )
                clock.advance(1.0)
            assert scripts_run(redis_server) == 0
            clock.advance(0.1)
            await ask(one, of)
            assert scripts_run(redis_server) == 1
            assert one.stats()["remembered_total"] == 4

    async def test_after_ten_seconds_it_asks_however_long_the_wait(
        self, redis_server: RedisServer
    ) -> None:
        """Somebody may have emptied the bucket."""
        of, clock = limit(burst=1), ManualClock()
        async with limiter(redis_server.url, clock=clock) as one:
            await ask(one, of)
            assert not (await ask(one, of)).allowed
            redis_server.command("FLUSHALL")
            clock.advance(9.99)
            assert not (await ask(one, of)).allowed
            clock.advance(0.02)
            assert (await ask(one, of)).allowed

    async def test_another_cost_is_another_question(self, redis_server: RedisServer) -> None:
        """Whoever asks for less may be granted it, and so may another caller and another limit."""
        of, clock = limit(burst=5), ManualClock()
        async with limiter(redis_server.url, clock=clock) as one:
            await ask(one, of, cost=3)
            assert not (await ask(one, of, cost=3)).allowed
            assert not (await ask(one, of, limit("other"), cost=3)).allowed
            assert (await ask(one, of, cost=2)).allowed
            assert (await ask(one, of, key="issuer bob", cost=3)).allowed
            assert (await ask(one, limit("other"), cost=3)).allowed

    async def test_a_limit_of_the_same_name_with_more_room_is_asked_for(
        self, redis_server: RedisServer
    ) -> None:
        """During a deployment that changes numbers, a refusal under the old ones is not the new."""
        async with limiter(redis_server.url, clock=ManualClock()) as one:
            await ask(one, limit(burst=1))
            assert not (await ask(one, limit(burst=1))).allowed
            assert (await ask(one, limit(burst=9))).allowed
            assert not (await ask(one, limit(burst=1))).allowed

    async def test_what_is_remembered_of_several_limits_is_that_of_each(
        self, redis_server: RedisServer
    ) -> None:
        """A limit that did not refuse has nothing to wait for, and comes back at its rate."""
        empty = limit("empty", burst=1)
        full = limit("full", rate=1, per_seconds=2.0, burst=5)
        clock = ManualClock()
        async with limiter(redis_server.url, clock=clock) as one:
            await ask(one, empty)
            await ask(one, full, cost=3)
            first = await ask(one, full, empty)
            assert [state.retry_after_seconds > 0 for state in first.states] == [False, True]
            clock.advance(2.5)
            second = await ask(one, full, empty)
            assert [state.remaining for state in second.states] == [3, 0]
            assert [state.name for state in second.states] == ["full", "empty"]
            assert second.states[0].retry_after_seconds == 0
            assert second.states[1].retry_after_seconds == pytest.approx(
                first.states[1].retry_after_seconds - 2.5, abs=1e-5
            )

    async def test_only_so_many_are_remembered(self, redis_server: RedisServer) -> None:
        """A flood of refused callers takes no more memory; the oldest are asked for again."""
        of, clock = limit(burst=1), ManualClock()
        async with limiter(redis_server.url, clock=clock, timeout_seconds=5.0) as one:

            async def refused(number: int) -> None:
                asked = LimitRequest(limit=of, key=f"issuer {number}")
                await one.acquire([asked, asked])  # more than the burst, so it charges nothing

            for begin in range(0, 10_500, 500):
                await asyncio.gather(*(refused(begin + each) for each in range(500)))
            assert one.stats()["denials"] == 10_000
            redis_server.command("CONFIG", "RESETSTAT")
            await refused(10_499)
            assert scripts_run(redis_server) == 0
            await refused(0)
            assert scripts_run(redis_server) == 1
            assert one.stats()["denials"] == 10_000


class TestOneTrip:
    async def test_a_cached_token_costs_one_script_with_limits_and_revocations(
        self, redis_server: RedisServer
    ) -> None:
        """The limits of a call are all that Redis is asked for; revocations are followed."""
        issuer = LocalIssuer()
        limits = [
            limit("per subject", burst=100),
            limit("per issuer", burst=100),
        ]
        async with AsyncExitStack() as stack:
            link = open_link(redis_server.url)
            store = RedisRevocationStore(link, prefix="test")
            of_all = RedisRateLimiter(link, prefix="test")
            verifier = await stack.enter_async_context(
                Verifier(issuer.trusted(), revocations=store, limiter=of_all, limits=limits)
            )
            assert await store.wait_until_fresh(5)
            token = issuer.token()
            await verifier.verify(token)
            before = _foreground(redis_server)
            for _ in range(10):
                await verifier.verify(token)
            assert _foreground(redis_server) - before == 10
            for _ in range(89):
                await verifier.verify(token)
            with pytest.raises(RateLimited):
                await verifier.verify(token)
            refused_at = _foreground(redis_server)
            for _ in range(10):
                with pytest.raises(RateLimited):
                    await verifier.verify(token)
            assert _foreground(redis_server) == refused_at


def _foreground(server: RedisServer) -> int:
    """Buckets' scripts: what follows the log of revocations runs beside them."""
    return calls(server, "time")


class TestLimitsThatCannotBe:
    @pytest.mark.parametrize(
        "options",
        [
            {"fallback_share": 0},
            {"fallback_share": 1.1},
            {"fallback_share": float("nan")},
            {"fallback_share": "all"},
            {"timeout_seconds": 0},
            {"prefix": "{}"},
            {"secret": b"short"},
            {"leases": {"a": 0}},
            {"leases": {"a": 1.5}},
            {"max_keys": 0},
        ],
        ids=str,
    )
    def test_what_makes_no_sense_is_refused(self, options: dict[str, object]) -> None:
        """With a message, before anything is opened."""
        with pytest.raises(ConfigurationError):
            RedisRateLimiter(open_link("redis://127.0.0.1:1"), **options)  # type: ignore[arg-type] # that is the point

    @pytest.mark.parametrize("cost", [-1, 6, 1.0, True, "1", None])
    async def test_a_cost_that_is_none_charges_nothing(
        self, redis_server: RedisServer, cost: int
    ) -> None:
        """Neither alone nor beside one that is."""
        async with limiter(redis_server.url) as one:
            good = LimitRequest(limit=limit(), key="issuer alice")
            bad = LimitRequest(limit=limit(), key="issuer alice", cost=cost)
            for asked in ([bad], [good, bad]):
                with pytest.raises(ConfigurationError, match="cost"):
                    await one.acquire(asked)
            assert counted(redis_server) == []

    @pytest.mark.parametrize(
        "of",
        [
            limit(rate=1, per_seconds=1e12, burst=1_000_000),
            limit(rate=10**18, per_seconds=1.0, burst=10**18),
        ],
        ids=["centuries", "beyond counting"],
    )
    async def test_a_limit_that_cannot_be_counted_is_refused(
        self, redis_server: RedisServer, of: object
    ) -> None:
        """It is not counted wrongly instead."""
        async with limiter(redis_server.url) as one:
            with pytest.raises(ConfigurationError, match="burst"):
                await ask(one, of)  # type: ignore[arg-type] # a parameter

    async def test_the_finest_limits_are_counted(self, redis_server: RedisServer) -> None:
        """Whatever the rate, a burst is granted, and no more at once."""
        async with limiter(redis_server.url) as one:
            for rate, per_seconds in ((10**25, 1.0), (10**12, 1e-9), (1, 1e-9)):
                of = limit(f"{rate} {per_seconds}", rate=rate, per_seconds=per_seconds, burst=3)
                assert (await ask(one, of, cost=3)).states[0].remaining <= 3
                assert not (await ask(one, of, of, cost=2)).allowed
                decision = await ask(one, of, cost=3)
                assert (decision.allowed, decision.is_degraded) == (True, False)

    async def test_what_lacks_may_be_beyond_counting(self, redis_server: RedisServer) -> None:
        """One bucket many times in a call, whose sum is too large for a number: refused."""
        of = limit(per_seconds=1 / 3, burst=1)
        async with limiter(redis_server.url) as one:
            for _ in range(2):
                decision = await ask(one, *[of] * 10)
                assert (decision.allowed, decision.is_degraded) == (False, False)


async def test_a_lease_of_more_than_the_burst_is_refused(redis_server: RedisServer) -> None:
    """It could never be taken."""
    async with limiter(redis_server.url, leases={"slow": 6}) as one:
        with pytest.raises(ConfigurationError, match="lease of 6"):
            await ask(one, limit(burst=5))
        assert (await ask(one, limit(burst=6))).allowed
