"""Little bytes, much work: each bound stands before the work that it bounds.

Would have caught: CVE-2025-27144 (a token of dots), CVE-2025-61920 and CVE-2026-48525 (no size
limits), CVE-2024-33664 (bombs), the quadratic integers of CVE-2020-10735, deep nesting, and keys of
absurd size or exponent.
"""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from authkit.errors import KeyNotFound, TokenMalformed
from authkit.jose import encoding, jwk, jws
from authkit.jose.encoding import NotStrict, encode_base64url, parse_json_object
from authkit.jose.jws import MAX_TOKEN_BYTES, UnverifiedToken
from tests.attacks.forging import CLAIMS, forged, signer, verify


def unreachable(*_: object, **__: object) -> Any:
    raise AssertionError("work was done before the bound was looked at")


@pytest.mark.parametrize(
    "text",
    [
        "A" * (MAX_TOKEN_BYTES + 1),
        "." * (MAX_TOKEN_BYTES + 1),
        "." * MAX_TOKEN_BYTES,
        "e30." * (MAX_TOKEN_BYTES // 4),
        "e30.e30." + "A" * 2000,
        "e30." + "A" * MAX_TOKEN_BYTES + ".AAAA",
        "A" * 100_000_000,
    ],
    ids=["letters", "dots", "many dots", "many segments", "long signature", "long payload", "huge"],
)
def test_an_oversized_token_is_not_decoded(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its length or its shape refuses it, without a copy of it being made."""
    monkeypatch.setattr(jws, "decode_base64url", unreachable)
    monkeypatch.setattr(jws, "parse_json_object", unreachable)
    tracemalloc.start()
    try:
        with pytest.raises(TokenMalformed):
            UnverifiedToken.parse(text)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_TOKEN_BYTES
    finally:
        tracemalloc.stop()


def test_an_oversized_header_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one that fills the token."""
    token = UnverifiedToken.parse(forged(b'{"alg":"RS256","x":"' + b"x" * 9_000 + b'"}'))
    monkeypatch.setattr(jws, "decode_base64url", unreachable)
    with pytest.raises(TokenMalformed):
        token.header()


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
        b'{"a":' + b"[" * 12_000,
        b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"a":' + b"[[],{}," * 1_000 + b"[]" + b"]" * 1_000 + b"}",
        b'{"a":' + b"9" * 12_000 + b"}",
        b'{"a":[' + b",".join([b"9" * 4_300] * 2) + b"]}",
        b'{"a":-' + b"9" * 309 + b"}",
        b'{"a":1e' + b"9" * 10_000 + b"}",
    ],
    ids=["objects", "open", "arrays", "mixed", "digits", "integers", "negative", "exponent"],
)
def test_deep_and_long_payloads_are_refused(payload: bytes) -> None:
    """Genuinely signed or not: the claims are looked at first, and cheaply."""
    for text in (signer("HS256").sign({}, payload), forged({"alg": "RS256"}, payload)):
        with pytest.raises(TokenMalformed):
            verify(text, signer("HS256").jwk())


def test_no_integer_is_made_of_too_many_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2020-10735: the text is measured before it becomes a number."""
    monkeypatch.setattr(encoding, "int", unreachable, raising=False)
    with pytest.raises(NotStrict):
        parse_json_object(b'{ "a" : ' + b"9" * 309 + b"}")


def test_many_names_are_read_in_linear_time() -> None:
    """As many as fit into a token, none twice; the last one twice is still found."""
    names = ",".join(f'"{i:x}":0' for i in range(1500))
    assert len(parse_json_object(b"{" + names.encode() + b"}")) == 1500
    with pytest.raises(NotStrict, match="duplicate"):
        parse_json_object(b"{" + names.encode() + b',"0":0}')


@pytest.mark.parametrize(
    "material",
    [
        {"kty": "RSA", "n": encode_base64url(b"\xff" * 12_500), "e": "AQAB"},
        {"kty": "RSA", "n": encode_base64url(b"\xff" * 1_000_000), "e": "AQAB"},
        {"kty": "RSA", "n": encode_base64url(b"\xff" * 256), "e": encode_base64url(b"\xff" * 256)},
        {"kty": "EC", "crv": "P-256", "x": "A" * 10_000, "y": "A" * 10_000},
        {"kty": "OKP", "crv": "Ed25519", "x": "A" * 10_000},
        {"kty": "oct", "k": "A" * 100_000},
    ],
    ids=["n of 100 000 bits", "n of 8 000 000 bits", "e as long as n", "EC", "OKP", "oct"],
)
def test_an_absurd_key_is_never_imported(
    material: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The length of its text refuses it; tokens that ask for it find no key."""
    monkeypatch.setattr(jwk, "import_material", unreachable)
    with pytest.raises(KeyNotFound):
        verify(forged({"alg": "RS256", "kid": "k"}), {**material, "kid": "k"})


def test_a_slow_exponent_is_refused_at_the_import() -> None:
    """One of 64 bits makes each verification several times as slow; 32 bits are the most."""
    public = signer("RS256").public_jwk()
    text = signer("RS256").sign({}, CLAIMS)
    assert verify(text, public)
    for e in (2**64 - 1, 2**33 + 1, 2**100 + 1):
        slow = {**public, "e": encode_base64url(e.to_bytes(16, "big").lstrip(b"\0"))}
        with pytest.raises(KeyNotFound):
            verify(text, slow)


def test_a_key_set_has_bounds_of_its_own() -> None:
    """More keys than any issuer has, or keys nested in keys, are no key set."""
    with pytest.raises(NotStrict):
        jwk.parse_jwk_set(b'{"keys":[' + b"{}," * 1_000 + b"{}]}")
    with pytest.raises(NotStrict):
        jwk.parse_jwk_set(b'{"keys":' * 40 + b"[]" + b"}" * 40)
