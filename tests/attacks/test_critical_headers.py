"""The token demands an extension, and the verifier passes over it.

Would have caught: CVE-2025-59420 and CVE-2026-32597 (`crit` ignored), python-jose issue 413,
CVE-2026-48525 and GHSA-wphv-vfrh-23q5 (`b64` false honoured in JWTs).
"""

from __future__ import annotations

from typing import Any

import pytest

from authkit.errors import TokenMalformed
from authkit.jose.encoding import encode_base64url
from tests.attacks.forging import CLAIMS, segment, signer, verify

ILL_FORMED: list[Any] = [
    [], "", "exp", None, 0, 1, True, 1.5, {}, {"exp": 1}, [[]], [{}], [1], [None], [""], ["alg", 1],
]  # fmt: skip
NOT_TO_BE_LISTED = [["alg"], ["kid"], ["typ"], ["crit"], ["jwk"], ["x5c"], ["cty"]]


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA", "HS256"])
def test_an_extension_is_not_passed_over(alg: str) -> None:
    """Genuinely signed, demanding what nobody here understands: refused (RFC 7515 4.1.11)."""
    for name in ("bork", "http://openid.net/x", "exp", "cnf", "b64", "ext"):
        text = signer(alg).sign({"crit": [name], name: True}, CLAIMS)
        with pytest.raises(TokenMalformed):
            verify(text, signer(alg).jwk())
        with pytest.raises(TokenMalformed):
            verify(signer(alg).sign({"crit": [name]}, CLAIMS), signer(alg).jwk())
    assert verify(signer(alg).sign({"bork": True}, CLAIMS), signer(alg).jwk())


@pytest.mark.parametrize("crit", [*ILL_FORMED, *NOT_TO_BE_LISTED, ["kid", "kid"]], ids=repr)
def test_an_ill_formed_crit_is_refused(crit: object) -> None:
    """Of the wrong type, empty, doubled, or naming what the specification itself defines."""
    with pytest.raises(TokenMalformed):
        verify(signer("ES256").sign({"crit": crit}, CLAIMS), signer("ES256").public_jwk())


@pytest.mark.parametrize("b64", [False, True, None, 0, 1, "false", []], ids=repr)
@pytest.mark.parametrize("crit", [{}, {"crit": ["b64"]}], ids=["alone", "in crit"])
def test_an_unencoded_payload_is_refused(b64: object, crit: dict[str, Any]) -> None:
    """RFC 7797 section 7 forbids it for JWTs; with or without `crit`, encoded or raw."""
    key = signer("HS256")
    with pytest.raises(TokenMalformed):
        verify(key.sign({"b64": b64, **crit}, CLAIMS), key.jwk())
    header = segment({"alg": "HS256", "kid": key.kid, "b64": b64, **crit})
    for raw in ('{"sub":"raw"}', "", "e30"):
        signature = key._algorithm.sign(f"{header}.{raw}".encode(), key._key)
        with pytest.raises(TokenMalformed):
            verify(f"{header}.{raw}.{encode_base64url(signature)}", key.jwk())
