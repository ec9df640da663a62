"""Encrypted and nested tokens: the expensive, chatty half of JOSE is not here at all.

Would have caught: CVE-2016-6298 and CVE-2026-28490 (padding oracles), CVE-2022-3102 (a JWE where a
JWS is expected), CVE-2023-6681 and CVE-2026-27932 (PBES2 with millions of rounds), CVE-2024-28102,
CVE-2024-33664 and CVE-2026-39373 (compression bombs).
"""

from __future__ import annotations

from typing import Any

import pytest

from authkit.errors import KeyNotFound, SignatureInvalid, TokenMalformed
from authkit.jose import jws
from tests.attacks.forging import CLAIMS, forged, segment, signer, verify

HEADERS: list[dict[str, Any]] = [
    {"alg": "dir", "enc": "A256GCM"},
    {"alg": "RSA1_5", "enc": "A128CBC-HS256"},
    {"alg": "RSA-OAEP", "enc": "A256GCM", "zip": "DEF"},
    {"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 2**31 - 1, "p2s": "AAAA"},
    {
        "alg": "ECDH-ES",
        "enc": "A256GCM",
        "epk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    },
    {"alg": "A256KW", "enc": "A256GCM", "cty": "JWT"},
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: str(header["alg"]))
def test_a_jwe_is_refused_by_its_shape(
    header: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five segments: refused before anything is decoded, and before any key is asked for."""

    def unreachable(*_: object) -> None:
        raise AssertionError("something of an encrypted token was decoded")

    monkeypatch.setattr(jws, "decode_base64url", unreachable)
    with pytest.raises(TokenMalformed):
        verify(f"{segment(header)}.AAAA.AAAA.AAAA.AAAA", signer("RS256").public_jwk())


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: str(header["alg"]))
def test_an_encryption_algorithm_verifies_nothing(header: dict[str, Any]) -> None:
    """In three segments its header is only a header, and its algorithm no key's."""
    for jwk in (
        signer("RS256").public_jwk(),
        {**signer("RS256").public_jwk(), "alg": header["alg"]},
    ):
        with pytest.raises((KeyNotFound, SignatureInvalid)):
            verify(forged(header), jwk)


def test_members_of_encryption_mean_nothing() -> None:
    """`zip`, `enc`, `p2c` in a signed token are unknown members: ignored, not acted upon."""
    members = {"zip": "DEF", "enc": "A256GCM", "p2c": 2**31 - 1, "epk": {}}
    signed = verify(signer("ES256").sign(members, CLAIMS), signer("ES256").public_jwk())
    assert signed.claims == CLAIMS


def test_a_nested_token_is_refused() -> None:
    """A token whose payload is a token has no claims of its own (RFC 7519 section 5.2)."""
    inner = signer("ES256").sign({}, CLAIMS)
    for header in ({"cty": "JWT"}, {}):
        with pytest.raises(TokenMalformed):
            verify(signer("ES256").sign(header, inner.encode()), signer("ES256").public_jwk())
