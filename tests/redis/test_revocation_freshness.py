"""What a question costs, what a store says of itself, and what it does where nothing is proven."""

from __future__ import annotations

import asyncio
import math
import struct
import time

import pytest

from authkit import Verifier
from authkit.testing import AssertingAuditSink, LocalIssuer
from authkit_redis import RedisRevocationStore
from authkit_redis.revocations import following
from authkit_redis.revocations.digests import Digests
from authkit_redis.revocations.entries import Entry, entry_of, pack_id
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.table import RevocationTable
from tests.redis.servers import RedisServer
from tests.redis.stores import (
    LIVE,
    PREFIX,
    REVOKED,
    STALENESS,
    asking,
    facts,
    lift,
    opened,
    revocation,
    revoke,
    until,
    verdict,
    verdicts,
)

pytestmark = pytest.mark.anyio

KEYS = RevocationKeys(PREFIX)
MANY = 10_000


def calls_of(server: RedisServer, command: str) -> int:
    """How often a command was executed, in a script or by itself, as Redis counts it."""
    line = server.info("commandstats").get(f"cmdstat_{command}")
    return int(line.split(",")[0].removeprefix("calls=")) if line else 0


async def test_questions_of_a_fresh_store_cost_no_command(redis_server: RedisServer) -> None:
    """Redis counts no GET for ten thousand of them, and one for each id that it is asked about."""
    async with opened(redis_server.url) as store, asking(redis_server.url) as direct:
        await revoke(store, range(0, 10, 2))
        tokens = [facts(number) for number in range(10)]
        redis_server.command("CONFIG", "RESETSTAT")
        for turn in range(MANY):
            found = await store.find(tokens[turn % 10])
            assert (found is None) == bool(turn % 2)
            if turn % 500 == 0:
                await asyncio.sleep(STALENESS / 20)  # heartbeats go on meanwhile
        assert calls_of(redis_server, "evalsha") > 10
        assert calls_of(redis_server, "get") == calls_of(redis_server, "mget") == 0
        assert store.stats()["asked_total"] == 0
        assert await verdict(direct, 0) == REVOKED
        assert calls_of(redis_server, "get") == 7  # a token has an id of every scope


async def test_a_question_of_a_fresh_store_waits_for_nothing(redis_server: RedisServer) -> None:
    """It ends without giving way to anybody, so nothing can have been sent for it."""
    async with opened(redis_server.url) as store:
        sent = store.stats()["link_calls_total"]
        for number in range(1_000):
            call = store.find(facts(number))
            with pytest.raises(StopIteration) as ended:
                call.send(None)
            assert ended.value.value is None
        assert store.stats()["link_calls_total"] == sent


async def test_another_process_learns_within_the_bound(redis_server: RedisServer) -> None:
    """`effective_at` is the bound; a process that follows knows long before."""
    url, options = redis_server.url, {"max_staleness_seconds": 2.0}
    async with opened(url, **options) as one, opened(url, **options) as other:
        heard = other.subscribe()
        (receipt,) = await revoke(one, [1])
        told = await asyncio.wait_for(anext(heard), 2.0)
        assert told.scope is receipt.revocation.scope
        assert told.issuer == receipt.revocation.issuer
        assert await verdict(other, 1) == REVOKED
        await lift(one, 1)
        await until("lifted", lambda: _is_live(other, 1), timeout_seconds=3.0)


async def _is_live(store: RedisRevocationStore, number: int) -> bool:
    return await verdict(store, number) == LIVE


@pytest.mark.full
async def test_wait_until_fresh_waits_no_longer_than_asked(own_redis_server: RedisServer) -> None:
    """It says whether it is, at once where it is, and soon after it became so."""
    async with opened(own_redis_server.url) as store:
        assert await store.wait_until_fresh(10)
        assert await store.wait_until_fresh(0.0)
        own_redis_server.freeze()
        await until("stale", lambda: not store.is_fresh)
        assert not await store.wait_until_fresh(0.05)
        waiting = asyncio.create_task(store.wait_until_fresh(20))
        await asyncio.sleep(0.05)
        own_redis_server.thaw()
        assert await waiting
    assert not store.is_fresh
    assert not await store.wait_until_fresh(0.05)  # nobody follows any more


async def test_stats_tell_what_it_holds(redis_server: RedisServer) -> None:
    """Entries, liftings, what was asked and proven, and how old the last proof is."""
    async with asking(redis_server.url) as store:
        assert "age_seconds" not in store.stats()
        async with store:
            await revoke(store, range(3))
            await lift(store, 2)
            assert await store.wait_until_fresh(10)
            feed = store.subscribe()
            stats = store.stats()
            assert stats["entries"] == 2
            assert stats["liftings"] == 1
            assert stats["revoked_total"] == 3
            assert stats["lifted_total"] == 1
            assert stats["subscribers"] == 1
            assert stats["is_fresh"] == 1
            assert 0 <= stats["age_seconds"] < STALENESS
            assert all(math.isfinite(value) for value in stats.values())
            await feed.aclose()
        assert store.stats()["is_fresh"] == 0
        assert await verdicts(store, range(2)) == {REVOKED}


async def test_a_lifetime_of_centuries_ends_nothing_too_soon(redis_server: RedisServer) -> None:
    """An end that does not fit into the log is the furthest that does."""
    options = {"max_token_lifetime_seconds": 5e9}
    async with (
        opened(redis_server.url, **options) as one,
        opened(redis_server.url, **options) as other,
    ):
        await revoke(one, [1, 2])
        await lift(one, 2)
        await until("lifted", lambda: other.stats()["liftings"] == 1)
        assert await verdict(other, 1) == REVOKED
        assert await verdict(other, 2) == LIVE
        redis_server.command("FLUSHALL")
        await until("written back", lambda: redis_server.command("XLEN", KEYS.log) >= 2)
        async with opened(redis_server.url, **options) as later:
            assert await later.wait_until_fresh(10)
            await until("known", lambda: later.stats()["entries"] == 1)
            assert await verdict(later, 1) == REVOKED
            assert await verdict(later, 2) == LIVE


@pytest.mark.parametrize("seconds_over", [1_000, 200, -100])
async def test_the_log_gives_back_what_is_over(
    redis_server: RedisServer, seconds_over: int
) -> None:
    """The oldest entries go with each revocation, once they are surely over; no live one does."""
    digests, end = Digests(None), b"0-0"
    for number in range(20):
        given = revocation(number)
        entry = entry_of(given, digests.hash(given.scope, given.issuer, given.id))
        expires_at = int(time.time()) - seconds_over
        payload = entry.what + struct.pack(">I", expires_at) + pack_id(end) + bytes(6)
        end = redis_server.command("XADD", KEYS.log, "*", "v", payload)
    async with opened(redis_server.url) as store:
        await revoke(store, ["one", "other"])
        left = redis_server.command("XLEN", KEYS.log)
        if seconds_over < 300:  # 120 s for which it is answered, and some for other clocks
            assert left == 22
        else:
            assert left < 10
        assert await verdicts(store, range(20)) == {LIVE if seconds_over > 120 else REVOKED}
        async with opened(redis_server.url) as later:
            assert await later.wait_until_fresh(10)
            assert await verdicts(later, ["one", "other"]) == {REVOKED}


@pytest.mark.full
async def test_failing_open_is_warned_of_and_recorded(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Whom nobody can tell from the revoked is let in; when it began and ended is on record."""
    issuer = LocalIssuer()
    sink = AssertingAuditSink()
    async with asking(own_redis_server.url, insecure_fail_open=True) as store:
        verifier = Verifier(
            issuer.trusted(),
            revocations=store,
            audit=sink,
        )
        async with verifier:
            assert "insecure_fail_open" in caplog.text
            await revoke(store, [1])
            own_redis_server.freeze()
            await sink.wait_for(
                type="backend.state_changed",
                code="revocations_unproven",
                data={"old": "available", "new": "open"},
                timeout_seconds=10,
            )
            assert await verdict(store, "another") == LIVE
            assert await verdict(store, 1) == REVOKED  # what it knows it refuses all the same
            assert store.stats()["unproven_total"] >= 1
            own_redis_server.thaw()
            await sink.wait_for(
                type="backend.state_changed",
                data={"old": "open", "new": "available"},
                timeout_seconds=10,
            )


async def test_the_server_is_looked_at_again_while_it_is_followed(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A policy that is changed later is reported, and so is a permission that is missing later."""
    monkeypatch.setattr(following, "_CHECKED_EVERY_SECONDS", 0.02)
    url = redis_server.add_user("authkit", "+@all", "~*", password="s3cret")
    states: list[str] = []
    async with opened(url) as store:
        store.observe(lambda change: states.append(change.new))
        redis_server.command("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "allkeys-lru")
        await until("reported", lambda: states == ["evicting"])
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await until("reported", lambda: states == ["evicting", "available"])
        redis_server.command("ACL", "SETUSER", "authkit", "-xtrim")
        await until("logged", lambda: "XTRIM" in caplog.text)
        assert await verdict(store, 1) == LIVE
        redis_server.command("ACL", "SETUSER", "authkit", "+@all")
        redis_server.command("CLIENT", "KILL", "TYPE", "normal")  # which nobody needs to hear of
        await until("fresh", lambda: store.is_fresh)


async def test_following_survives_a_fault_of_its_own(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is raised, the replica grows stale and says so, and goes on afterwards."""

    def broken(self: RevocationTable, entry: Entry) -> bool:
        raise ZeroDivisionError

    async with opened(redis_server.url) as store, asking(redis_server.url) as direct:
        with monkeypatch.context() as patch:
            patch.setattr(RevocationTable, "apply", broken)
            await revoke(direct, [1])
            await until("noted", lambda: "a fault of authkit" in caplog.text)
            await until("stale", lambda: not store.is_fresh)
            assert await verdict(store, 1) == REVOKED  # by Redis itself
        await until("fresh again", lambda: store.is_fresh)
        assert store.stats()["entries"] == 1
