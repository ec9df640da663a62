"""What the demo sends, and what must come back."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from authkit.demo.app import BURST, COOLDOWN_SECONDS
from authkit.jose.encoding import decode_base64url, encode_base64url, parse_json_object
from authkit.jose.signing import SigningKey
from authkit.testing import LocalIssuer

__all__ = ["Step", "scenario"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request.

    Attributes:
        name: what it shows.
        token: sent as a bearer token; None sends none.
        status: the status that must come back.
        code: the `code` of the problem document that must come back; None where it is no refusal.
        path: where it is sent.
        method: how.
        before: done first.
        repeat: how often it is sent; the last answer counts.
    """

    name: str
    token: str | None
    status: int
    code: str | None = None
    path: str = "/orders"
    method: str = "GET"
    before: Callable[[], None] | None = None
    repeat: int = 1


def scenario(issuer: LocalIssuer, unreachable: LocalIssuer) -> Iterator[Step]:
    """The steps in order; each is made when it is asked for, since some change the issuer."""
    read = ["orders:read"]
    good = issuer.token(scopes=read)
    yield Step(name="no token", token=None, status=401, code="credential_missing")
    yield Step(name="good token", token=good, status=200)
    yield Step(name="good token, proven before", token=good, status=200)
    yield Step(name="missing scope", token=issuer.token(), status=403, code="insufficient_scope")
    yield from _forgeries(issuer, good)
    yield from _rotation(issuer)
    yield Step(name="log out", token=good, status=200, path="/logout", method="POST")
    yield Step(name="revoked token", token=good, status=401, code="token_revoked")
    bob, admin = issuer.token("bob", scopes=read), issuer.token("root", scopes=["admin"])
    yield Step(name="lock bob", token=admin, status=200, path="/lock/bob", method="POST")
    yield Step(name="revoked subject", token=bob, status=401, code="token_revoked")
    yield Step(
        name="over the limit",
        token=issuer.token("greedy", scopes=read),
        status=429,
        code="rate_limited",
        repeat=BURST + 1,
    )
    yield Step(
        name="provider down, keys known",
        token=issuer.token("carol", scopes=read),
        status=200,
        before=issuer.go_down,
    )
    yield Step(
        name="provider never reached",
        token=unreachable.token(scopes=read),
        status=503,
        code="backend_unavailable",
        before=issuer.come_back,
    )


def _forgeries(issuer: LocalIssuer, good: str) -> Iterator[Step]:
    read = ["orders:read"]
    header, payload, signature = good.split(".")
    claims = parse_json_object(decode_base64url(payload))
    tampered = _segment({**claims, "sub": "root"})
    yield Step(
        name="tampered",
        token=f"{header}.{tampered}.{signature}",
        status=401,
        code="signature_invalid",
    )
    yield Step(
        name="expired",
        token=issuer.token(scopes=read, expires_in=-60),
        status=401,
        code="token_expired",
    )
    yield Step(
        name="wrong audience",
        token=issuer.token(scopes=read, audience="billing-api"),
        status=401,
        code="audience_mismatch",
    )
    yield Step(
        name="alg: none",
        token=f"{_segment({'alg': 'none'})}.{payload}.",
        status=401,
        code="algorithm_not_allowed",
    )
    yield Step(
        name="key confusion",
        token=_confused(issuer, payload),
        status=401,
        code="algorithm_not_allowed",
    )
    yield Step(
        name="unknown key",
        token=issuer.token(scopes=read, key=SigningKey.generate("RS256")),
        status=401,
        code="key_not_found",
        before=_after_the_cooldown,
    )


def _confused(issuer: LocalIssuer, payload: str) -> str:
    """A token "signed" with the public key, which everybody has, as if it were a shared secret."""
    key = issuer.signing_key
    signing_input = f"{_segment({'alg': 'HS256', 'kid': key.kid})}.{payload}"
    secret = json.dumps(key.public_jwk()).encode()
    signature = hmac.digest(secret, signing_input.encode(), "sha256")
    return f"{signing_input}.{encode_base64url(signature)}"


def _rotation(issuer: LocalIssuer) -> Iterator[Step]:
    issuer.rotate(keep_old=True)
    yield Step(
        name="rotated key",
        token=issuer.token(scopes=["orders:read"]),
        status=200,
        before=_after_the_cooldown,
    )


def _after_the_cooldown() -> None:
    time.sleep(COOLDOWN_SECONDS * 1.5)


def _segment(value: object) -> str:
    return encode_base64url(json.dumps(value).encode())
