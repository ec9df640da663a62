"""What authkit is compared with: the floor below it, and the peers beside it."""

from __future__ import annotations

import contextlib
import hmac
import time
from collections.abc import Callable, Iterator, Sequence
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

__all__ = ["AUDIENCE", "ISSUER", "dict_look_up", "peers", "raw_verify", "token_of"]

ISSUER, AUDIENCE = "https://login.example.com", "orders-api"


def token_of(key: SigningKey) -> str:
    """An access token of ordinary size."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": "248289761001",
        "aud": AUDIENCE,
        "client_id": "s6BhdRkqt3",
        "exp": now + 3600,
        "iat": now,
        "jti": "dbe39bf3a3ba4238a513f51d6e1691c4",
        "scope": "openid profile orders:read orders:write",
    }
    return key.sign({"typ": "at+jwt"}, claims)


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


def peers(key: SigningKey) -> Iterator[tuple[str, Batch]]:
    """Other libraries as their documentation uses them, the key loaded before, by name."""
    public = pyjwt.PyJWK(key.public_jwk()).key
    options: Any = {"algorithms": [key.alg], "audience": AUDIENCE, "issuer": ISSUER}
    yield "PyJWT", _batch(lambda token: pyjwt.decode(token, public, **options))

    published: Any = {"keys": [key.public_jwk()]}
    keys, algorithms = KeySet.import_key_set(published), [key.alg]
    claims: Any = {
        "iss": {"essential": True, "value": ISSUER},
        "aud": {"essential": True, "value": AUDIENCE},
        "exp": {"essential": True},
    }

    def decode(token: str) -> None:
        decoded = joserfc_jwt.decode(token, keys, algorithms=algorithms)
        joserfc_jwt.JWTClaimsRegistry(**claims).validate(decoded.claims)

    yield "joserfc", _batch(decode)
    with contextlib.suppress(ImportError):
        from authlib.jose import JsonWebKey, JsonWebToken  # where it is installed

        imported, jwt = JsonWebKey.import_key(key.public_jwk()), JsonWebToken(algorithms)
        yield (
            "Authlib",
            _batch(lambda token: jwt.decode(token, imported, claims_options=claims).validate()),
        )
