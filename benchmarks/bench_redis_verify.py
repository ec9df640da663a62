"""A whole verification with four Redis backends, beside what does as much over redis-py."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import jwt as pyjwt
from redis.asyncio import Redis

from authkit import AuditTrail, RateLimit, TrustedIssuer, Verifier
from authkit.clock import SystemClock
from authkit.interfaces import KeySetDocument
from authkit.jose.signing import SigningKey
from authkit_redis import (
    RedisAuditSink,
    RedisKeyProvider,
    RedisRateLimiter,
    RedisRevocationStore,
)
from authkit_redis.link import open_link
from benchmarks.baselines import AUDIENCE, ISSUER, token_of
from benchmarks.measure import Figures, Load, measure_loads
from benchmarks.redis_fleet import CALLER
from benchmarks.redis_peers import MANY, limiters
from tests.redis.servers import RedisServer

__all__ = ["whole_figures"]

_ROUNDS = 21
_TASKS, _CALLS, _COUNTS = 100, 20, 7
_SECONDS = 30.0
_LIMIT = RateLimit(name="api", rate=MANY, per_seconds=1, burst=MANY, by="subject")


class _PublishedKeys:
    """A KeySource that has the keys at hand."""

    def __init__(self, key: SigningKey) -> None:
        self._body = json.dumps({"keys": [key.public_jwk()]}).encode()

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        now = SystemClock().time()
        return KeySetDocument(body=self._body, etag=None, fetched_at=now, fresh_seconds=3600)


class _Whole(NamedTuple):
    """A Verifier, and those of its backends that can be asked how often they called."""

    verifier: Verifier
    limiter: RedisRateLimiter
    sink: RedisAuditSink
    trail: AuditTrail


async def whole_figures(server: RedisServer) -> Figures:
    """On one server."""
    key = SigningKey.generate("RS256", kid="k")
    received = token_of(key).encode()
    async with AsyncExitStack() as stack:
        whole = await _whole(server, key, stack)
        verify = whole.verifier.verify
        client = await stack.enter_async_context(Redis.from_url(server.url))
        # The one of its ways of counting that is exact.
        charge = limiters(server.url, CALLER, stack)["limits, moving window"]
        public = pyjwt.PyJWK(key.public_jwk()).key
        options: Any = {"algorithms": [key.alg], "audience": AUDIENCE, "issuer": ISSUER}

        async def by_others() -> None:
            claims = pyjwt.decode(received.decode(), public, **options)
            if await client.exists(f"revoked:{claims['jti']}") or not await charge():
                raise AssertionError("a good token was refused")

        figures = await measure_loads(
            [
                Load(name="verify, all in Redis", call=lambda: verify(received.decode())),
                Load(name="PyJWT, EXISTS, limits", call=by_others),
            ],
            _ROUNDS,
        )
        figures.amounts.update(await _round_trips(server, whole, received))
        stats = whole.trail.stats()
        if stats["dropped_total"] or whole.limiter.stats()["degraded_total"]:
            raise RuntimeError("not every verification was counted and recorded")
    return figures


async def _whole(server: RedisServer, key: SigningKey, stack: AsyncExitStack) -> _Whole:
    link, secret = open_link(server.url), secrets.token_bytes(32)
    keys = RedisKeyProvider(
        link, _PublishedKeys(key), issuer=ISSUER, address=f"{ISSUER}/keys", secret=secret
    )
    revocations = RedisRevocationStore(link, secret=secret, max_staleness_seconds=5)
    limiter = RedisRateLimiter(link, secret=secret, timeout_seconds=_SECONDS)
    sink = RedisAuditSink(link)
    trail = AuditTrail(sink)
    verifier = Verifier(
        TrustedIssuer(ISSUER, AUDIENCE, keys=keys, algorithms=[key.alg]),
        revocations=revocations,
        limiter=limiter,
        limits=[_LIMIT],
        audit=trail,
    )
    await stack.enter_async_context(link)
    await stack.enter_async_context(verifier)
    if not await revocations.wait_until_fresh(_SECONDS):
        raise RuntimeError("the replica did not come up to date")
    return _Whole(verifier, limiter, sink, trail)


async def _round_trips(server: RedisServer, whole: _Whole, received: bytes) -> dict[str, float]:
    """Calls of scripts by what the server counts, those of the audit trail apart: none waits there.

    The heartbeats of the revocations are counted too where there is one, so the least of several
    counts.
    """

    async def task() -> None:
        for _ in range(_CALLS):
            await whole.verifier.verify(received.decode())

    counts = []
    for _ in range(_COUNTS):
        before, batches_before = _calls(server), whole.sink.stats()["calls_total"]
        await asyncio.gather(*[task() for _ in range(_TASKS)])
        await asyncio.sleep(0.1)  # until the trail has written everything
        batches = whole.sink.stats()["calls_total"] - batches_before
        each = _CALLS * _TASKS
        counts.append(((_calls(server) - before - batches) / each, batches / each))
    waited_for, behind = min(counts)
    return {
        "Redis round trips of a verification": waited_for,
        "Redis round trips behind a verification": behind,
    }


def _calls(server: RedisServer) -> int:
    """How many scripts were called."""
    figures = server.info("commandstats").get("cmdstat_evalsha", "calls=0,")
    return int(figures.partition(",")[0].removeprefix("calls="))
