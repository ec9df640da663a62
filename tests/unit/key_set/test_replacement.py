"""A new document replaces the known one at once and as a whole, or not at all."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from authkit.errors import BackendUnavailable
from authkit.interfaces import (
    KeySetDocument,
    StateChange,
)
from authkit.jose.jwk import parse_jwk_set
from authkit.key_set import KEYS_ROTATED, KeySetProvider
from authkit.testing import ManualClock
from tests.unit.key_set.scripted import (
    DOWN,
    KEYS,
    OFF_CURVE,
    SECRET,
    ScriptedSource,
    jwks,
    kids,
    settle,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [], "keys": []}',
        b'{"keys": [NaN]}',
        b"\xff",
        json.dumps({"keys": [{}] * 1001}).encode(),
        RuntimeError("a bug in the source"),
        ExceptionGroup("several", [OSError("one")]),
        TimeoutError(),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
async def test_a_bad_refresh_never_evicts_good_keys(
    provider: KeySetProvider,
    source: ScriptedSource,
    clock: ManualClock,
    bad: bytes | BaseException,
) -> None:
    """What is no JWK Set is a failed refresh, however it is no JWK Set."""
    key = (await provider.find("a", "ES256"))[0]
    clock.advance(60)
    source.answer = bad
    with pytest.raises(BackendUnavailable) as refused:
        await provider.find("new", "ES256")

    assert refused.value.code == "key_unknown_unconfirmed"
    assert await provider.find("a", "ES256") == (key,)
    assert not key.lease.withdrawn
    assert provider.stats()["fetch_failures_total"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"fetched_at": math.nan},
        {"fetched_at": math.inf},
        {"fresh_seconds": math.inf},
        {"fresh_seconds": math.nan},
        {"fetched_at": "now"},
        {"body": "text"},
        {"body": None},
    ],
    ids=repr,
)
async def test_a_document_that_is_none_is_a_failed_refresh(
    source: ScriptedSource, clock: ManualClock, change: dict[str, Any]
) -> None:
    """A source with a bug is an outage, not an exception in a request."""

    class BuggySource(ScriptedSource):
        async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
            return replace(await super().fetch(previous), **change)

    provider = KeySetProvider(BuggySource(clock, jwks("a")), clock=clock)
    with pytest.raises(BackendUnavailable):
        await provider.find("a", "ES256")


async def test_an_empty_set_is_what_the_issuer_publishes(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """An issuer can withdraw its last key: then its tokens are refused, and not only in doubt."""
    key = (await provider.find("a", "ES256"))[0]
    clock.advance(60)
    source.answer = jwks()
    await provider.refresh()

    assert key.lease.withdrawn
    assert await provider.find("a", "ES256") == ()


@pytest.mark.parametrize(
    ("published", "numbers"),
    [
        (jwks(), "0 entries, 0 skipped, 0 unusable"),
        (jwks(OFF_CURVE), "1 entries, 0 skipped, 1 unusable"),
        (jwks(OFF_CURVE, SECRET, {"kty": "FUTURE"}), "3 entries, 2 skipped, 1 unusable"),
        (
            jwks(*({**OFF_CURVE, "kid": f"k{number}"} for number in range(40))),
            "40 entries, 0 skipped, 40 unusable",
        ),
    ],
    ids=["empty", "off curve", "several", "many"],
)
async def test_a_set_without_a_usable_key_is_warned_of_and_so_is_its_end(
    provider: KeySetProvider,
    source: ScriptedSource,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    published: bytes,
    numbers: str,
) -> None:
    """Every token is refused then, so it must not look like a quiet day; once for each set."""
    for answer in (published, published, jwks(OFF_CURVE, "a"), jwks("a")):
        source.answer = answer
        await provider.refresh()
        clock.advance(30)

    assert [(record.levelname, record.message) for record in caplog.records] == [
        (
            "WARNING",
            f"keys of https://issuer.example: no key that is published can be used ({numbers})",
        ),
        (
            "WARNING",
            "keys of https://issuer.example: a key that can be used is published again",
        ),
    ]


async def test_a_rotation_is_told_once_with_what_identifies_both_sets(
    provider: KeySetProvider,
    source: ScriptedSource,
    clock: ManualClock,
    changes: list[StateChange],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not the first set, nor the same keys in another order, but every other change of keys."""
    caplog.set_level(logging.INFO, "authkit")
    for answer in (jwks("a", "b"), jwks("b", "a"), jwks("b", "c"), jwks("b", "c")):
        source.answer = answer
        await provider.refresh()
        clock.advance(30)

    assert [change.new for change in changes if change.code is None] == ["fresh"]
    (rotated,) = (change for change in changes if change.code == KEYS_ROTATED)
    assert rotated.old != rotated.new
    assert rotated.old.startswith("sha256:")
    assert provider.stats()["rotations_total"] == 1
    assert caplog.messages[-1] == "keys of https://issuer.example: rotated, 1 added, 1 withdrawn"


async def test_a_listener_that_raises_is_counted_and_the_others_are_told(
    provider: KeySetProvider, clock: ManualClock
) -> None:
    """Nobody who listens can break what is listened to."""
    seen: list[StateChange] = []

    def broken(change: StateChange) -> None:
        raise ValueError("a bug in the listener")

    provider.observe(broken)
    provider.observe(seen.append)
    provider.observe(broken)
    await provider.find("a", "ES256")

    assert [change.new for change in seen] == ["fresh"]
    assert provider.stats()["listener_errors_total"] == 1


async def test_the_figures_are_true(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """What a dashboard and an alert are made of."""
    assert provider.stats()["age_seconds"] == math.inf
    assert provider.stats()["trusted_seconds"] == 0
    source.answer = jwks("a", "b", OFF_CURVE)
    await provider.find("a", "ES256")
    await provider.find("off-curve", "ES256")
    clock.advance(100)
    source.answer = DOWN
    with pytest.raises(BackendUnavailable):
        await provider.refresh()

    assert provider.stats() == {
        "age_seconds": 100,
        "fetch_failures_total": 1,
        "fetches_total": 2,
        "keys": 3,
        "listener_errors_total": 0,
        "rotations_total": 0,
        "trusted_seconds": 4100,
        "unknown_key_ids_total": 1,
        "unusable_keys": 1,
    }


async def test_published_secrets_are_no_keys(
    provider: KeySetProvider, source: ScriptedSource
) -> None:
    """HS* beside published keys is how algorithms are confused (CVE-2017-11424)."""
    source.answer = jwks("a", SECRET)

    assert await provider.find("secret", "HS256") == ()
    assert provider.stats()["keys"] == 1


@pytest.mark.parametrize(("said", "fresh_for"), [(0.0, 60.0), (-5.0, 60.0), (1e9, 86400.0)])
async def test_freshness_is_kept_within_bounds(
    provider: KeySetProvider,
    source: ScriptedSource,
    clock: ManualClock,
    said: float,
    fresh_for: float,
) -> None:
    """A source can neither make us ask all the time nor stop us asking."""
    source.fresh_seconds = said
    await provider.find("a", "ES256")

    assert provider.stats()["trusted_seconds"] == fresh_for + 3600


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_a_wall_clock_that_is_set_breaks_neither_freshness_nor_leases(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock, jump: float
) -> None:
    """Ages are measured on the monotonic clock; leases follow the wall clock, and it asks again."""
    key = (await provider.find("a", "ES256"))[0]
    clock.advance(100)
    clock.set_time(clock.time() + jump)

    assert await provider.find("a", "ES256") == (key,)
    assert key.lease.trusted_until == clock.time() + 4100
    await settle()
    assert source.fetches == 2
    assert key.lease.trusted_until == clock.time() + 4200


async def test_a_document_from_the_future_is_as_young_as_can_be(
    clock: ManualClock,
) -> None:
    """A neighbour whose clock is ahead does not lengthen trust."""

    class AheadSource(ScriptedSource):
        async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
            document = await super().fetch(previous)
            return replace(document, fetched_at=document.fetched_at + 9999)

    provider = KeySetProvider(AheadSource(clock, jwks("a")), clock=clock)
    await provider.find("a", "ES256")

    assert provider.stats()["trusted_seconds"] == 4200


async def test_a_large_set_is_parsed_beside_the_event_loop(
    provider: KeySetProvider, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand keys hold up no other request."""
    threads: list[Any] = []
    real = asyncio.to_thread

    async def counted(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        threads.append(function)
        return await real(function, *arguments, **named)

    monkeypatch.setattr(asyncio, "to_thread", counted)
    source.answer = jwks(*({**KEYS["a"], "kid": f"k{number}"} for number in range(1000)))

    assert kids(await provider.find("k999", "ES256")) == ["k999"]
    assert threads == [parse_jwk_set]
