"""A verifier on memory backends, an issuer that signs for it, and everything it puts on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from authkit.interfaces import AuditEvent, KeyLease, VerificationKey
from authkit.jose.jwk import JWK
from authkit.jose.signing import SigningKey
from authkit.policy import TrustedIssuer
from authkit.testing import ManualClock
from authkit.verifier import NoRevocation, Verifier

ISSUER = "https://login.example.com"
SIGNING_KEY = SigningKey.generate("ES256", kid="k1")
OTHER_KEY = SigningKey.generate("ES256", kid="k1")


class ScriptedKeys:
    """A KeyProvider that gives what a test put in, counts, and fails when told to."""

    def __init__(self, *keys: SigningKey) -> None:
        self.lease = KeyLease(trusted_until=float("inf"))
        self.keys = [JWK(key.public_jwk()).verification_key(self.lease) for key in keys]
        self.finds = 0
        self.failure: BaseException | None = None

    async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        self.finds += 1
        if self.failure is not None:
            raise self.failure
        return tuple(key for key in self.keys if kid in (None, key.kid) and alg in key.algorithms)


class KeepingSink:
    """An AuditSink that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    async def write(self, events: Sequence[AuditEvent]) -> None:
        self.events.extend(events)

    def requests(self) -> list[AuditEvent]:
        return [event for event in self.events if event.type == "token.verified"]


class Bench:
    """All that a test of the verifier touches."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.keys = ScriptedKeys(SIGNING_KEY)
        self.sink = KeepingSink()

    def issuer(self, **options: Any) -> TrustedIssuer:
        return TrustedIssuer(ISSUER, "orders", **{"keys": self.keys, **options})

    def verifier(self, *issuers: TrustedIssuer, **options: Any) -> Verifier:
        parts = {"revocations": NoRevocation(), "audit": self.sink, "clock": self.clock, **options}
        return Verifier(*(issuers or (self.issuer(),)), **parts)

    def token(
        self,
        header: Mapping[str, Any] | None = None,
        key: SigningKey = SIGNING_KEY,
        **changes: Any,
    ) -> str:
        now = self.clock.time()
        claims = {
            "iss": ISSUER,
            "aud": "orders",
            "sub": "alice",
            "client_id": "web",
            "jti": "t-1",
            "iat": now,
            "exp": now + 300,
            **changes,
        }
        return key.sign({"typ": "at+jwt", **(header or {})}, claims)
