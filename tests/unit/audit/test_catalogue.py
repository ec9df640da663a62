"""The events that are really written carry the data that the catalogue says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from authkit import NoRevocation, RequestContext, Requirement, TrustedIssuer, Verifier
from authkit.audit import AuditTrail
from authkit.audit.catalogue import CATALOGUE, ValueKind
from authkit.errors import AuthkitError, BackendUnavailable, CredentialMissing
from authkit.event_lines import event_of_line, json_line
from authkit.interfaces import (
    AuditEvent,
    RateLimit,
    Revocation,
    RevocationReceipt,
    RevocationScope,
    StateChange,
    TokenFacts,
)
from authkit.jose.signing import SigningKey
from authkit_memory import MemoryKeyProvider, MemoryRateLimiter, MemoryRevocationStore
from tests.unit.audit.sinks import ControlledSink, request
from tests.unit.verifier.bench import ISSUER, OTHER_KEY, SIGNING_KEY, Bench

pytestmark = pytest.mark.anyio

TYPES: dict[ValueKind, tuple[type, ...]] = {
    "text": (str,),
    "whole number": (int,),
    "number": (int, float),
    "flag": (bool,),
}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def assert_as_the_catalogue_says(event: AuditEvent) -> None:
    known = CATALOGUE[event.type]
    assert event.schema >= known.since
    assert event.outcome in known.outcomes
    assert event.code is None or known.code != "none"
    members = {field.name: field for field in known.data}
    assert event.data.keys() <= members.keys()
    for name, field in members.items():
        if name not in event.data:
            assert not field.is_always_there, name
        elif event.data[name] is None:
            assert field.is_nullable, name
        else:
            assert type(event.data[name]) in TYPES[field.kind], name


async def test_the_events_of_a_trail_and_a_verifier_are_as_the_catalogue_says() -> None:
    """Those of the start, of a request, of dropping, and of the end."""
    sink = ControlledSink()
    trail = AuditTrail(sink, chain_key=b"k" * 32, request_capacity=2)
    for number in range(5):
        trail.append_request(request(number))
    keys = MemoryKeyProvider.from_jwks({"keys": [SigningKey.generate("ES256").public_jwk()]})
    issuer = TrustedIssuer("https://login.example.com", "shop", keys=keys)
    async with Verifier(issuer, revocations=NoRevocation(), audit=trail) as verifier:
        with pytest.raises(CredentialMissing):
            await verifier.verify(None, context=RequestContext())
    for event in sink.events:
        assert_as_the_catalogue_says(event)
    assert {event.type for event in sink.events} == {
        "token.verified",
        "verifier.started",
        "verifier.stopped",
        "audit.dropped",
        "audit.anchor",
    }


class Store(MemoryRevocationStore):
    """A store that fails, or hangs, when it is told to."""

    failure: Exception | None = None
    hangs = False
    listener: Callable[[StateChange], None]

    async def find(self, token: TokenFacts) -> Revocation | None:
        await self._obey()
        return await super().find(token)

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        await self._obey()
        return await super().revoke(revocation)

    async def lift(self, revocation: Revocation) -> RevocationReceipt:
        await self._obey()
        return await super().lift(revocation)

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        self.listener = listener

    async def _obey(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.hangs:
            await asyncio.Event().wait()


@pytest.fixture
def store(bench: Bench) -> Store:
    return Store(max_token_lifetime_seconds=86_400, clock=bench.clock)


async def each_way(store: Store, act: Callable[[], Awaitable[object]]) -> None:
    """Does it with a store that works, one that fails, and one that hangs until it is cancelled."""
    await act()
    store.failure = BackendUnavailable("revocations")
    with pytest.raises(BackendUnavailable):
        await act()
    store.failure, store.hangs = None, True
    task = asyncio.ensure_future(act())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.hangs = False


def assert_seen(events: Sequence[AuditEvent], kind: str, outcomes: set[str]) -> None:
    """Checks all events, and that there are some of a type in just these outcomes."""
    for event in events:
        assert_as_the_catalogue_says(event)
    assert {event.outcome for event in events if event.type == kind} == outcomes


async def test_revocations_are_as_the_catalogue_says(bench: Bench, store: Store) -> None:
    """Of each scope, with as much and as little as one can give; each taken, failed, cancelled."""
    soon = bench.clock.time() + 10
    async with bench.verifier(revocations=store) as verifier:
        for scope in RevocationScope:
            versions = {"minimum_version": 3} if scope is RevocationScope.VERSION else {}
            name = "" if scope is RevocationScope.ISSUER else "x"
            for more in ({}, {"expires_at": soon, "reason": "stolen"}):
                revocation = Revocation(scope=scope, issuer=ISSUER, id=name, **versions, **more)
                await each_way(store, partial(verifier.revoke, revocation))
                await each_way(store, partial(verifier.lift, revocation))
        big = Revocation(
            scope=RevocationScope.SUBJECT,
            issuer=ISSUER,
            id="\U0001f511" * 100_000,
            reason="\0" * 1_000_000,
            issued_until=soon,
        )
        await verifier.revoke(big)
    for kind in ("token.revoked", "revocation.lifted"):
        assert_seen(bench.sink.events, kind, {"accepted", "unavailable", "cancelled"})
    for event in bench.sink.events:
        assert event_of_line(json_line(event)) == event


async def test_verifications_are_as_the_catalogue_says(bench: Bench, store: Store) -> None:
    """In each outcome, and with each member of the data that there can be."""
    limits = [RateLimit(name="tiny", rate=5, per_seconds=3600, burst=5, by="subject")]
    limiter = MemoryRateLimiter(clock=bench.clock)
    wanted = [
        Requirement(scopes=["b", "a"]),
        Requirement(roles=["r"]),
        Requirement(claims={"tenant": "t"}),
    ]
    async with bench.verifier(revocations=store, limiter=limiter, limits=limits) as verifier:

        async def refused(credential: str | None, **options: Any) -> None:
            with pytest.raises(AuthkitError):
                await verifier.verify(credential, context=RequestContext(), **options)

        await refused(None)
        await refused("not a token")
        await refused(bench.token({"kid": "unknown"}))
        await refused(bench.token(exp=1))
        await refused(bench.token(aud="other"))
        await refused(bench.token(key=OTHER_KEY))
        for requirement in wanted:
            await refused(bench.token(), require=requirement)
        await each_way(store, lambda: verifier.verify(bench.token(sub="bob")))
        revoked = await verifier.verify(bench.token(sub="carol", jti="t-2"))
        await verifier.revoke(Revocation.of(revoked))
        await refused(bench.token(sub="carol", jti="t-2"))
        for _ in range(5):
            with suppress(AuthkitError):
                await verifier.verify(bench.token(sub="dave"))
        await refused(bench.token(sub="dave"))
    outcomes = {"accepted", "missing", "refused", "unavailable", "cancelled"}
    assert_seen(bench.sink.events, "token.verified", outcomes)
    data = {name for event in bench.sink.requests() for name in event.data}
    assert data == {field.name for field in CATALOGUE["token.verified"].data}


async def test_changes_of_backends_are_as_the_catalogue_says(bench: Bench, store: Store) -> None:
    """Of keys that are replaced, and of states with and without a code."""
    keys = MemoryKeyProvider.from_jwks({"keys": [SIGNING_KEY.public_jwk()]})
    async with bench.verifier(bench.issuer(keys=keys), revocations=store):
        keys.replace({"keys": [SigningKey.generate("ES256").public_jwk()]})
        for code in ("revocations_stale", None):
            store.listener(
                StateChange(
                    interface="revocations",
                    name="redis",
                    old="available",
                    new="stale",
                    code=code,
                    time=1.0,
                )
            )
    assert_seen(bench.sink.events, "keys.rotated", {"accepted"})
    assert_seen(bench.sink.events, "backend.state_changed", {"accepted", "unavailable"})
