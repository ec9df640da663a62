"""Whoever can write to Redis can neither add a key nor keep the fleet from its own."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from authkit.jose.signing import SigningKey
from authkit_redis.key_provider import RedisKeyProvider
from authkit_redis.link import open_link
from authkit_redis.shared_keys.seal import Note, Record, Seal
from authkit_redis.shared_keys.terms import key_of
from tests.redis.servers import RedisServer
from tests.redis.shared_keys import (
    ADDRESS,
    ISSUER,
    KEY,
    NEW,
    OLD,
    PREFIX,
    SECRET,
    CountedSource,
    sharing,
)
from tests.redis.stores import until

pytestmark = pytest.mark.anyio

EVIL = {"keys": [SigningKey.generate("ES256", kid="evil").public_jwk()]}
OTHER = "https://other.example.com"

Server = RedisServer
Harm = Callable[[Server, bytes], None]


def now_ms() -> int:
    """As the server has it."""
    return round(time.time() * 1000)


def record(
    server: Server,
    sealed: bytes,
    *,
    asked_ms: int | None = None,
) -> None:
    """Puts a record where the fleet looks, as new as it can look."""
    asked = str(now_ms() if asked_ms is None else asked_ms)
    server.command("HSET", KEY, "record", sealed, "time", asked, "until", str(now_ms() + 10**7))


def evil(seal: Seal, **changes: Any) -> bytes:
    """The attacker's own keys, with a seal that can be had."""
    times = {"asked_ms": now_ms(), "wall_ms": now_ms()}
    given = {**times, "fresh_seconds": 600.0, "etag": None, **changes}
    return seal.record(Record(body=json.dumps(EVIL).encode(), **given))


def noted(moment_ms: int) -> bytes:
    """A failure, as the fleet notes it."""
    return Seal(SECRET, ISSUER, ADDRESS).note(Note(moment_ms, moment_ms))


def bit_flipped(server: Server, sealed: bytes) -> None:
    position = sealed.index(b'"keys"') + 20
    changed = bytes([sealed[position] ^ 1])
    record(server, sealed[:position] + changed + sealed[position + 1 :])


def made_younger(server: Server, sealed: bytes) -> None:
    moment = (now_ms() + 5000).to_bytes(8, "big")
    record(server, sealed[:1] + moment + sealed[9:])


def other_secret(server: Server, sealed: bytes) -> None:
    record(server, evil(Seal(b"another secret of 16 bytes", ISSUER, ADDRESS)))


def no_secret(server: Server, sealed: bytes) -> None:
    record(server, evil(Seal(None, ISSUER, ADDRESS)))


def of_another_issuer(server: Server, sealed: bytes) -> None:
    record(server, evil(Seal(SECRET, OTHER, ADDRESS)))


def of_another_address(server: Server, sealed: bytes) -> None:
    record(server, evil(Seal(SECRET, ISSUER, OTHER)))


def cut_off(server: Server, sealed: bytes) -> None:
    record(server, sealed[:-1])


def empty(server: Server, sealed: bytes) -> None:
    record(server, b"")


def plain(server: Server, sealed: bytes) -> None:
    record(server, json.dumps(EVIL).encode())


def huge(server: Server, sealed: bytes) -> None:
    record(server, b"x" * 2_000_000)


def from_the_future(server: Server, sealed: bytes) -> None:
    future = now_ms() + 3_600_000
    record(server, evil(Seal(SECRET, ISSUER, ADDRESS), asked_ms=future), asked_ms=future)


def from_the_future_in_disguise(server: Server, sealed: bytes) -> None:
    future = now_ms() + 3_600_000
    record(server, evil(Seal(SECRET, ISSUER, ADDRESS), asked_ms=future))


def no_key_set(server: Server, sealed: bytes) -> None:
    moment = now_ms()
    none = Record(asked_ms=moment, wall_ms=moment, fresh_seconds=60.0, etag=None, body=b"[]")
    record(server, Seal(SECRET, ISSUER, ADDRESS).record(none))


def of_another_type(server: Server, sealed: bytes) -> None:
    server.command("DEL", KEY)
    server.command("SET", KEY, "something else")


def odd_fields(server: Server, sealed: bytes) -> None:
    odd = ("time", "nan", "until", "inf", "lease", "x", "failed", "-1e400", "owner", "", "note", "")
    server.command("HSET", KEY, *odd)
    server.command("HDEL", KEY, "record")


HARM = (
    bit_flipped,
    made_younger,
    other_secret,
    no_secret,
    of_another_issuer,
    of_another_address,
    cut_off,
    empty,
    plain,
    huge,
    from_the_future,
    from_the_future_in_disguise,
    no_key_set,
    of_another_type,
    odd_fields,
)


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
async def test_a_record_of_somebody_else_is_passed_over_and_written_anew(
    redis_server: RedisServer, harm: Harm
) -> None:
    """Neither a new process nor one with keys takes it; one of them fetches, for all."""
    source = CountedSource(OLD)
    async with (
        sharing(redis_server.url, source) as one,
        sharing(redis_server.url, source) as other,
    ):
        await one.fetch(None)
        harm(redis_server, redis_server.command("HGET", KEY, "record"))
        documents = await asyncio.gather(other.fetch(None), one.fetch(None))
        assert [json.loads(document.body) for document in documents] == [OLD] * 2
        assert source.requests == 2
        async with sharing(redis_server.url, source) as third:
            assert json.loads((await third.fetch(None)).body) == OLD
            assert third.stats()["refused_total"] == 0
        assert source.requests == 2


async def test_what_is_too_large_is_not_even_sent(redis_server: RedisServer) -> None:
    """A value of any size in Redis is no burden to the processes."""
    async with sharing(redis_server.url, CountedSource(OLD)) as shared:
        await shared.fetch(None)
        huge(redis_server, b"")
        before = int(redis_server.info("stats")["total_net_output_bytes"])
        assert json.loads((await shared.fetch(None)).body) == OLD
        assert int(redis_server.info("stats")["total_net_output_bytes"]) - before < 100_000
        assert shared.stats()["refused_total"] == 1


async def test_an_old_record_does_not_come_back(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that has seen a newer set refuses an older one, sealed as it is, and says so."""
    source = CountedSource(OLD)
    async with sharing(redis_server.url, source, cooldown_seconds=0.2) as shared:
        first = await shared.fetch(None)
        replayed = redis_server.command("HGET", KEY, "record")
        await asyncio.sleep(0.2)
        source.published = NEW
        second = await shared.fetch(first)
        assert json.loads(second.body) == NEW
        with caplog.at_level(logging.INFO, logger="authkit"):
            record(redis_server, replayed)
            for previous in (second, None):
                assert json.loads((await shared.fetch(previous)).body) == NEW
        assert shared.stats()["rolled_back_total"] == 1
        said = [line.getMessage() for line in caplog.records if "in redis" in line.getMessage()]
        assert [("older than one known here" in line, "again" in line) for line in said] == [
            (True, False),
            (False, True),
        ]
        assert "kid" not in caplog.text


async def test_a_forged_lease_holds_nobody_for_long(redis_server: RedisServer) -> None:
    """One that no process could have is passed over."""
    source = CountedSource(OLD)
    async with sharing(redis_server.url, source, fetch_timeout_seconds=0.2) as shared:
        redis_server.command("HSET", KEY, "owner", "evil", "lease", str(now_ms() + 10**9))
        begun = time.monotonic()
        assert json.loads((await shared.fetch(None)).body) == OLD
        assert time.monotonic() - begun < 1


async def test_a_forged_lease_keeps_no_provider_from_its_keys(redis_server: RedisServer) -> None:
    """One that lasts is waited out once, and then the provider is asked, whatever the cooldown."""
    redis_server.command("HSET", KEY, "owner", "evil", "lease", str(now_ms() + 50_000))
    async with RedisKeyProvider(
        open_link(redis_server.url),
        CountedSource(OLD),
        issuer=ISSUER,
        address=ADDRESS,
        prefix=PREFIX,
        secret=SECRET,
        timeout_seconds=0.2,
        cooldown_seconds=0.5,
        redis_timeout_seconds=1.0,
    ) as provider:
        await until("it has keys", lambda: provider.stats()["keys"] == 1, timeout_seconds=5)
        assert provider.stats()["shared_direct_total"] == provider.stats()["fetches_total"] == 1


async def test_a_forged_failure_holds_nobody_back(redis_server: RedisServer) -> None:
    """A note that the fleet has not sealed, or of another time, counts for nothing."""
    source = CountedSource(OLD)
    forged = Seal(b"another secret of 16 bytes", ISSUER, ADDRESS).note(Note(now_ms(), now_ms()))
    replayed = noted(now_ms() - 10**6)
    async with sharing(redis_server.url, source) as shared:
        for note in (forged, replayed, b""):
            redis_server.command("DEL", KEY)
            redis_server.command("HSET", KEY, "note", note, "failed", str(now_ms()))
            assert json.loads((await shared.fetch(None)).body) == OLD
        assert shared.stats()["refused_total"] == 3


@pytest.mark.parametrize("of", ["a failure", "a success"])
async def test_an_old_outcome_is_not_that_of_a_forged_attempt(
    redis_server: RedisServer, of: str
) -> None:
    """Whoever waits for an attempt is told how that one ended, and not one of long ago."""
    source, long_ago = CountedSource(OLD), now_ms() - 30 * 86_400_000
    redis_server.command("HSET", KEY, "owner", "evil", "lease", str(now_ms() + 50_000))
    async with sharing(redis_server.url, source) as shared:
        fetch = asyncio.create_task(shared.fetch(None))
        await until("it waits", lambda: shared.stats()["waited_total"] == 1)
        redis_server.command("DEL", KEY)
        if of == "a failure":
            redis_server.command("HSET", KEY, "note", noted(long_ago), "failed", str(long_ago))
        else:
            seal = Seal(SECRET, ISSUER, ADDRESS)
            record(redis_server, evil(seal, asked_ms=long_ago, wall_ms=long_ago))
        assert json.loads((await fetch).body) == OLD
        assert source.requests == 1


async def test_without_a_secret_keys_are_taken_as_they_are_and_that_is_said(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What anybody can seal is accepted, once somebody has allowed it in so many words."""
    source = CountedSource(OLD)
    options = {"secret": None, "insecure_trust_redis": True}
    async with sharing(redis_server.url, source, **options) as shared:
        record(redis_server, evil(Seal(None, ISSUER, ADDRESS)))
        assert json.loads((await shared.fetch(None)).body) == EVIL
    assert [r.levelname for r in caplog.records if "insecure_trust_redis" in r.getMessage()] == [
        "WARNING"
    ]


async def test_sets_of_different_issuers_stand_apart(redis_server: RedisServer) -> None:
    """Each has its own key, and its own seal."""
    source, other = CountedSource(OLD), CountedSource(NEW)
    async with (
        sharing(redis_server.url, source) as one,
        sharing(redis_server.url, other, issuer=OTHER) as two,
    ):
        assert json.loads((await one.fetch(None)).body) == OLD
        assert json.loads((await two.fetch(None)).body) == NEW
    assert redis_server.command("EXISTS", KEY, key_of(PREFIX, OTHER, ADDRESS)) == 2
