"""A server that hangs, dies, forgets or refuses: counted by a share of the limit, and said so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import LimitDecision, LimitRequest, StateChange
from authkit.testing.contracts.concurrency import CANCEL_AFTER
from authkit_redis import RedisRateLimiter
from authkit_redis.limits.plans import Keys
from authkit_redis.link import open_link
from tests.redis.limiters import (
    PREFIX,
    ask,
    calls,
    counted,
    limit,
    limiter,
    scripts_run,
    until_exact,
)
from tests.redis.proxy import Proxy
from tests.redis.servers import RedisServer
from tests.redis.stores import elsewhere, until

pytestmark = pytest.mark.anyio

TIMEOUT = 0.1
SLACK_SECONDS = 1.0
"""What a shared machine may take for what is done at once."""

KEYS = Keys(PREFIX, None)
NEEDED = ("evalsha", "eval", "time", "get", "set", "info")


class Hammer:
    """Several tasks that call without a pause, until it is left.

    Attributes:
        allowed: how many calls were granted by Redis, and by the stand-in.
        slowest: the longest call, in seconds.
    """

    def __init__(self, of: RedisRateLimiter, request: LimitRequest, tasks: int = 20) -> None:
        self.allowed = {False: 0, True: 0}
        self.slowest = 0.0
        self._call: Callable[[], Awaitable[LimitDecision]] = lambda: of.acquire([request])
        self._number = tasks
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Hammer:
        self._tasks = [asyncio.create_task(self._go_on()) for _ in range(self._number)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled():
                task.result()

    async def _go_on(self) -> None:
        while True:
            begun = time.monotonic()
            decision = await self._call()
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.allowed[decision.is_degraded] += decision.allowed
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("harm", [pytest.param("freeze", marks=pytest.mark.full), "kill"])
async def test_an_outage_admits_no_more_than_is_stated(
    own_redis_server: RedisServer, harm: str
) -> None:
    """Two processes: the limit, and a share of it in each for as long as the outage lasts."""
    of = limit(burst=40, rate=40, per_seconds=1.0)
    request = LimitRequest(limit=of, key="issuer alice")
    seen: list[StateChange] = []
    options = {"timeout_seconds": TIMEOUT, "fallback_share": 0.1}
    async with (
        limiter(own_redis_server.url, **options) as one,
        limiter(own_redis_server.url, **options) as two,
    ):
        one.observe(seen.append)
        begun = time.monotonic()
        async with Hammer(one, request) as first, Hammer(two, request) as second:
            await asyncio.sleep(0.3)
            harmed_at = time.monotonic()
            getattr(own_redis_server, harm)()
            await asyncio.sleep(1.0)
            if harm == "freeze":
                own_redis_server.thaw()
            else:
                await elsewhere(own_redis_server.start)  # empty: what was counted is lost
            back_at = time.monotonic()
            for each in (one, two):
                await until_exact(each, of, key="issuer alice")
            recovered_at = time.monotonic()
            await asyncio.sleep(0.3)
        lasted = time.monotonic() - begun
        outage = recovered_at - harmed_at
        exact = first.allowed[False] + second.allowed[False]
        alone = first.allowed[True] + second.allowed[True]
        assert exact <= (1 + (harm == "kill")) * of.burst + of.rate * lasted
        assert 0 < alone <= 2 * 0.1 * (of.burst + of.rate * outage)
        assert max(first.slowest, second.slowest) < TIMEOUT + SLACK_SECONDS
        assert recovered_at - back_at < 1.0 + TIMEOUT + SLACK_SECONDS
        assert [change.new for change in seen] == ["degraded", "available"]


async def test_a_known_outage_costs_one_call_at_a_time_its_patience(
    redis_server: RedisServer,
) -> None:
    """Of a hundred tasks nobody waits but one, who tries whether Redis is there again."""
    timeout = 0.2
    async with limiter(redis_server.url, timeout_seconds=timeout) as one:
        await ask(one, limit())
        redis_server.freeze()
        assert (await ask(one, limit())).is_degraded
        await asyncio.sleep(0.11)  # the first pause
        begun = time.monotonic()

        async def took(number: int) -> float:
            await ask(one, limit(), key=f"issuer {number}")
            return time.monotonic() - begun

        times = sorted(await asyncio.gather(*map(took, range(100))))
        assert times[-1] >= timeout * 0.9
        assert sum(each >= timeout * 0.9 for each in times) == 1
        assert one.stats()["failures_total"] == 2


async def test_a_charge_whose_reply_is_lost_is_charged_once(redis_server: RedisServer) -> None:
    """It is counted as unknown, decided here, and never sent again."""
    async with (
        Proxy(redis_server.port) as proxy,
        limiter(proxy.url, timeout_seconds=TIMEOUT) as one,
    ):
        await ask(one, limit())
        redis_server.command("CONFIG", "RESETSTAT")
        proxy.is_silent = True
        decision = await ask(one, limit())
        assert (decision.allowed, decision.is_degraded) == (True, True)
        assert one.stats()["unknown_total"] == 1
        proxy.is_silent = False
        proxy.hang_up()
        assert scripts_run(redis_server) == 1
        assert calls(redis_server, "set") == 1
        await until_exact(one, limit())
        assert (await ask(one, limit(), cost=0)).states[0].remaining == 3


async def test_a_connection_cut_with_the_charge_done_is_charged_once(
    redis_server: RedisServer,
) -> None:
    """As above, for a reply that cannot come any more."""
    async with (
        Proxy(redis_server.port) as proxy,
        limiter(proxy.url, timeout_seconds=2.0) as one,
    ):
        await ask(one, limit())
        redis_server.command("CONFIG", "RESETSTAT")
        proxy.is_silent = True
        call = asyncio.create_task(ask(one, limit()))
        await until("charged", lambda: calls(redis_server, "set") == 1)
        proxy.is_silent = False
        proxy.hang_up()
        assert (await call).is_degraded
        assert one.stats()["unknown_total"] == 1
        await until_exact(one, limit())
        assert calls(redis_server, "set") == 1
        async with limiter(redis_server.url) as other:
            assert (await ask(other, limit(), cost=0)).states[0].remaining == 3


async def test_a_server_that_comes_back_empty_begins_anew(own_redis_server: RedisServer) -> None:
    """Its burst is there again, as is stated, and it counts exactly from there."""
    async with limiter(own_redis_server.url, timeout_seconds=TIMEOUT) as one:
        await ask(one, limit(), cost=5)
        await elsewhere(own_redis_server.restart)
        await until_exact(one, limit())
        granted = [(await ask(one, limit())).allowed for _ in range(7)]
        assert granted == [True] * 5 + [False] * 2


async def test_begins_without_redis_and_is_exact_at_once_when_it_comes(
    own_redis_server: RedisServer,
) -> None:
    """What failed at the start concerns everybody, and nobody longer than it lasts."""
    own_redis_server.kill()
    seen: list[StateChange] = []
    one = RedisRateLimiter(open_link(own_redis_server.url), prefix=PREFIX, timeout_seconds=TIMEOUT)
    one.observe(seen.append)
    async with one:
        assert [change.new for change in seen] == ["degraded"]
        assert (await ask(one, limit())).is_degraded
        await elsewhere(own_redis_server.start)
        assert await until_exact(one, limit()) < 1.0 + TIMEOUT + SLACK_SECONDS
        for _ in range(100):
            assert not (await ask(one, limit(), key="another", cost=0)).is_degraded
            if seen[-1].new != "degraded":
                break
            await asyncio.sleep(0.05)
        assert [change.new for change in seen] == ["degraded", "available"]


def readonly(server: RedisServer) -> None:
    server.command("REPLICAOF", "127.0.0.1", 1)


def full(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")


def no_longer_allowed(server: RedisServer) -> None:
    server.command("ACL", "SETUSER", "default", "-set")


def lacking_replicas(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "min-replicas-to-write", "1")


def well_again(server: RedisServer) -> None:
    server.command("REPLICAOF", "NO", "ONE")
    server.command("CONFIG", "SET", "maxmemory", "0", "min-replicas-to-write", "0")
    server.command("ACL", "SETUSER", "default", "+set")


@pytest.mark.parametrize(
    "harm", [readonly, full, no_longer_allowed, lacking_replicas], ids=lambda harm: harm.__name__
)
async def test_a_server_that_refuses_to_write_counts_nothing(
    redis_server: RedisServer, harm: Callable[[RedisServer], None]
) -> None:
    """It is an outage like any other, and ends like one; the charge was surely not made."""
    async with limiter(redis_server.url) as one:
        await ask(one, limit(burst=50))
        harm(redis_server)
        decision = await ask(one, limit(burst=50))
        assert (decision.allowed, decision.is_degraded) == (True, True)
        stats = one.stats()
        assert (stats["failures_total"], stats["unknown_total"]) == (1, 0)
        well_again(redis_server)
        await until_exact(one, limit(burst=50))
        assert (await ask(one, limit(burst=50))).states[0].remaining == 48


@pytest.mark.full
async def test_a_server_that_loads_its_data_is_waited_for(own_redis_server: RedisServer) -> None:
    """LOADING is no reason not to begin, and no answer."""
    one = own_redis_server
    one.command("EVAL", "for i = 1, 5000 do redis.call('SET', 'key' .. i, i) end", 0)
    one.command("SAVE")
    one.arguments += ["--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024"]
    one.kill()
    starting = asyncio.create_task(elsewhere(one.start))
    try:
        async with limiter(one.url, timeout_seconds=TIMEOUT) as limited:
            first = await ask(limited, limit())
            await starting
            await until_exact(limited, limit())
            assert first.is_degraded
    finally:
        await asyncio.wait([starting])


@pytest.mark.parametrize("lacking", NEEDED[:-1])
async def test_a_missing_permission_is_named_at_the_start(
    redis_server: RedisServer, lacking: str
) -> None:
    """Each command that the rules lack, whether others have loaded the scripts or not."""
    allowed = [f"+{command}" for command in NEEDED if command != lacking]
    url = redis_server.add_user(
        "authkit", f"~{{{PREFIX}:lim:*", "resetchannels", *allowed, password="s3cret"
    )
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=rf"(?i)\b{lacking}\b") as raised:
            async with limiter(url):
                pass
        assert "s3cret" not in str(raised.value)
        async with limiter(redis_server.url) as other:
            await ask(other, limit())


async def test_a_user_with_just_the_needed_rules_can_do_everything(
    redis_server: RedisServer,
) -> None:
    """One limit and several, leased ones, after a SCRIPT FLUSH too."""
    url = redis_server.add_user(
        "authkit",
        f"~{{{PREFIX}:lim:*",
        "resetchannels",
        *[f"+{command}" for command in NEEDED],
        password="s3cret",
    )
    async with limiter(url, leases={"hot": 3}) as one:
        for _ in range(2):
            for limits in ([limit()], [limit(), limit("two")], [limit("hot")]):
                decision = await ask(one, *limits)
                assert (decision.allowed, decision.is_degraded) == (True, False)
            redis_server.command("SCRIPT", "FLUSH")


@pytest.mark.parametrize("kind", ["list", "text", "a bucket of nonsense"])
async def test_foreign_data_under_a_key_concern_only_that_key(
    redis_server: RedisServer, kind: str
) -> None:
    """Its caller is counted here meanwhile, and it is no outage."""
    seen: list[StateChange] = []
    async with limiter(redis_server.url) as one:
        one.observe(seen.append)
        key = KEYS.of("slow", "issuer mallory")
        value = {"text": b"hello", "a bucket of nonsense": b"\xff" * 24}
        if kind == "list":
            redis_server.command("RPUSH", key, "x")
        else:
            redis_server.command("SET", key, value[kind])
        for _ in range(3):
            asked = [LimitRequest(limit=limit(burst=20), key="issuer mallory")]
            assert (await one.acquire(asked)).is_degraded
            assert (await one.acquire([*asked, *asked])).is_degraded
            decision = await ask(one, limit(burst=20), key="issuer alice")
            assert (decision.allowed, decision.is_degraded) == (True, False)
        assert seen == []
        redis_server.command("DEL", key)
        assert not (await ask(one, limit(burst=20), key="issuer mallory")).is_degraded


async def test_a_stand_in_without_room_says_so(redis_server: RedisServer) -> None:
    """It neither forgets a caller nor grants one uncounted."""
    async with limiter(redis_server.url, timeout_seconds=TIMEOUT, max_keys=2) as one:
        await ask(one, limit())
        redis_server.freeze()
        for number in range(2):
            assert (await ask(one, limit(), key=f"issuer {number}")).allowed
        with pytest.raises(BackendUnavailable):
            await ask(one, limit(), key="issuer 3")
        assert not (await ask(one, limit(), key="issuer 1")).allowed


async def test_two_event_loops_share_one_limiter(redis_server: RedisServer) -> None:
    """Calls from two threads, each with a loop of its own, are counted together.

    Each loop has its own lease, and what the one holds the other does without.
    """
    one = RedisRateLimiter(
        open_link(redis_server.url), prefix=PREFIX, timeout_seconds=5.0, leases={"hot": 5}
    )

    async def use() -> list[LimitDecision]:
        async with one:
            return [
                decision
                for _ in range(60)
                for decision in await asyncio.gather(
                    ask(one, limit(burst=50)), ask(one, limit("hot", burst=50))
                )
            ]

    both = await asyncio.gather(*(asyncio.to_thread(asyncio.run, use()) for _ in range(2)))
    decisions = [*both[0], *both[1]]
    assert not any(decision.is_degraded for decision in decisions)
    allowed = [each.states[0].name for each in decisions if each.allowed]
    assert allowed.count("slow") == 50
    assert 45 <= allowed.count("hot") <= 50


class TestCancelling:
    @pytest.mark.parametrize("leases", [{}, {"slow": 10}], ids=["exact", "leased"])
    async def test_a_cancelled_call_is_charged_once_or_not_at_all(
        self, redis_server: RedisServer, leases: dict[str, int]
    ) -> None:
        """Others who wait for the same refill get their calls, and the next one works."""
        of = limit(burst=1_000)
        async with limiter(redis_server.url, leases=leases, timeout_seconds=2.0) as one:
            granted = 0
            for moment in CANCEL_AFTER:
                victim = asyncio.create_task(ask(one, of))
                others = [asyncio.create_task(ask(one, of)) for _ in range(3)]
                if isinstance(moment, float):
                    await asyncio.sleep(moment)
                else:
                    for _ in range(moment):
                        await asyncio.sleep(0)
                victim.cancel()
                await asyncio.wait([victim, *others])
                granted += sum(task.result().allowed for task in others)
                assert victim.cancelled() or victim.result().allowed
            assert granted == 3 * len(CANCEL_AFTER)
            used = 1_000 - (await ask(one, of, cost=0)).states[0].remaining
            assert granted <= used <= 4 * len(CANCEL_AFTER) + 10 * bool(leases)
            assert len(counted(redis_server)) == 1
