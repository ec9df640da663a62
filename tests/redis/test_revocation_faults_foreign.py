"""Another program's data under the prefix, or another secret: told from what is authkit's."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit_redis import RedisRevocationStore
from authkit_redis.revocations.digests import Digests
from authkit_redis.revocations.keys import RevocationKeys
from tests.redis.servers import RedisServer
from tests.redis.stores import (
    LIVE,
    NO_PROOF,
    PREFIX,
    REVOKED,
    STALENESS,
    asking,
    opened,
    revocation,
    revoke,
    until,
    verdict,
    verdicts,
)

pytestmark = pytest.mark.anyio

KEYS = RevocationKeys(PREFIX)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("log", ("SET", "1")),
        ("log", ("HSET", "a", "1")),
        ("head", ("SET", "1")),
        ("head", ("LPUSH", "1")),
        ("issuers", ("SET", "1")),
    ],
    ids=str,
)
async def test_another_programs_key_is_reported_at_the_start(
    redis_server: RedisServer, key: str, words: tuple[str, ...]
) -> None:
    """A key of the store's that is of another kind; nothing of it is changed."""
    name = getattr(KEYS, key)
    redis_server.command(words[0], name, *words[1:])
    kind = redis_server.command("TYPE", name)
    with pytest.raises(ConfigurationError, match="another program"):
        async with opened(redis_server.url):
            pass
    assert redis_server.command("TYPE", name) == kind


@pytest.mark.full
async def test_a_log_that_another_program_overwrites_proves_nothing(
    redis_server: RedisServer,
) -> None:
    """Once the key is free again all of it is written back."""
    async with opened(redis_server.url) as store:
        await revoke(store, range(5))
        redis_server.command("SET", KEYS.log, "mine")
        await until("stale", lambda: not store.is_fresh, timeout_seconds=STALENESS + 2)
        with pytest.raises(BackendUnavailable):
            await store.revoke(revocation("refused"))
        assert await verdicts(store, range(5)) == {REVOKED}
        redis_server.command("DEL", KEYS.log)
        await until("fresh again", lambda: store.is_fresh)
        await until("written back", lambda: redis_server.command("XLEN", KEYS.log) == 5)


@pytest.mark.parametrize("payload", [b"", b"mine", bytes(40), b"\x11" * 40, b"\xff" * 48], ids=repr)
async def test_foreign_entries_of_the_log_are_passed_over(
    redis_server: RedisServer, payload: bytes
) -> None:
    """Before, between and after its own; they are counted, and stop nothing."""
    redis_server.command("XADD", KEYS.log, "*", "field", payload)
    async with opened(redis_server.url) as one, opened(redis_server.url) as other:
        await revoke(one, [1])
        redis_server.command("XADD", KEYS.log, "*", "a", payload, "b", "c")
        await revoke(one, [2])
        await until("known", lambda: are_revoked(other, [1, 2]))
        await until("fresh again", lambda: other.is_fresh)
        assert await verdict(other, "another") == LIVE
        async with opened(redis_server.url) as later:
            assert await later.wait_until_fresh(10)
            assert await verdicts(later, [1, 2]) == {REVOKED}


async def are_revoked(store: RedisRevocationStore, numbers: Iterable[int]) -> bool:
    return await verdicts(store, numbers) == {REVOKED}


@pytest.mark.parametrize(
    "words",
    [
        ("SET", "garbage"),
        ("SET", "1:short"),
        ("SET", "-1:12345678"),
        ("SET", "1:12345678"),
        ("SET", "9" * 400),
        ("LPUSH", "1"),
    ],
    ids=str,
)
async def test_garbage_at_a_point_is_never_read_as_not_revoked(
    redis_server: RedisServer, words: tuple[str, ...]
) -> None:
    """Nobody is let in for it, and it does not keep others from being written back."""
    digest = Digests(None).hash(revocation(0).scope, revocation(0).issuer, revocation(0).id)
    async with opened(redis_server.url) as store, asking(redis_server.url) as direct:
        await revoke(store, range(10))
        redis_server.command("FLUSHALL")
        redis_server.command(words[0], KEYS.point(digest), *words[1:])
        await until("written back", lambda: redis_server.command("XLEN", KEYS.log) >= 10)
        await until("fresh again", lambda: store.is_fresh)
        assert await verdict(direct, 0) in (REVOKED, NO_PROOF)
        assert await verdicts(direct, range(1, 10)) == {REVOKED}
        async with opened(redis_server.url) as later:
            assert await later.wait_until_fresh(10)
            assert await verdicts(later, range(10)) == {REVOKED}


async def test_garbage_among_the_issuers_stops_nothing(redis_server: RedisServer) -> None:
    """What is no issuer's name there is no name of anybody, and what is lost is written back."""
    redis_server.command("HSET", KEYS.issuers, b"\xff\xfe", b"\xff\xff", "tag", b"\x80")
    async with opened(redis_server.url) as one, opened(redis_server.url) as other:
        heard = other.subscribe()
        await revoke(one, range(3))
        assert (await anext(heard)).issuer == revocation(1).issuer
        redis_server.command("DEL", KEYS.log, KEYS.head)
        await until("written back", lambda: redis_server.command("XLEN", KEYS.log) >= 3)


async def test_another_secret_under_the_prefix_is_refused(redis_server: RedisServer) -> None:
    """At the start, at a revocation and at a lifting it is a mistake, at a question no answer."""
    async with opened(redis_server.url, secret=b"1" * 16) as store:
        await revoke(store, [1])
        with pytest.raises(ConfigurationError, match="another secret"):
            async with opened(redis_server.url, secret=b"2" * 16):
                pass
        async with asking(redis_server.url) as direct:  # none is another one too
            for call in (direct.revoke, direct.lift):
                with pytest.raises(ConfigurationError, match="another secret"):
                    await call(revocation(1))
            assert await verdict(direct, 1) == NO_PROOF
        assert await verdict(store, 1) == REVOKED
        await until("fresh", lambda: store.is_fresh)


@pytest.mark.full
async def test_a_secret_that_takes_over_after_a_loss_is_never_a_wrong_answer(
    redis_server: RedisServer,
) -> None:
    """A store whose secret is another one now grows stale, rather than miss what it cannot read."""
    async with opened(redis_server.url, secret=b"1" * 16) as store:
        await revoke(store, [1])
        other = Digests(b"2" * 16).check
        redis_server.command("HSET", KEYS.head, "check", other)
        await until("stale", lambda: not store.is_fresh, timeout_seconds=STALENESS + 2)
        assert await verdict(store, 2) == NO_PROOF
        assert await verdict(store, 1) == REVOKED
        with pytest.raises(ConfigurationError, match="another secret"):
            await store.revoke(revocation(2))
