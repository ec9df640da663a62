"""Signing keys, and the JWK Set that an issuer publishes of them, odd entries included."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from authkit.jose.signing import SigningKey
from authkit.testing.contracts.difficult_text import DIFFICULT_TEXTS

__all__ = ["UNUSABLE", "jwk_set", "make_signing_keys", "published_document"]

UNUSABLE: tuple[Any, ...] = (
    {"kty": "FUTURE", "kid": "unusable", "use": "sig"},
    {"kty": "EC", "crv": "P-256", "kid": "unusable", "alg": "ES256", "x": "AAAA", "y": "AAAA"},
    {"kty": "RSA", "kid": "unusable", "alg": "RS256", "n": "wQ", "e": "AQAB"},
    {"kty": "OKP", "crv": "Ed25519", "kid": "unusable", "alg": "EdDSA", "x": "!"},
    {"kid": "unusable"},
    "not even an object",
)
"""Entries that a key set may hold and a provider passes over (RFC 7517 section 5)."""


@cache
def make_signing_keys() -> Mapping[str, SigningKey]:
    """The private keys by the suite's own names, made once."""
    rsa = SigningKey.generate("RS256", kid="rsa")
    keys = {
        "rsa": rsa,
        "ec": SigningKey.generate("ES256", kid="ec"),
        "ed": SigningKey.generate("EdDSA", kid="ed"),
        "twin_1": SigningKey.generate("ES384", kid="twins"),
        "twin_2": SigningKey.generate("ES384", kid="twins"),
        "namesake_rsa": SigningKey.from_jwk({**rsa.jwk(), "alg": "PS256", "kid": "namesakes"}),
        "namesake_ec": SigningKey.generate("ES384", kid="namesakes"),
        "without_alg": SigningKey.generate("ES512", kid="without alg"),
        "without_kid": SigningKey.generate("Ed25519"),
        "encryption": SigningKey.generate("ES384", kid="encryption"),
        "composed": SigningKey.generate("ES256", kid="cl\u00e9"),
        "decomposed": SigningKey.generate("ES256", kid="cle\u0301"),
    }
    return keys | {
        f"difficult_{name}": SigningKey.generate("ES256", kid=kid)
        for name, kid in DIFFICULT_TEXTS.items()
    }


def jwk_set(*keys: Mapping[str, Any]) -> dict[str, Any]:
    """A JWK Set (RFC 7517 section 5)."""
    return {"keys": list(keys)}


def published_document() -> dict[str, Any]:
    """The JWK Set of all keys, those that no provider may use among them."""
    published = {name: dict(key.public_jwk()) for name, key in make_signing_keys().items()}
    del published["without_alg"]["alg"]
    del published["without_kid"]["kid"]
    published["encryption"]["use"] = "enc"
    return {"keys": [*UNUSABLE, *published.values()]}
