"""Input that makes a library stumble: a crash in place of a refusal is a 500, or worse.

Would have caught: CVE-2019-12995 (a malformed token crashes the proxy), CVE-2024-45809 and
CVE-2025-64527 (so do tokens and key sets of a remote issuer), and every exception outside its own
family that the library beneath is known to raise.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from authkit.errors import TokenMalformed, TokenRefused
from authkit.jose.encoding import NotStrict
from authkit.jose.jwk import KeyLease, UnusableKey, parse_jwk_set
from tests.attacks.forging import CLAIMS, attacker, forged, segment, signer, verify

HEADERS: list[bytes] = [
    b'["alg"]', b'"alg"', b'["alg","b64"]', b'["alg","crit"]', b"null", b"1", b"[]", b"",
    b'{"alg":"RS256","crit":1}', b'{"alg":"RS256","crit":null}', b'{"alg":"RS256","crit":true}',
    b'{"alg":"RS256","crit":[[]]}', b'{"alg":"RS256","crit":[{}]}', b'{"alg":"RS256","crit":[1]}',
    b'{"alg":["RS256"]}', b'{"alg":{}}', b'{"alg":null}', b'{"alg":1e999}', b'{"alg":"\\ud800"}',
    b'{"alg":"RS256","kid":"\\ud800"}', b'{"alg":"RS256","typ":[]}', b"[" * 383, b"\xff\xfe\0",
]  # fmt: skip
KEYS: list[Any] = [
    {}, {"kty": ["RSA"]}, {"kty": {}}, {"kty": "EC", "crv": "P-999"},
    {"kty": "OKP", "crv": "Ed999"}, {"kty": "EC", "crv": ["P-256"], "x": "AA", "y": "AA"},
    {"kty": "EC", "crv": {}, "x": "", "y": ""}, {"kty": "EC", "crv": "P-256"},
    {"kty": "RSA", "n": "", "e": "AQAB"}, {"kty": "RSA", "n": "AQAB", "e": ""},
    {"kty": "RSA", "n": "!!!!", "e": "AQAB"}, {"kty": "RSA", "n": "AQAB=", "e": "AQAB"},
    {"kty": "RSA", "n": "é", "e": "AQAB"}, {"kty": "RSA", "n": 5, "e": 3},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": ["sig"], "key_ops": ["verify"]},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "key_ops": "verify"},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "key_ops": [[]]},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "x5u": 5, "alg": None, "kid": None},
    {"kty": "RSA", "n": "AAAA", "e": "AQAB"}, {"kty": "RSA", "n": "AQ", "e": "AQAB"},
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    {"kty": "OKP", "crv": "Ed25519", "x": "AA"}, {"kty": "oct", "k": ""}, {"kty": "oct", "k": "a"},
    {"kty": "oct", "k": None}, {"kty": "oct"}, None, True, 1, "RSA", [], [[]],
]  # fmt: skip
DOCUMENTS: list[bytes] = [
    b"", b"{}", b"[]", b"null", b'"html"', b"<html>", b'{"keys":null}', b'{"keys":5}',
    b'{"keys":{}}', b'{"keys":"k"}', b'{"keys":[', b"\0", b"\xff", b"[" * 10_000, b"9" * 5_000,
    b'{"keys":[[[[[[]]]]]}', b'{"keys":[{"kty":"RSA","n":"\\ud800","e":"AQAB"}]}',
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS, ids=repr)
def test_a_malformed_header_is_a_refusal(header: bytes) -> None:
    """Unsigned or genuinely signed."""
    for text in (forged(header), signer("RS256").sign(header, CLAIMS)):
        with pytest.raises(TokenMalformed):
            verify(text, signer("RS256").public_jwk())


@pytest.mark.parametrize("payload", [*HEADERS[:8], b"[" * 990, b'{"a":' + b"[" * 5_000], ids=len)
def test_a_malformed_payload_is_a_refusal(payload: bytes) -> None:
    """Unsigned or genuinely signed."""
    for text in (forged({"alg": "RS256"}, payload), signer("RS256").sign({}, payload)):
        with pytest.raises(TokenMalformed):
            verify(text, signer("RS256").public_jwk())


@pytest.mark.parametrize(
    "text",
    [
        "\ud800",
        "a.\ud800.c",
        "\0",
        "..",
        "a.b.c",
        "é.é.é",
        "e30.e30.\ud800",
        None,
        1,
        b"a.b.c",
        {},
        [],
    ],
    ids=repr,
)
def test_no_text_at_all_is_a_refusal(text: Any) -> None:
    """Whatever is handed in as a token."""
    with pytest.raises(TokenMalformed):
        verify(text, signer("RS256").public_jwk())


@pytest.mark.parametrize("entry", KEYS, ids=repr)
def test_a_broken_key_costs_only_itself(entry: object) -> None:
    """The keys beside it work, whether it stands before them or after (RFC 7517 section 5)."""
    good = signer("ES256").public_jwk()
    for order in ([entry, good], [good, entry]):
        usable = []
        for key in parse_jwk_set(json.dumps({"keys": order}).encode()):
            try:
                usable.append(key.verification_key(KeyLease(0.0)).kid)
            except UnusableKey:
                continue
        assert usable == [good["kid"]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: repr(document[:20]))
def test_a_broken_key_set_is_not_strict(document: bytes) -> None:
    """One exception for all of it, which whoever fetches it knows."""
    with pytest.raises(NotStrict):
        parse_jwk_set(document)


def test_after_every_attack_the_good_token_still_passes() -> None:
    """No attack leaves anything behind: neither a key, nor a lowered guard."""
    good = signer("RS256").sign({}, CLAIMS)
    for attack in (
        *(forged(header) for header in HEADERS),
        attacker("RS256").sign({"jwk": attacker("RS256").public_jwk()}, CLAIMS),
        forged({"alg": "none"}),
        f"{segment({'alg': 'HS256'})}.{segment(CLAIMS)}.AAAA",
        "." * 1000,
    ):
        with pytest.raises(TokenRefused):
            verify(attack, signer("RS256").public_jwk())
        assert verify(good, signer("RS256").public_jwk()).claims == CLAIMS
