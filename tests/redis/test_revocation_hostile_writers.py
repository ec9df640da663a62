"""What somebody forges under the prefix neither hides what is revoked later nor stops anybody."""

from __future__ import annotations

import asyncio
import logging
import struct
import time

import pytest

from authkit.errors import BackendUnavailable
from authkit.interfaces import Revocation, RevocationScope, StateChange
from authkit_redis import RedisRevocationStore
from authkit_redis.revocations import following
from authkit_redis.revocations.digests import Digests, issuer_tag
from authkit_redis.revocations.keys import RevocationKeys
from tests.redis.servers import RedisServer
from tests.redis.stores import (
    LIVE,
    NO_PROOF,
    PREFIX,
    REVOKED,
    STALENESS,
    asking,
    facts,
    opened,
    revocation,
    revoke,
    until,
    verdict,
    verdicts,
)

pytestmark = pytest.mark.anyio

KEYS = RevocationKeys(PREFIX)
DIGESTS = Digests(None)
LATEST = (1 << 48) - 1
FOREVER_MS = (1 << 63) - 1
ONE, OTHER = b"1" * 16, b"2" * 16


def digest_of(given: Revocation) -> bytes:
    return DIGESTS.hash(given.scope, given.issuer, given.id)


def forged(given: Revocation, first: int, stamp: int) -> bytes:
    """An entry of the log without a value, as it is laid out; `first` is its kind and scope."""
    what = bytes([first]) + digest_of(given) + issuer_tag(given.issuer)
    end = struct.pack(">I", int(time.time()) + 86_400)
    return what + end + bytes(10) + struct.pack(">HI", stamp >> 32, stamp & 0xFFFFFFFF)


async def test_a_forged_lifting_of_the_future_does_not_undo_what_is_revoked_later(
    redis_server: RedisServer,
) -> None:
    """It counts as another program's, in a process that follows and in one that begins."""
    async with opened(redis_server.url) as one, opened(redis_server.url) as other:
        redis_server.command("XADD", KEYS.log, "*", "v", forged(revocation(1), 0x21, LATEST))
        await until("told apart", lambda: other.stats()["foreign_entries_total"] == 1)
        assert other.stats()["liftings"] == 0
        receipt = await one.revoke(revocation(1))
        await until("known", lambda: says(other, 1, REVOKED))
        assert time.time() <= receipt.effective_at
        async with opened(redis_server.url) as later:
            assert await later.wait_until_fresh(5)
            assert await verdict(later, 1) == REVOKED
            assert later.stats()["foreign_entries_total"] == 1


@pytest.mark.parametrize("first", [0x12, 0x13, 0x17], ids=["session", "subject", "key"])
async def test_a_forged_scope_does_not_hide_what_is_revoked_later(
    redis_server: RedisServer, first: int
) -> None:
    """An entry with the hash of a token's id that says the id is another kind's."""
    payload = forged(revocation(1), first, round(time.time() * 1000))
    if first == 0x13:
        payload += b"\xff" + bytes(7)  # as revocations of subjects have it
    async with opened(redis_server.url) as one, opened(redis_server.url) as other:
        redis_server.command("XADD", KEYS.log, "*", "v", payload)
        await revoke(one, [1, 2])
        await until("known", lambda: says(other, 2, REVOKED))
        for store in (one, other):
            assert await store.wait_until_fresh(5)
            assert await verdict(store, 1) == REVOKED
        async with opened(redis_server.url) as later:
            assert await later.wait_until_fresh(5)
            assert await verdict(later, 1) == REVOKED
            assert later.stats()["foreign_entries_total"] == 1


async def says(store: RedisRevocationStore, number: int | str, expected: str) -> bool:
    return await verdict(store, number) == expected


async def test_a_point_that_was_made_to_last_for_ever_does_not_stop_the_write_back(
    redis_server: RedisServer,
) -> None:
    """An id whose point somebody has prepared is revoked, and lost and written back with all."""
    poisoned = Revocation(
        scope=RevocationScope.SUBJECT, issuer=revocation(1).issuer, id="subject-poisoned"
    )
    token = facts("another", subject="subject-poisoned")
    async with opened(redis_server.url) as store:
        await revoke(store, range(30))
        point = KEYS.point(digest_of(poisoned))
        redis_server.command("SET", point, "1:aaaaaaaa", "PXAT", FOREVER_MS)
        receipt = await store.revoke(poisoned)
        assert receipt.revocation.expires_at is not None
        assert receipt.revocation.expires_at < time.time() + 3 * store.max_token_lifetime_seconds
        redis_server.command("FLUSHALL")
        await until("written back", lambda: redis_server.command("XLEN", KEYS.log) == 31)
        async with opened(redis_server.url) as later:
            assert await later.wait_until_fresh(5)
            assert await verdicts(later, range(30)) == {REVOKED}
            assert await later.find(token) is not None
            assert await verdict(later, "another") == LIVE


async def test_who_was_refused_for_its_secret_stays_refused(redis_server: RedisServer) -> None:
    """Also once the server has forgotten whose secret it was: it locks nobody out."""
    async with opened(redis_server.url, secret=OTHER) as refused:
        await revoke(refused, ["its own"])
        redis_server.command("HSET", KEYS.head, "check", Digests(ONE).check)
        await until("refused", lambda: not refused.is_fresh)
        async with opened(redis_server.url, secret=ONE) as store:
            await revoke(store, [1])
            for _ in range(5):
                redis_server.command("FLUSHALL")
                await until("claimed again", lambda: is_claimed(redis_server))
                assert not refused.is_fresh
            await until("written back", lambda: redis_server.command("XLEN", KEYS.log) > 0)
            await until("fresh", lambda: says(store, 2, LIVE))
            assert await verdict(store, 1) == REVOKED
            assert await verdict(refused, 2) == NO_PROOF
            await revoke(store, [3])


def is_claimed(server: RedisServer) -> bool:
    check = server.command("HGET", KEYS.head, "check")
    assert check in (None, Digests(ONE).check)
    return check is not None


async def test_a_sign_of_repair_that_never_ends_keeps_nobody_waiting(
    redis_server: RedisServer,
) -> None:
    """Who writes back says so for some seconds: without an end it is of somebody else."""
    async with opened(redis_server.url) as store, asking(redis_server.url) as direct:
        await revoke(store, [1])
        redis_server.command("SET", KEYS.repair, "1")
        async with opened(redis_server.url) as later:
            assert await later.wait_until_fresh(5)
            assert await verdict(later, 1) == REVOKED
            assert await verdict(later, 2) == LIVE
        assert await verdict(direct, 2) == LIVE


LOST = "redis.call('FLUSHALL') redis.call('XADD', KEYS[1], ARGV[1], 'a', 'b')"


@pytest.mark.parametrize("is_lost", [False, True], ids=["at the end", "in the place of the log"])
async def test_an_id_of_the_far_future_does_not_stop_who_follows(
    redis_server: RedisServer, is_lost: bool
) -> None:
    """The log's ids go on from there; a replica goes on too, and so does one that begins."""
    id = f"{LATEST + 1}-0"
    async with opened(redis_server.url) as store:
        await revoke(store, [1])
        if is_lost:
            redis_server.command("EVAL", LOST, 1, KEYS.log, id)
        else:
            redis_server.command("XADD", KEYS.log, id, "a", "b")
        await until("seen", lambda: store.stats()["foreign_entries_total"] >= 1)
        await until("complete", lambda: redis_server.command("XLEN", KEYS.log) == 2)
        await asyncio.sleep(STALENESS)  # nothing of before proves anything now
        await until("fresh again", lambda: store.is_fresh)
        assert await verdict(store, 1) == REVOKED
        assert await verdict(store, 2) == LIVE
        async with opened(redis_server.url) as later:
            assert await later.wait_until_fresh(5)
            assert await verdict(later, 1) == REVOKED


async def test_a_server_that_takes_nothing_more_is_told_of(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, as a state: it answers as before; and once more when it can be written to again."""
    monkeypatch.setattr(following, "_CHECKED_EVERY_SECONDS", 0.02)
    caplog.set_level(logging.INFO, logger="authkit")
    changes: list[StateChange] = []
    async with opened(redis_server.url) as store:
        await revoke(store, [1])
        await until("fresh", lambda: store.is_fresh)
        caplog.clear()
        store.observe(changes.append)
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1")
        await until("told", lambda: bool(changes))
        with pytest.raises(BackendUnavailable, match="full"):
            await store.revoke(revocation(2))
        await asyncio.sleep(0.2)  # many checks
        assert await verdict(store, 1) == REVOKED
        assert await verdict(store, 3) == LIVE
        assert [message for message in caplog.messages if "OOM" in message] == caplog.messages
        assert len(caplog.messages) == 1
        redis_server.command("CONFIG", "SET", "maxmemory", "0")
        await until("told again", lambda: len(changes) >= 2)
        await revoke(store, [2])
    assert [(change.new, change.code) for change in changes] == [
        ("unwritable", "revocations_unwritable"),
        ("available", None),
    ]


async def test_entering_by_two_tasks_at_once_leaves_nothing_behind(
    redis_server: RedisServer,
) -> None:
    """It follows until both have left, and then no task does anything any more."""
    before = asyncio.all_tasks()
    async with asking(redis_server.url) as store:
        await asyncio.gather(store.__aenter__(), store.__aenter__())
        await store.__aexit__(None, None, None)
        await asyncio.sleep(STALENESS)
        await until("fresh", lambda: store.is_fresh)
        await store.__aexit__(None, None, None)
        assert not store.is_fresh
    await until("all ended", lambda: asyncio.all_tasks() <= before, timeout_seconds=2)
