"""Of a revocation and a lifting of one id the later one counts, whoever writes it, and wherever."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import pytest

from authkit.clock import SystemClock
from authkit.revocations import EarliestTime
from authkit_redis import RedisRevocationStore
from authkit_redis.link import open_link
from authkit_redis.revocations.digests import Digests
from authkit_redis.revocations.entries import entry_of
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.writer import Writer
from tests.redis.servers import RedisServer
from tests.redis.stores import (
    LIVE,
    PREFIX,
    REVOKED,
    asking,
    facts,
    lift,
    opened,
    revocation,
    revoke,
    until,
    verdict,
)

pytestmark = pytest.mark.anyio

KEYS = RevocationKeys(PREFIX)
DIGESTS = Digests(None)


def snapshot(server: RedisServer) -> Callable[[], None]:
    """What the server holds now; to call it is to lose all that was written since."""
    kept = [
        (name, max(0, server.command("PTTL", name)), server.command("DUMP", name))
        for name in server.command("KEYS", "*")
    ]

    def lose() -> None:
        server.command("FLUSHALL")
        for name, life_ms, dumped in kept:
            server.command("RESTORE", name, life_ms, dumped)

    return lose


async def test_a_revocation_made_again_outlives_an_older_lifting_that_comes_back(
    redis_server: RedisServer,
) -> None:
    """The server lost the lifting, one process knows it, and another one has revoked again."""
    async with asking(redis_server.url) as knows, asking(redis_server.url) as revokes:
        async with knows:
            await revoke(knows, [1])
            lose = snapshot(redis_server)
            await lift(knows, 1)
            assert await verdict(knows, 1) == LIVE
        lose()
        await revoke(revokes, [1])
        async with knows:  # now it learns of the loss
            await until("revoked again", lambda: is_revoked(knows))
            await until("fresh", lambda: knows.is_fresh)
            assert await verdict(revokes, 1) == REVOKED
            async with opened(redis_server.url) as later:
                assert await later.wait_until_fresh(5)
                assert await verdict(later, 1) == REVOKED


async def is_revoked(store: RedisRevocationStore) -> bool:
    return await verdict(store, 1) == REVOKED


@pytest.mark.parametrize("age_ms", [-60_000, 60_000], ids=["an older one", "a later one"])
async def test_a_lifting_that_is_written_back_counts_if_it_is_the_later_one(
    redis_server: RedisServer, age_ms: int
) -> None:
    """For the point that answers directly, and for a process that reads the log."""
    async with opened(redis_server.url) as store, asking(redis_server.url) as direct:
        await revoke(store, [1])
        length = redis_server.command("XLEN", KEYS.log)
        await write_back_lifting(redis_server, round(time.time() * 1000) + age_ms)
        is_late = age_ms < 0
        expected = REVOKED if is_late else LIVE
        assert redis_server.command("XLEN", KEYS.log) == length + (not is_late)
        await until("settled", lambda: direct_says(direct, expected))
        await until("known", lambda: direct_says(store, expected))
        # And who revokes now is heard, by all, whatever the clock of the lifting was.
        await revoke(direct, [1])
        await until("revoked", lambda: direct_says(store, REVOKED))
        assert await verdict(direct, 1) == REVOKED


async def direct_says(store: RedisRevocationStore, expected: str) -> bool:
    return await verdict(store, 1) == expected


async def write_back_lifting(server: RedisServer, stamp: int) -> None:
    """As a process does that knows it, of what the server lacks."""
    given = revocation(1)
    digest = DIGESTS.hash(given.scope, given.issuer, given.id)
    lifting = entry_of(given, digest, is_lifted=True)
    entry = lifting._replace(stamp=stamp, expires_at=math.ceil(time.time()) + 600)
    async with open_link(server.url) as link:
        earliest = EarliestTime(SystemClock(), 90_000.0)
        writer = Writer(link, KEYS, DIGESTS.check, earliest, 90_000.0)
        await writer.restore([entry], 0.01, 1.0)


async def test_a_revocation_from_another_event_loop_holds_when_the_call_returns(
    redis_server: RedisServer,
) -> None:
    """In both loops, also for tokens that were asked for before; subscribers at home hear it."""
    async with opened(redis_server.url) as store:
        heard = store.subscribe()
        numbers = range(20)
        tokens = [facts(number) for number in numbers]

        async def in_another_loop() -> list[bool]:
            held = []
            for number, token in zip(numbers, tokens, strict=True):
                assert await store.find(token) is None
                await store.revoke(revocation(number))
                held.append(await store.find(token) is not None)
            return held

        assert await asyncio.to_thread(asyncio.run, in_another_loop()) == [True] * len(numbers)
        assert all([await store.find(token) is not None for token in tokens])
        missing = {revocation(number).id for number in numbers}
        async with asyncio.timeout(5):
            while missing:  # the log may tell of one before, by its hash
                missing.discard((await anext(heard)).id)
