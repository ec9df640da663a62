"""Uses of the public API that type checkers must accept.  Read by mypy, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, assert_type

from fastapi import Depends, FastAPI, Security

from authkit import (
    AuditTrail,
    FanOutAuditSink,
    LoggingAuditSink,
    NoRevocation,
    Principal,
    RateLimit,
    RemoteKeyProvider,
    RequestContext,
    Requirement,
    Revocation,
    RevocationReceipt,
    RevocationScope,
    TrustedIssuer,
    Verifier,
)
from authkit.errors import AuthkitError, ClaimRejected, RateLimited, TokenExpired
from authkit.fastapi import Auth
from authkit.interfaces import (
    AuditEvent,
    AuditSink,
    KeyProvider,
    LimitDecision,
    LimitRequest,
    RateLimiter,
    RevocationStore,
    TokenFacts,
    VerificationKey,
)
from authkit_memory import (
    MemoryAuditSink,
    MemoryKeyProvider,
    MemoryRateLimiter,
    MemoryRevocationStore,
)

auth = Auth()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    verifier = Verifier(
        TrustedIssuer("https://login.example.com", audience="orders-api"),
        revocations=MemoryRevocationStore(),
        limiter=MemoryRateLimiter(),
        limits=[RateLimit(name="api", rate=600, per_seconds=60, burst=100, by="subject")],
        audit=LoggingAuditSink(),
    )
    async with verifier:
        with auth.using(verifier):
            yield


app = FastAPI(lifespan=lifespan)


@app.get("/orders")
async def orders(
    caller: Annotated[Principal, Security(auth, scopes=["orders:read"])],
    admin: Annotated[Principal, Depends(auth.require(roles={"admin"}, max_age_seconds=300))],
    perhaps: Annotated[Principal | None, Depends(auth.optional)],
) -> dict[str, str | None]:
    assert_type(caller.scopes, frozenset[str])
    assert_type(caller.expires_at, float)
    return {"subject": caller.subject, "admin": admin.subject}


async def verifying(verifier: Verifier, token: str) -> None:
    principal = await verifier.verify(
        token,
        require=Requirement(any_scope={"a", "b"}),
        context=RequestContext(client_address="192.0.2.1", request_id=None, trace_id=None),
    )
    assert_type(principal, Principal)
    receipt = await verifier.revoke(Revocation.of(principal, reason="logged out"))
    assert_type(receipt, RevocationReceipt)
    await verifier.lift(
        Revocation(scope=RevocationScope.SUBJECT, issuer=principal.issuer, id="alice")
    )


def reasons(error: AuthkitError) -> str | float:
    match error:
        case TokenExpired():
            return error.claim
        case ClaimRejected():
            return error.reason
        case RateLimited():
            return error.retry_after_seconds
        case _:
            return error.code


# A backend is any class with these methods: no base class, no registration.


class OwnKeys:
    async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        return ()


class OwnRevocations:
    max_token_lifetime_seconds = 3600.0

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        return RevocationReceipt(revocation=revocation, effective_at=0.0)

    async def find(self, token: TokenFacts) -> Revocation | None:
        return None


class OwnLimits:
    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        return LimitDecision(allowed=True, states=(), is_degraded=False)


class OwnAudit:
    async def write(self, events: Sequence[AuditEvent]) -> None: ...


own = Verifier(
    TrustedIssuer("urn:example:issuer", ["orders-api", "stock-api"], keys=OwnKeys()),
    TrustedIssuer("https://two.example.com", "orders-api", mapping="keycloak"),
    revocations=OwnRevocations(),
    limiter=OwnLimits(),
    audit=AuditTrail(FanOutAuditSink(OwnAudit(), LoggingAuditSink()), chain_key=b"k" * 32),
)
without = Verifier(TrustedIssuer("https://one.example.com", "api"), revocations=NoRevocation())

keys: list[KeyProvider] = [
    OwnKeys(),
    MemoryKeyProvider.from_jwks({"keys": []}),
    RemoteKeyProvider(jwks_url="https://login.example.com/jwks"),
]
stores: list[RevocationStore] = [OwnRevocations(), MemoryRevocationStore(), NoRevocation()]
limiters: list[RateLimiter] = [OwnLimits(), MemoryRateLimiter()]
sinks: list[AuditSink] = [OwnAudit(), MemoryAuditSink(), LoggingAuditSink()]
