"""A key that anybody can sign for is published, or configured, and taken.

Would have caught: joserfc before 1.6.8 (an empty secret), CVE-2006-4339 (forgery with exponent 3),
CVE-2017-15361 (ROCA), CVE-2020-0601 (a curve of one's own), CVE-2022-23539 (keys of the wrong type
or size), CVE-2015-7940 (invalid curve points), and public keys of small order, under which one
signature fits every message.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc.jwk import RSAKey

from authkit.errors import KeyNotFound, SignatureInvalid
from authkit.jose.encoding import decode_base64url, encode_base64url
from authkit.jose.jwa import ALGORITHMS
from authkit.jose.jwk import JWK, KeyLease, UnusableKey
from tests.attacks.forging import CLAIMS, forged, segment, signer, verify

SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
P25519, P448 = 2**255 - 19, 2**448 - 2**224 - 1
ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303021606


def unsigned(alg: str) -> str:
    return f"{segment({'alg': alg, 'kid': 'k'})}.{segment(CLAIMS)}"


@pytest.mark.parametrize("size", [0, 1, 13, 14, 16, 31])
def test_a_short_secret_signs_nothing(size: int) -> None:
    """An empty one is known to everybody, a short one is found by trying (RFC 7518 3.2)."""
    secret = b"s" * size
    tag = hmac.new(secret, unsigned("HS256").encode(), hashlib.sha256).digest()
    text = f"{unsigned('HS256')}.{encode_base64url(tag)}"
    with pytest.raises(KeyNotFound):
        verify(text, {"kty": "oct", "kid": "k", "k": encode_base64url(secret)})


@pytest.mark.parametrize(("alg", "size"), [("HS384", 47), ("HS512", 63), ("HS512", 48)])
def test_a_secret_is_long_enough_for_its_algorithm(alg: str, size: int) -> None:
    """What does for HS256 does not for its larger brothers."""
    digest = {"HS384": hashlib.sha384, "HS512": hashlib.sha512}[alg]
    secret = b"s" * size
    tag = hmac.new(secret, unsigned(alg).encode(), digest).digest()
    with pytest.raises(KeyNotFound):
        verify(
            f"{unsigned(alg)}.{encode_base64url(tag)}",
            {"kty": "oct", "kid": "k", "k": encode_base64url(secret)},
        )


@pytest.mark.parametrize("alg", ["RS256", "PS256"])
def test_a_small_rsa_key_signs_nothing(alg: str) -> None:
    """1024 bits, genuinely signed: within reach of those who would forge (RFC 7518 3.3)."""
    private = rsa.generate_private_key(65537, 1024)
    with pytest.warns(match="2048"):
        key = RSAKey.import_key(private)
    signature = ALGORITHMS[alg].sign(unsigned(alg).encode(), key)
    public = key.as_dict(private=False)
    with pytest.raises(KeyNotFound):
        verify(f"{unsigned(alg)}.{encode_base64url(signature)}", {**public, "kid": "k"})


@pytest.mark.parametrize("e", [1, 3])
def test_an_rsa_exponent_that_forges_itself_is_refused(e: int) -> None:
    """Under exponent 1 the padded hash is its own signature; 3 is where forgeries began."""
    n = int.from_bytes(decode_base64url(signer("RS256").public_jwk()["n"]), "big")
    info = SHA256_INFO + hashlib.sha256(unsigned("RS256").encode()).digest()
    signature = b"\0\1" + b"\xff" * (253 - len(info)) + b"\0" + info
    text = f"{unsigned('RS256')}.{encode_base64url(signature)}"
    jwk = {"kty": "RSA", "kid": "k", "e": encode_base64url(bytes([e]))}
    with pytest.raises(KeyNotFound):
        verify(text, {**jwk, "n": encode_base64url(n.to_bytes(256, "big"))})


def small_order_points() -> dict[str, list[bytes]]:
    """Every encoding, canonical or not, of the points whose order divides the cofactor."""
    low = [0, 1, P25519 - 1, ORDER_8, P25519 - ORDER_8, P25519, P25519 + 1]
    ed25519 = [y | sign << 255 for y in low for sign in (0, 1)]
    ed448 = [y | sign << 455 for y in (0, 1, P448 - 1, P448, P448 + 1) for sign in (0, 1)]
    return {
        "Ed25519": [y.to_bytes(32, "little") for y in ed25519],
        "Ed448": [y.to_bytes(57, "little") for y in ed448],
    }


@pytest.mark.parametrize("crv", ["Ed25519", "Ed448"])
def test_points_of_small_order_are_no_keys(crv: str) -> None:
    """Under each of them some signature fits message after message (RFC 8032 section 7)."""
    for point in small_order_points()[crv]:
        with pytest.raises(UnusableKey):
            JWK({"kty": "OKP", "crv": crv, "x": encode_base64url(point)}).verification_key(
                KeyLease(0.0)
            )


def test_the_universal_signature_is_refused() -> None:
    """Under the neutral point, R = neutral and S = 0 fit everything; the library takes that."""
    neutral = b"\1" + bytes(31)
    signature = neutral + bytes(32)
    public = Ed25519PublicKey.from_public_bytes(neutral)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(neutral), "kid": "k"}
    for alg in ("EdDSA", "Ed25519"):
        public.verify(signature, unsigned(alg).encode())
        with pytest.raises(KeyNotFound):
            verify(f"{unsigned(alg)}.{encode_base64url(signature)}", jwk)


@pytest.mark.parametrize("crv", ["Ed25519", "Ed448"])
def test_half_of_all_encodings_are_no_points(crv: str) -> None:
    """The library imports them; that they are not on the curve is found here."""
    size = {"Ed25519": 32, "Ed448": 57}[crv]
    usable = 0
    for y in range(2, 102):
        x = encode_base64url(y.to_bytes(size, "little"))
        try:
            usable += bool(JWK({"kty": "OKP", "crv": crv, "x": x}).verification_key(KeyLease(0.0)))
        except UnusableKey:
            continue
    assert 25 < usable < 75


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "EdDSA", "Ed448"])
def test_no_curve_of_ones_own(alg: str) -> None:
    """CVE-2020-0601: parameters and generators in a key are no members of it; the name counts."""
    own: dict[str, Any] = {"g": "AA", "p": "AA", "a": "AA", "b": "AA", "n": "AA", "curve": {}}
    signed = verify(signer(alg).sign({}, CLAIMS), {**signer(alg).public_jwk(), **own})
    assert signed.key.thumbprint == signer(alg).kid
    for crv in ("P-192", "secp256k1", "wei25519", "X25519", None, ["P-256"]):
        with pytest.raises(KeyNotFound):
            verify(signer(alg).sign({}, CLAIMS), {**signer(alg).public_jwk(), "crv": crv})


def test_an_unusable_key_beside_a_good_one_changes_nothing() -> None:
    """Of the same key id even: the good one verifies, and no other token passes for it."""
    good = signer("RS256").public_jwk()
    weak = {"kty": "RSA", "kid": good["kid"], "n": encode_base64url(b"\xff" * 64), "e": "Aw"}
    for order in ((weak, good), (good, weak)):
        assert verify(signer("RS256").sign({}, CLAIMS), *order)
        with pytest.raises(SignatureInvalid):
            verify(forged({"alg": "RS256", "kid": good["kid"]}, CLAIMS, b"\1" * 64), *order)
