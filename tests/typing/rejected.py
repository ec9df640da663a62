"""Misuses that type checkers must refuse.  Read by mypy, never run.

Each line that ends in `# refused: <code>` must be an error of that code, and no other line.
"""

from __future__ import annotations

from collections.abc import Sequence

from authkit import (
    NoRevocation,
    Principal,
    RateLimit,
    Requirement,
    Revocation,
    RevocationReceipt,
    RevocationScope,
    TrustedIssuer,
    Verifier,
)
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
from authkit.jose.jws import UnverifiedToken, verify_signature

ISSUER = "https://login.example.com"
trusted = TrustedIssuer(ISSUER, "api")


# A check that is skipped is a type error: each step takes only what the step before it made.


def skipping(token: UnverifiedToken, keys: Sequence[VerificationKey]) -> None:
    trusted.accept(token, 0.0)  # refused: arg-type
    trusted.accept({"sub": "eve"}, 0.0)  # refused: arg-type
    verify_signature("a.b.c", token.header(), keys)  # refused: arg-type
    verify_signature(token, {"alg": "none"}, keys)  # refused: arg-type
    verify_signature(token, token.header(), ["secret"])  # refused: list-item
    trusted.check_algorithm("RS256")  # refused: arg-type


async def verifying(verifier: Verifier, token: UnverifiedToken) -> None:
    await verifier.verify(token)  # refused: arg-type
    await verifier.verify(b"a.b.c")  # refused: arg-type
    await verifier.verify("a.b.c", Requirement())  # refused: call-arg
    await verifier.verify("a.b.c", require={"orders:read"})  # refused: arg-type
    forgotten: Principal = verifier.verify("a.b.c")  # refused: assignment
    maybe: str = (await verifier.verify("a.b.c")).subject  # refused: assignment


# Nothing that decides is left out, or left to a default by accident.

TrustedIssuer(ISSUER)  # refused: call-arg
TrustedIssuer(ISSUER, None)  # refused: arg-type
TrustedIssuer(ISSUER, "api", algorithms=None)  # refused: arg-type
TrustedIssuer(ISSUER, "api", mapping="unheard-of")  # refused: arg-type
Verifier(trusted)  # refused: call-arg
Verifier(trusted, revocations=None)  # refused: arg-type
Verifier(ISSUER, revocations=NoRevocation())  # refused: arg-type
Verifier(trusted, revocations=NoRevocation)  # refused: arg-type
RateLimit(name="api", rate=1, per_seconds=1, burst=1, by="user")  # refused: arg-type
RateLimit("api", 1, 1, 1, "subject")  # refused: call-arg
Revocation(scope="token", issuer=ISSUER, id="1")  # refused: arg-type
Revocation(RevocationScope.TOKEN, ISSUER, "1")  # refused: call-arg


# Values that are shared are not changed.


def changing(revocation: Revocation, token: TokenFacts, caller: Principal) -> None:
    revocation.id = "other"  # refused: misc
    token.subject = "eve"  # refused: misc
    caller.claims["roles"] = ["admin"]  # refused: index
    caller.scopes.add("admin")  # refused: attr-defined


# A backend that is not one.


class Blocking:
    max_token_lifetime_seconds = 3600.0

    def find(self, token: TokenFacts) -> Revocation | None:
        return None

    def revoke(self, revocation: Revocation) -> RevocationReceipt:
        return RevocationReceipt(revocation=revocation, effective_at=0.0)


class WithoutRevoking:
    max_token_lifetime_seconds = 3600.0

    async def find(self, token: TokenFacts) -> Revocation | None:
        return None


class OneKey:
    async def find(self, kid: str | None, alg: str) -> VerificationKey | None:
        return None


class Verdict:
    async def acquire(self, requests: Sequence[LimitRequest]) -> bool:
        return True


class OneByOne:
    async def write(self, event: AuditEvent) -> None: ...


blocking: RevocationStore = Blocking()  # refused: assignment
incomplete: RevocationStore = WithoutRevoking()  # refused: assignment
one_key: KeyProvider = OneKey()  # refused: assignment
verdict: RateLimiter = Verdict()  # refused: assignment
one_by_one: AuditSink = OneByOne()  # refused: assignment
decision = LimitDecision(allowed=True, states=())  # refused: call-arg
