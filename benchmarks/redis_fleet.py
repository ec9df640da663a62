"""What the processes of a fleet do beside the benchmark's own; each of them plays a role."""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import struct
import time
from pathlib import Path
from threading import Thread
from typing import Any

from redis.asyncio import Redis

from authkit.audit import AuditTrail, RequestRecord
from authkit.errors import BackendUnavailable
from authkit.interfaces import AuditEvent, KeySetDocument, LimitRequest, RateLimit
from authkit.jose.signing import SigningKey
from authkit_redis import RedisAuditSink, RedisKeyProvider, RedisRateLimiter
from authkit_redis.link import open_link

__all__ = [
    "ASKED",
    "BEGIN",
    "CALLER",
    "EVENT",
    "EVENTS_PER_SECOND",
    "FAILED_REQUESTS",
    "FETCHERS",
    "FETCHING_SECONDS",
    "FRESH_SECONDS",
    "HOT",
    "LEASE",
    "PROCESSES",
    "charge",
    "fetch",
    "record",
    "recorded_so_far",
]

BEGIN = "benchmark:begin"
"""The stream on which all of them wait for an entry."""

PROCESSES = 4
CALLER = "https://login.example.com 248289761001"
HOT = RateLimit(name="hot", rate=500, per_seconds=1, burst=500, by="subject")
LEASE = 100

EVENTS_PER_SECOND = 5_000
EVENT = AuditEvent(
    schema=1,
    producer="b6b2d1a49a5bf0e1",
    sequence=1,
    time=1_790_000_000.123456,
    type="token.verified",
    outcome="accepted",
    code=None,
    issuer="https://login.example.com",
    subject="248289761001",
    client_id="s6BhdRkqt3",
    token_hash="5e" * 32,
    key_thumbprint="NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    client_address="2001:db8::1",
    request_id="0d3c5b1e-4c1f-4d8e-9e55-3f1b2a7d9c10",
    trace_id=None,
    data={},
    chain=None,
)
"""What a verification leaves."""

ISSUER = "https://login.example.com"
ASKED = "benchmark:asked"
"""The list of the moments at which the provider was asked for its keys."""

FRESH_SECONDS = 0.5
FETCHERS, FETCHING_SECONDS = 6, 8.0
# The process that makes such a request is killed while it waits for the answer.
_DEADLY_REQUESTS, _FAILING_REQUESTS = frozenset({4, 8}), frozenset({6, 10})
FAILED_REQUESTS = _DEADLY_REQUESTS | _FAILING_REQUESTS

_LOOPS = 3
_FETCH_SECONDS, _FETCH_TIMEOUT_SECONDS, _COOLDOWN_SECONDS = 0.1, 0.5, 0.1
_KEYS = json.dumps({"keys": [SigningKey.generate("ES256", kid="k").public_jwk()]}).encode()
_COUNT = struct.Struct("=Q")
_TASKS = 50
_CHARGING_SECONDS = 4.0
_PATIENCE_SECONDS = 10.0


async def charge(url: str, how: str) -> list[int]:
    """Calls of one hot limit by many tasks: when each was granted, in microseconds.

    Args:
        url: of the server.
        how: `exact` or `leased`; the prefix, too.
    """
    granted: list[int] = []
    requests = (LimitRequest(limit=HOT, key=CALLER),)
    leases = {HOT.name: LEASE} if how == "leased" else None

    async def call(ends_at: float) -> None:
        while time.monotonic() < ends_at:
            decision = await limiter.acquire(requests)
            if decision.allowed:
                granted.append(time.monotonic_ns() // 1000)
            else:
                await asyncio.sleep(0.001)

    async with (
        open_link(url) as link,
        RedisRateLimiter(
            link, prefix=how, leases=leases, timeout_seconds=_PATIENCE_SECONDS
        ) as limiter,
    ):
        await _until_all_begin(url)
        ends_at = time.monotonic() + _CHARGING_SECONDS
        await asyncio.gather(*[call(ends_at) for _ in range(_TASKS)])
        if limiter.stats()["degraded_total"]:
            raise SystemExit("Redis did not answer")
    return granted


# --- the audit trail of a process that is killed


async def record(url: str, prefix_and_path: str) -> None:
    """Events at a steady rate through an AuditTrail, until somebody kills this process.

    Args:
        url: of the server.
        prefix_and_path: of the keys; a space; and a file, where it notes how many were admitted.
    """
    prefix, _, path = prefix_and_path.partition(" ")
    with _shared_count(Path(path)) as noted:
        async with (
            open_link(url) as link,
            RedisAuditSink(link, prefix=prefix) as sink,
            AuditTrail(sink) as trail,
        ):
            print(flush=True)
            admitted, started = 0, time.monotonic()
            while True:
                due = int((time.monotonic() - started) * EVENTS_PER_SECOND)
                while admitted < due:
                    trail.append_request(_record())
                    admitted += 1
                    _COUNT.pack_into(noted, 0, admitted)
                if trail.stats()["dropped_total"]:
                    raise SystemExit("events were dropped")
                await asyncio.sleep(0.001)


def _shared_count(path: Path) -> mmap.mmap:
    """A number in a file, that survives the process."""
    path.write_bytes(_COUNT.pack(0))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def recorded_so_far(path: Path) -> int:
    """How many events a process had admitted."""
    return int(_COUNT.unpack(path.read_bytes())[0])


def _record() -> RequestRecord:
    event = EVENT
    return RequestRecord(
        time.time(),
        event.outcome,
        event.code,
        event.issuer,
        event.subject,
        event.client_id,
        event.key_thumbprint,
        event.token_hash,
        event.client_address,
        event.request_id,
        event.trace_id,
        None,
    )


# --- keys that a fleet shares


class _Provider:
    """A KeySource as all processes of the fleet know it: it counts, fails, and kills who asks."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        asked_at = time.time()
        count = await self._client.rpush(ASKED, time.monotonic())
        await asyncio.sleep(_FETCH_SECONDS)
        if count in _DEADLY_REQUESTS:
            os.kill(os.getpid(), signal.SIGKILL)
        if count in _FAILING_REQUESTS:
            raise BackendUnavailable("keys", "the provider is down")
        return KeySetDocument(
            body=_KEYS, etag=None, fetched_at=asked_at, fresh_seconds=FRESH_SECONDS
        )


async def fetch(url: str, prefix: str) -> None:
    """Asks for a key again and again, in several event loops; the provider counts its requests.

    Args:
        url: of the server.
        prefix: of the keys.
    """
    await _until_all_begin(url)
    ends_at = time.monotonic() + FETCHING_SECONDS
    threads = [
        Thread(target=asyncio.run, args=[_find_until(ends_at, url, prefix)]) for _ in range(_LOOPS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def _find_until(ends_at: float, url: str, prefix: str) -> None:
    async with Redis.from_url(url) as client, open_link(url) as link:
        provider = RedisKeyProvider(
            link,
            _Provider(client),
            issuer=ISSUER,
            address=f"{ISSUER}/keys",
            prefix=prefix,
            secret=b"a secret of the fleet's own",
            timeout_seconds=_FETCH_TIMEOUT_SECONDS,
            cooldown_seconds=_COOLDOWN_SECONDS,
            min_fresh_seconds=FRESH_SECONDS,
            redis_timeout_seconds=_PATIENCE_SECONDS,
        )
        async with provider:
            while time.monotonic() < ends_at:
                if not await provider.find("k", "ES256"):
                    raise SystemExit("the key is not known")
                await asyncio.sleep(0.01)


async def _until_all_begin(url: str) -> None:
    print(flush=True)
    async with Redis.from_url(url) as client:
        await client.xread({BEGIN: "0"}, block=0)
