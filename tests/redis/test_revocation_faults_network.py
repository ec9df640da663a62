"""A network that swallows and delays, and callers that go away or come all at once.

No answer is ever that of another question, and no connection is lost for a caller's sake.
"""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from authkit.errors import BackendUnavailable
from authkit.testing.contracts.concurrency import CANCEL_AFTER, cancelled_with
from authkit_redis import RedisRevocationStore
from tests.redis.proxy import Proxy
from tests.redis.servers import RedisServer
from tests.redis.stores import (
    LIVE,
    NO_PROOF,
    REVOKED,
    STALENESS,
    Watch,
    asking,
    facts,
    lift,
    opened,
    revocation,
    revoke,
    revoke_at_last,
    until,
    verdict,
    verdicts,
)

pytestmark = pytest.mark.anyio

MANY = 5_000


def answer_for(number: int) -> str:
    """Every other token is revoked."""
    return LIVE if number % 2 else REVOKED


async def is_right(store: RedisRevocationStore, number: int) -> bool:
    """Whether a request is answered as it must be; True where there is a proof."""
    said = await verdict(store, number)
    assert said in (answer_for(number), NO_PROOF)
    return said != NO_PROOF


@pytest.mark.full
async def test_half_a_reply_and_then_silence(redis_server: RedisServer) -> None:
    """A reply that breaks off is none; the connection is given up, and all goes on on another."""
    async with (
        Proxy(redis_server.port) as proxy,
        opened(proxy.url) as store,
        asking(proxy.url) as direct,
    ):
        await revoke(store, range(0, 10, 2))
        await until("settled", lambda: is_right(direct, 1))
        for _ in range(3):
            proxy.halves = 3
            assert not all([await is_right(direct, number) for number in range(10)])
            await until("asked again", lambda: is_right(direct, 1))
            await until("fresh", lambda: store.is_fresh)
            for number in range(10):
                await until("right again", lambda: is_right(direct, number))  # noqa: B023
                assert await is_right(store, number)


@pytest.mark.full
async def test_silence_is_stale_within_the_bound(redis_server: RedisServer) -> None:
    """A network that loses every packet, with all connections open, is like a dead server."""
    async with Proxy(redis_server.port) as proxy, opened(proxy.url) as store:
        await revoke(store, [1])
        proxy.is_silent = True
        silent_at = time.monotonic()
        async with Watch([store], ["another"]) as live:
            async with opened(redis_server.url) as other:
                await revoke(other, [2])  # which the store cannot hear of
            async with Watch([store], [2]) as missed:
                await asyncio.sleep(2.5 * STALENESS)
        assert live.said(since=silent_at + STALENESS) == {NO_PROOF}
        assert missed.said(since=silent_at + STALENESS) == {NO_PROOF}
        assert await verdict(store, 1) == REVOKED
        proxy.is_silent = False
        await until("fresh again", lambda: store.is_fresh)
        assert await verdict(store, 2) == REVOKED


async def test_a_reply_after_its_deadline_is_nobodys(redis_server: RedisServer) -> None:
    """Replies that come too late, again and again, never answer a later question."""
    async with (
        Proxy(redis_server.port) as proxy,
        opened(proxy.url) as store,
        asking(proxy.url) as direct,
    ):
        await revoke(store, range(0, 40, 2))
        await until("settled", lambda: is_right(direct, 1))
        choices = random.Random(7)  # each delay is before or after the deadline of 0.1 s
        proven = 0
        for _ in range(15):
            proxy.delay_seconds = choices.choice((0.0, 0.05, 0.09, 0.11, 0.15))
            numbers = choices.sample(range(40), 20)
            proven += sum(await asyncio.gather(*(is_right(direct, each) for each in numbers)))
            for number in numbers[:3]:
                await is_right(direct, number)
                await is_right(store, number)
        assert proven < 15 * 20, "no reply came too late"
        proxy.delay_seconds = 0.0
        await until("in time again", lambda: is_right(direct, 1))
        assert direct.stats()["link_timeouts_total"] > 0


@pytest.mark.full
async def test_a_receipt_that_comes_too_late_is_none(redis_server: RedisServer) -> None:
    """A revocation whose reply is late may be kept; done again it is kept once more, not lost."""
    async with Proxy(redis_server.port) as proxy, opened(proxy.url) as store:
        proxy.delay_seconds = 1.2
        with pytest.raises(BackendUnavailable):
            await store.revoke(revocation(1))
        proxy.delay_seconds = 0.0
        await revoke_at_last(store, 1)
        await until("fresh again", lambda: store.is_fresh)
        assert await verdict(store, 1) == REVOKED


@pytest.mark.full
async def test_connections_that_break_under_load(redis_server: RedisServer) -> None:
    """Broken off at random among questions and revocations: every answer is right or none."""
    choices = random.Random(11)
    async with (
        Proxy(redis_server.port) as proxy,
        opened(proxy.url) as store,
        asking(proxy.url) as direct,
    ):
        await revoke(store, range(0, 40, 2))
        for turn in range(20):
            calls = [is_right(direct, choices.randrange(40)) for _ in range(50)]
            calls.append(_is_kept(store, 100 + 2 * turn))
            asyncio.get_running_loop().call_later(choices.uniform(0, 0.01), proxy.hang_up)
            await asyncio.gather(*calls)
            await revoke_at_last(store, 100 + 2 * turn)
        await until("fresh again", lambda: store.is_fresh)
        assert await verdicts(store, range(100, 140, 2)) == {REVOKED}


async def _is_kept(store: RedisRevocationStore, number: int) -> bool:
    try:
        await store.revoke(revocation(number))
    except BackendUnavailable:
        return False
    return True


@pytest.mark.full
@pytest.mark.parametrize("call", ["find", "revoke", "lift", "subscribe", "enter"])
async def test_a_call_that_is_cancelled_costs_nobody_anything(
    redis_server: RedisServer, call: str
) -> None:
    """At whichever await: the others' answers are right and in time, the connection stays."""
    async with asking(redis_server.url) as direct, opened(redis_server.url) as store:
        await revoke(store, range(0, 40, 2))
        await until("settled", lambda: is_right(direct, 1))
        before = direct.stats()
        tokens = iter(range(1_000))

        async def listen() -> None:
            await anext(store.subscribe())

        async def enter() -> None:
            async with opened(redis_server.url):
                pass

        async def neighbour() -> None:
            for _ in range(5):
                await is_right(direct, next(tokens) % 40)

        victims = {
            "find": lambda: direct.find(facts(1)),
            "revoke": lambda: direct.revoke(revocation("victim")),
            "lift": lambda: lift(direct, "victim"),
            "subscribe": listen,
            "enter": enter,
        }
        for moment in CANCEL_AFTER:
            for is_first in (False, True):
                await cancelled_with(5.0, victims[call], neighbour, moment, is_first=is_first)
        after = direct.stats()
        assert after["link_disconnects_total"] == before["link_disconnects_total"] == 0
        assert after["link_connects_total"] == 1
        assert after["link_in_flight"] == 0
        for number in range(40):
            assert await is_right(direct, number)
        await until("fresh", lambda: store.is_fresh)
        assert store.stats()["link_disconnects_total"] == 0


@pytest.mark.full
async def test_five_thousand_questions_at_once(redis_server: RedisServer) -> None:
    """Of a store that must ask: each is answered rightly, over the one connection."""
    options = {"max_staleness_seconds": 20.0}
    async with (
        opened(redis_server.url, **options) as store,
        asking(redis_server.url, **options) as direct,
    ):
        await revoke(store, range(0, 100, 2))
        await until("settled", lambda: is_right(direct, 1))
        proven = await asyncio.gather(*(is_right(direct, number % 100) for number in range(MANY)))
        assert len(proven) == MANY
        assert any(proven)
        assert direct.stats()["link_connects_total"] == 1
        assert await is_right(direct, 1)


@pytest.mark.full
async def test_five_thousand_revocations_at_once(redis_server: RedisServer) -> None:
    """Whoever got a receipt can rely on it; who got none revokes again; nothing is missing."""
    async with opened(redis_server.url) as store, opened(redis_server.url) as other:
        kept = await asyncio.gather(*(_is_kept(store, number) for number in range(MANY)))
        for number, is_kept in enumerate(kept):
            if not is_kept:
                await revoke_at_last(store, number)
        await until("known to all", lambda: other.stats()["entries"] == MANY)
        await until("fresh again", lambda: store.is_fresh and other.is_fresh)
        assert await verdicts(other, range(MANY)) == {REVOKED}
        assert await verdict(other, "another") == LIVE
        assert other.stats()["forks_total"] == 0
