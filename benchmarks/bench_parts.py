"""Parts of a request by themselves: reading its header, and asking the memory backends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from authkit.credentials import bearer_credential
from authkit.interfaces import LimitRequest, RateLimit, Revocation, RevocationScope, TokenFacts
from authkit.jose.signing import SigningKey
from authkit_memory import MemoryRateLimiter, MemoryRevocationStore
from benchmarks.baselines import ISSUER, token_of
from benchmarks.measure import Batch, Contender

__all__ = ["part_contenders"]

LIMIT = RateLimit(name="api", rate=10**8, per_seconds=1, burst=10**8, by="subject")
FACTS = TokenFacts(
    issuer=ISSUER,
    token_id="dbe39bf3a3ba4238a513f51d6e1691c4",
    subject="248289761001",
    client_id="s6BhdRkqt3",
    session_id=None,
    issued_at=1.0,
    expires_at=2.0,
    token_version=None,
    key_thumbprint="NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
)


async def reading_headers(tokens: Sequence[bytes]) -> None:
    """Finds the token among the headers that a browser sends."""
    headers = [
        (b"host", b"orders.example.com"),
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        (b"accept", b"application/json"),
        (b"authorization", b"Bearer " + tokens[0]),
    ]
    for _ in tokens:
        bearer_credential(headers, b"page=2&size=50")


def awaiting(call: Callable[[], Awaitable[object]]) -> Batch:
    """Awaits the same call again and again."""

    async def run(tokens: Sequence[bytes]) -> None:
        for _ in tokens:
            await call()

    return run


async def part_contenders() -> list[Contender]:
    """Everything that is timed here; the token is none of ten thousand revoked ones."""
    store = MemoryRevocationStore()
    for number in range(10_000):
        await store.revoke(Revocation(scope=RevocationScope.TOKEN, issuer=ISSUER, id=f"t{number}"))
    requests = (LimitRequest(limit=LIMIT, key="248289761001"),)
    batches = {
        "bearer_credential": reading_headers,
        "limiter.acquire": awaiting(partial(MemoryRateLimiter().acquire, requests)),
        "revocations.find": awaiting(partial(store.find, FACTS)),
    }
    token = token_of(SigningKey.generate("RS256", kid="k"))
    return [Contender(name=name, batch=batches[name], token=token) for name in batches]
