"""The Verifier: uncached, cached, refusing, and with many keys, beside its floor and its peers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from authkit import NoRevocation, RateLimit, TrustedIssuer, Verifier
from authkit.errors import AuthkitError
from authkit.interfaces import AuditEvent
from authkit.jose.signing import SigningKey
from authkit_memory import (
    MemoryAuditSink,
    MemoryKeyProvider,
    MemoryRateLimiter,
    MemoryRevocationStore,
)
from benchmarks.baselines import AUDIENCE, ISSUER, dict_look_up, peers, raw_verify, token_of
from benchmarks.measure import Batch, Contender

__all__ = ["verifier_contenders", "verifier_with"]

ALGORITHMS = ("RS256", "ES256", "EdDSA", "HS256")


class DiscardingSink:
    """Keeps nothing."""

    async def write(self, events: Sequence[AuditEvent]) -> None: ...


def verifier_with(keys: Sequence[SigningKey], *, is_cached: bool, is_whole: bool) -> Verifier:
    """A Verifier; a whole one has all four memory backends."""
    published = [key.jwk() if key.alg == "HS256" else key.public_jwk() for key in keys]
    issuer = TrustedIssuer(
        ISSUER,
        AUDIENCE,
        keys=MemoryKeyProvider.from_jwks({"keys": published}),
        algorithms=sorted({key.alg for key in keys}),
    )
    entries = 10_000 if is_cached else 0
    if not is_whole:
        return Verifier(
            issuer, revocations=NoRevocation(), audit=DiscardingSink(), token_cache_entries=entries
        )
    # Far above what the benchmark calls, so that every call is charged and none refused.
    limit = RateLimit(name="api", rate=10**8, per_seconds=1, burst=10**8, by="subject")
    return Verifier(
        issuer,
        revocations=MemoryRevocationStore(),
        limiter=MemoryRateLimiter(),
        limits=[limit],
        audit=MemoryAuditSink(),
        token_cache_entries=entries,
    )


def accepting(verifier: Verifier) -> Batch:
    """Verifies each token through the public method."""

    async def run(tokens: Sequence[bytes]) -> None:
        for token in tokens:
            await verifier.verify(token.decode())

    return run


def refusing(verifier: Verifier) -> Batch:
    """Likewise, for tokens that are refused."""

    async def run(tokens: Sequence[bytes]) -> None:
        for token in tokens:
            try:
                await verifier.verify(token.decode())
            except AuthkitError:
                continue
            raise AssertionError("a bad token was accepted")

    return run


async def verifier_contenders(stack: AsyncExitStack) -> list[Contender]:
    """Everything that is timed here, its verifiers entered on `stack`."""
    found: list[Contender] = []
    for algorithm in ALGORITHMS:
        key = SigningKey.generate(algorithm, kid="k")
        token = token_of(key)
        bare = await stack.enter_async_context(
            verifier_with([key], is_cached=False, is_whole=False)
        )
        found.append(Contender(name=f"raw {algorithm}", batch=raw_verify(key, token), token=token))
        found.append(Contender(name=f"uncached {algorithm}", batch=accepting(bare), token=token))
        if algorithm != "RS256":
            continue
        many = [key, *(SigningKey.generate("ES256") for _ in range(999))]
        crowded = await stack.enter_async_context(
            verifier_with(many, is_cached=False, is_whole=False)
        )
        whole = await stack.enter_async_context(verifier_with([key], is_cached=True, is_whole=True))
        found += [Contender(name=name, batch=peer, token=token) for name, peer in peers(key)]
        found += [
            Contender(name="uncached, 1,000 keys", batch=accepting(crowded), token=token),
            Contender(name="garbage", batch=refusing(bare), token="not.a.token"),
            Contender(name="forged", batch=refusing(bare), token=f"{token[:-6]}AAAAAA"),
            Contender(name="dict look-up", batch=dict_look_up(token), token=token),
            Contender(name="cache hit", batch=accepting(whole), token=token),
        ]
    return found
