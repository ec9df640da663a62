"""What the Redis backends put on record of themselves is as the catalogue of events says."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from authkit import TrustedIssuer, Verifier
from authkit.audit import AuditTrail
from authkit.clock import SystemClock
from authkit.errors import BackendUnavailable
from authkit.event_lines import event_of_line
from authkit.interfaces import AuditEvent, RateLimit, Revocation, RevocationScope, StateChange
from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.key_provider import RedisKeyProvider
from authkit_redis.link import open_link
from authkit_redis.rate_limiter import RedisRateLimiter
from authkit_redis.revocation_store import RedisRevocationStore
from tests.redis.audit_events import LOG, PREFIX
from tests.redis.servers import RedisServer
from tests.redis.shared_keys import ADDRESS, SECRET, CountedSource
from tests.redis.stores import until
from tests.unit.audit.test_catalogue import assert_as_the_catalogue_says
from tests.unit.verifier.bench import ISSUER, OTHER_KEY, SIGNING_KEY, Bench

pytestmark = pytest.mark.anyio

LIMIT = RateLimit(name="api", rate=1_000, per_seconds=1, burst=1_000, by="subject")


def recorded(server: RedisServer) -> list[AuditEvent]:
    return [event_of_line(fields[1]) for _, fields in server.command("XRANGE", LOG, "-", "+")]


async def test_the_events_of_four_redis_backends_are_as_the_catalogue_says(
    redis_server: RedisServer,
) -> None:
    """Over a server that stands still for a moment, and keys that are rotated."""
    bench, source = Bench(), CountedSource({"keys": [SIGNING_KEY.public_jwk()]})
    now = SystemClock().time()
    token = bench.token(iat=now, exp=now + 300)
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(open_link(redis_server.url))
        keys = RedisKeyProvider(
            link,
            source,
            issuer=ISSUER,
            address=ADDRESS,
            prefix=PREFIX,
            secret=SECRET,
            cooldown_seconds=0.1,
        )
        store = RedisRevocationStore(
            link, prefix=PREFIX, max_staleness_seconds=1.0, timeout_seconds=0.3
        )
        limiter = RedisRateLimiter(link, prefix=PREFIX, timeout_seconds=0.1)
        told: list[StateChange] = []
        limiter.observe(told.append)
        verifier = Verifier(
            TrustedIssuer(ISSUER, "orders", keys=keys),
            revocations=store,
            limiter=limiter,
            limits=[LIMIT],
            audit=AuditTrail(
                RedisAuditSink(link, prefix=PREFIX, timeout_seconds=0.3),
                chain_key=b"k" * 32,
                drain_seconds=20.0,
            ),
        )
        await stack.enter_async_context(verifier)
        await verifier.verify(token)
        await verifier.revoke(
            Revocation(scope=RevocationScope.SUBJECT, issuer=ISSUER, id="bob", reason="stolen")
        )
        source.published = {"keys": [SIGNING_KEY.public_jwk(), OTHER_KEY.public_jwk()]}

        async def is_rotated() -> bool:
            with suppress(BackendUnavailable):
                await keys.refresh()
            return keys.stats()["rotations_total"] > 0

        await until("rotated", is_rotated)
        redis_server.freeze()

        async def is_stale() -> bool:
            try:
                await verifier.verify(token)
            except BackendUnavailable:
                return True
            await asyncio.sleep(0.02)
            return False

        await until("stale", is_stale)
        redis_server.thaw()

        async def is_well() -> bool:
            return not await is_stale() and told[-1].new == "available"

        await until("well again", is_well)
    events = recorded(redis_server)
    for event in events:
        assert_as_the_catalogue_says(event)
    changes = [event for event in events if event.type == "backend.state_changed"]
    seen = {(change.data["interface"], change.code is None) for change in changes}
    assert seen >= {(name, ok) for name in ("revocations", "limiter", "audit") for ok in (0, 1)}
    kinds = {event.type for event in events}
    assert kinds >= {"token.verified", "token.revoked", "keys.rotated", "audit.anchor"}
