"""A provider that counts its requests, and sources that share it as several processes do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from authkit.clock import SystemClock
from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument
from authkit.jose.signing import SigningKey
from authkit_redis.key_provider import RedisKeyProvider
from authkit_redis.link import open_link
from authkit_redis.shared_keys.source import RedisKeySource
from authkit_redis.shared_keys.terms import key_of

__all__ = [
    "ADDRESS",
    "ISSUER",
    "KEY",
    "NEW",
    "OLD",
    "PREFIX",
    "SECRET",
    "CountedSource",
    "fleet",
    "keys_of",
    "providers",
    "sharing",
]

PREFIX = "test"
ISSUER = "https://login.example.com"
ADDRESS = "https://login.example.com/keys"
SECRET = b"a secret of the fleet's own"
KEY = key_of(PREFIX, ISSUER, ADDRESS)

OLD = {"keys": [SigningKey.generate("ES256", kid="old").public_jwk()]}
NEW = {"keys": [SigningKey.generate("ES256", kid="new").public_jwk()]}


def keys_of(body: bytes) -> Any:
    """What was published."""
    return json.loads(body)


class CountedSource:
    """Publishes what a test tells it to, takes its time, goes down, and counts.

    Attributes:
        published: the JWK Set.
        requests: how often it was asked.
        seconds: how long an answer takes.
        fresh_seconds: of what it gives.
        is_down: whether it fails.
        previous: what it was asked with last.
    """

    def __init__(self, published: Mapping[str, Any], *, fresh_seconds: float = 600.0) -> None:
        self.published = published
        self.fresh_seconds = fresh_seconds
        self.requests = 0
        self.seconds = 0.0
        self.is_down = False
        self.etag: str | None = None
        self.previous: KeySetDocument | None = None

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        self.requests += 1
        self.previous = previous
        asked_at = SystemClock().time()
        await asyncio.sleep(self.seconds)
        if self.is_down:
            raise BackendUnavailable("keys", "the provider is down")
        return KeySetDocument(
            body=json.dumps(self.published).encode(),
            etag=self.etag,
            fetched_at=asked_at,
            fresh_seconds=self.fresh_seconds,
        )

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        """For as long as it lasts, it fails."""
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False


@asynccontextmanager
async def sharing(url: str, source: CountedSource, **options: Any) -> AsyncIterator[RedisKeySource]:
    """A source on a link of its own, as in a process of its own."""
    given: dict[str, Any] = {
        "prefix": PREFIX,
        "issuer": ISSUER,
        "address": ADDRESS,
        "secret": SECRET,
    }
    # A call may take longer than in earnest, since the machine has other things to do.
    given = {"timeout_seconds": 1.0, **given, **options}
    async with RedisKeySource(open_link(url), source, **given) as shared:
        yield shared


@asynccontextmanager
async def fleet(
    url: str, source: CountedSource, count: int, **options: Any
) -> AsyncIterator[list[RedisKeySource]]:
    """So many processes, each with a link of its own."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(sharing(url, source, **options)) for _ in range(count)
        ]


@asynccontextmanager
async def providers(
    url: str, source: CountedSource, count: int, **options: Any
) -> AsyncIterator[list[RedisKeyProvider]]:
    """The same with providers, which are not entered, so that they fetch when they are asked."""
    given = {"issuer": ISSUER, "address": ADDRESS, "prefix": PREFIX, "secret": SECRET, **options}
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(open_link(url)) for _ in range(count)]
        yield [RedisKeyProvider(link, source, **given) for link in links]
