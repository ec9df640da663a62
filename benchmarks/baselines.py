"""What authkit is compared with: the floor below it, and the peers beside it."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any

import jwt as pyjwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from authkit.jose.encoding import decode_base64url
from authkit.jose.signing import SigningKey
from benchmarks.measure import Batch

__all__ = ["dict_look_up", "joserfc_decode", "pyjwt_decode", "raw_verify"]


def _batch(call: Callable[[str], object]) -> Batch:
    async def run(tokens: Sequence[bytes]) -> None:
        for token in tokens:
            call(token.decode())

    return run


def raw_verify(key: SigningKey, token: str) -> Batch:
    """The bare signature check, everything else done before."""
    signing_input, _, signature_text = token.rpartition(".")
    message, signature = signing_input.encode(), decode_base64url(signature_text)
    if key.alg.startswith("HS"):
        secret = decode_base64url(key.jwk()["k"])
        return _batch(
            lambda _: hmac.compare_digest(hmac.digest(secret, message, "sha256"), signature)
        )
    public: Any = pyjwt.PyJWK(key.public_jwk()).key
    if key.alg == "RS256":
        pad, sha256 = padding.PKCS1v15(), hashes.SHA256()
        return _batch(lambda _: public.verify(signature, message, pad, sha256))
    if key.alg == "ES256":
        half = len(signature) // 2
        r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
        der, ecdsa = encode_dss_signature(r, s), ec.ECDSA(hashes.SHA256())
        return _batch(lambda _: public.verify(der, message, ecdsa))
    return _batch(lambda _: public.verify(signature, message))


def dict_look_up(token: str) -> Batch:
    """One look-up among ten thousand tokens."""
    table = {f"{token[:-8]}{number:08}": number for number in range(10_000)} | {token: 1}
    return _batch(table.get)


def pyjwt_decode(key: SigningKey, issuer: str, audience: str) -> Batch:
    """PyJWT as its documentation uses it, the key loaded."""
    public = pyjwt.PyJWK(key.public_jwk()).key
    return _batch(
        lambda token: pyjwt.decode(
            token, public, algorithms=[key.alg], audience=audience, issuer=issuer
        )
    )


def joserfc_decode(key: SigningKey, issuer: str, audience: str) -> Batch:
    """joserfc as its documentation uses it: decode, then validate the claims."""
    keys = KeySet.import_key_set({"keys": [key.public_jwk()]})
    algorithms = [key.alg]

    def call(token: str) -> None:
        decoded = joserfc_jwt.decode(token, keys, algorithms=algorithms)
        registry = joserfc_jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
        )
        registry.validate(decoded.claims)

    return _batch(call)
