"""The token chooses how it is checked.

Would have caught: CVE-2016-5431, CVE-2017-11424, CVE-2022-29217, CVE-2024-33663, CVE-2024-37568 and
CVE-2026-34950 (a public key taken for a secret), CVE-2022-23540 and CVE-2026-28802 (`none`),
CVE-2022-23541, CVE-2026-11800, CVE-2026-22817 and CVE-2026-22818 (the header's algorithm wins over
the key's), CVE-2026-28498 (an unknown algorithm counts as verified), CVE-2026-48523 (the `alg` of a
key is not looked at).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authkit.errors import KeyNotFound, SignatureInvalid, TokenMalformed, TokenRefused
from authkit.jose.encoding import decode_base64url, encode_base64url
from authkit.jose.jwa import ALGORITHMS, ASYMMETRIC_ALGORITHMS
from authkit.jose.jwk import JWK, KeyLease, UnusableKey
from authkit.jose.signing import SigningKey
from tests.attacks.forging import CLAIMS, forged, segment, signer, verify

NONE_SPELLINGS = ["none", "None", "NONE", "nOnE", "none ", " none", "none\0", "nοne", "null", "0"]
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def public_texts(alg: str) -> dict[str, bytes]:
    """Every form in which a verifier may hold this public key, and an attacker find it."""
    jwk = signer(alg).public_jwk()
    key: Any = signer(alg)._key.public_key
    spki = PublicFormat.SubjectPublicKeyInfo
    pem = key.public_bytes(Encoding.PEM, spki)
    texts = {
        "pem": pem,
        "pem, no last newline": pem.rstrip(),
        "pem, leading space": b" " + pem,
        "pem, crlf": pem.replace(b"\n", b"\r\n"),
        "der": key.public_bytes(Encoding.DER, spki),
        "jwk": json.dumps(jwk).encode(),
        "jwk, compact": segment(jwk).encode(),
        "thumbprint": signer(alg).kid.encode(),
    }
    if jwk["kty"] == "RSA":
        texts["n"] = decode_base64url(jwk["n"])
        texts["n, text"] = jwk["n"].encode()
        texts["pkcs1"] = key.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    if alg in ("RS256", "ES256", "EdDSA"):
        texts["ssh"] = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return texts


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256", "ES512", "EdDSA"])
@pytest.mark.parametrize("mac", sorted(HASHES))
def test_a_public_key_is_no_secret(alg: str, mac: str) -> None:
    """A MAC made with any form of the published key is refused: HS* needs a key for HS*."""
    for secret in public_texts(alg).values():
        for kid in ({"kid": signer(alg).kid}, {}):
            signing_input = f"{segment({'alg': mac, **kid})}.{segment(CLAIMS)}"
            tag = hmac.new(secret, signing_input.encode(), HASHES[mac]).digest()
            with pytest.raises(KeyNotFound):
                verify(f"{signing_input}.{encode_base64url(tag)}", signer(alg).public_jwk())
    assert verify(signer(alg).sign({}, CLAIMS), signer(alg).public_jwk())


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_the_text_of_a_public_key_cannot_be_configured_as_a_secret(alg: str) -> None:
    """Not even by mistake, in any form that can be told from a secret."""
    forms = public_texts(alg)
    for form in ("pem", "pem, leading space", "pem, crlf", "der", "ssh", "jwk"):
        secret = forms.get(form, b"-----BEGIN ")
        jwk = {"kty": "oct", "k": encode_base64url(secret.ljust(64, b"\n"))}
        if form == "der":
            jwk = {"kty": "oct", "k": encode_base64url(secret)}
        with pytest.raises(UnusableKey):
            JWK(jwk).verification_key(KeyLease(0.0))


@pytest.mark.parametrize("alg", NONE_SPELLINGS)
def test_no_spelling_of_none_is_an_algorithm(alg: str) -> None:
    """With an empty, a stripped or a genuine signature, and whatever the key says of itself."""
    genuine = decode_base64url(signer("RS256").sign({}, CLAIMS).rpartition(".")[2])
    for signature in (b"", b"\0", genuine):
        text = forged({"alg": alg, "kid": signer("RS256").kid}, CLAIMS, signature)
        for change in ({}, {"alg": alg}, {"alg": None}):
            with pytest.raises(TokenRefused):
                verify(text, {**signer("RS256").public_jwk(), **change})


@pytest.mark.parametrize(
    "header", [{}, {"alg": None}, {"alg": ""}, {"alg": False}, {"alg": ["none"]}]
)
def test_without_an_algorithm_there_is_no_default(header: dict[str, Any]) -> None:
    """A missing `alg` is not RS256, not HS256 and not `none`."""
    with pytest.raises(TokenMalformed):
        verify(forged(header), signer("RS256").public_jwk())


@pytest.mark.parametrize("made", sorted(ALGORITHMS))
def test_a_signature_counts_under_its_own_algorithm_only(made: str) -> None:
    """Each algorithm's signature under each other's name, with all keys of the issuer at hand."""
    everything = [signer(alg).jwk() for alg in sorted(ALGORITHMS)]
    for named in sorted(ALGORITHMS.keys() - {made}):
        with pytest.raises(SignatureInvalid):
            verify(signer(made).sign({"alg": named, "kid": signer(named).kid}, CLAIMS), *everything)
        with pytest.raises(KeyNotFound):
            verify(signer(made).sign({"alg": named}, CLAIMS), *everything)
    assert verify(signer(made).sign({}, CLAIMS), *everything)


@pytest.mark.parametrize("published", ["RS256", "PS512"])
def test_the_alg_of_a_key_is_kept(published: str) -> None:
    """CVE-2026-48523: a key published for one algorithm signs under no other of its kind."""
    public = signer(published).public_jwk()
    for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
        genuine = SigningKey.from_jwk({**signer(published).jwk(), "alg": alg}).sign({}, CLAIMS)
        if alg == published:
            assert verify(genuine, public)
        else:
            with pytest.raises(KeyNotFound):
                verify(genuine, public)


@pytest.mark.parametrize("alg", sorted(ASYMMETRIC_ALGORITHMS))
def test_a_key_for_encryption_verifies_nothing(alg: str) -> None:
    """Whether `use` or `key_ops` says so."""
    text = signer(alg).sign({}, CLAIMS)
    public = signer(alg).public_jwk()
    for change in ({"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": ["sign"]}):
        with pytest.raises(KeyNotFound):
            verify(text, {**public, **change})
    assert verify(text, public)


def test_a_secret_among_public_keys_is_known_as_one() -> None:
    """So that whoever takes keys from elsewhere can leave it out (RFC 8725 section 3.2)."""
    for alg in sorted(ALGORITHMS):
        assert JWK(signer(alg).jwk()).is_symmetric == alg.startswith("HS")
