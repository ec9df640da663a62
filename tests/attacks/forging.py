"""What the attacks on tokens share: keys, a hand to forge with, and how a token is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from authkit.errors import KeyNotFound
from authkit.jose.encoding import encode_base64url
from authkit.jose.jwk import KeyLease, UnusableKey, parse_jwk_set
from authkit.jose.jws import SignedPayload, UnverifiedToken, verify_signature
from authkit.jose.signing import SigningKey

CLAIMS: Mapping[str, Any] = {"iss": "https://login.example.com", "sub": "ann", "exp": 4_000_000_000}


@cache
def signer(alg: str) -> SigningKey:
    """The issuer's key for an algorithm, the same in all tests."""
    return SigningKey.generate(alg)


@cache
def attacker(alg: str) -> SigningKey:
    """A key of nobody that anybody trusts, under the issuer's key id."""
    return SigningKey.generate(alg, kid=signer(alg).kid)


def segment(content: bytes | Mapping[str, Any]) -> str:
    if not isinstance(content, bytes):
        content = json.dumps(content, separators=(",", ":")).encode("utf-8")
    return encode_base64url(content)


def forged(
    header: bytes | Mapping[str, Any],
    claims: bytes | Mapping[str, Any] = CLAIMS,
    signature: bytes = b"",
) -> str:
    return f"{segment(header)}.{segment(claims)}.{encode_base64url(signature)}"


def verify(text: str, *published: Mapping[str, Any]) -> SignedPayload:
    """Checks a token as the verifier does, against a key set of these keys."""
    token = UnverifiedToken.parse(text)
    header = token.header()
    keys = []
    public = [{name: value for name, value in jwk.items() if name != "d"} for jwk in published]
    for jwk in parse_jwk_set(json.dumps({"keys": public}).encode()):
        if jwk.fits(header.kid, header.alg):
            try:
                keys.append(jwk.verification_key(KeyLease(0.0)))
            except UnusableKey:
                continue
    if not keys:
        raise KeyNotFound
    return verify_signature(token, header, keys)
