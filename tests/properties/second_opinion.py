"""A verifier that is slow and short and shares no code with authkit: the second opinion."""

from __future__ import annotations

import binascii
import re
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from tests.properties.test_jose import Refused, strictly

ISSUER, AUDIENCE = "https://login.example.com/é", "orders"
NOW, LEEWAY, LIFETIME = 1_800_000_000.5, 10.0, 1e11

# Keys, made and used without authkit --------------------------------------------------------------

RSA = rsa.generate_private_key(65537, 2048)
EC = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
ED = ed25519.Ed25519PrivateKey.generate()
HASH = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
RSA_ALGS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


def b64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode().translate({43: 45, 47: 95, 61: None})


def number(value: int, size: int) -> str:
    return b64(value.to_bytes(size, "big"))


def ec_jwk(key: ec.EllipticCurvePrivateKey, **more: Any) -> dict[str, Any]:
    at = key.public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "x": number(at.x, 32), "y": number(at.y, 32), **more}


ED_JWK = {"kty": "OKP", "crv": "Ed25519", "x": b64(ED.public_key().public_bytes_raw()), "kid": "d"}
RSA_JWK = {"kty": "RSA", "n": number(RSA.public_key().public_numbers().n, 256), "e": "AQAB"}
# A key id twice, a key without one, keys that nobody can use: all of it legal (RFC 7517 section 5).
JWKS: list[Any] = [
    {"kty": "quantum", "kid": "e"},
    {**ec_jwk(EC[0]), "kid": "e", "y": number(1, 32)},
    ec_jwk(EC[0], kid="e", x5c=["odd"], key_ops=["verify"]),
    {**RSA_JWK, "kid": "e", "use": "sig"},
    ec_jwk(EC[1], alg="ES256"),
    {**ED_JWK, "ext": {"a": [1]}},
    {**RSA_JWK, "kid": "enc", "use": "enc"},
    17,
]
PUBLISHED: list[tuple[str | None, tuple[str, ...], Any]] = [
    ("e", ("ES256",), EC[0]),
    ("e", RSA_ALGS, RSA),
    (None, ("ES256",), EC[1]),
    ("d", ("EdDSA", "Ed25519"), ED),
]


def pads(alg: str) -> Any:
    if alg.startswith("RS"):
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(HASH[alg[2:]]), HASH[alg[2:]].digest_size)


def sign(key: Any, alg: str, data: bytes) -> bytes:
    if key is ED:
        return ED.sign(data)
    if key is RSA:
        return RSA.sign(data, pads(alg), HASH[alg[2:]])
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(HASH["256"])))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def has_signed(key: Any, alg: str, data: bytes, signature: bytes) -> bool:
    try:
        if key is ED:
            ED.public_key().verify(signature, data)
        elif key is RSA:
            RSA.public_key().verify(signature, data, pads(alg), HASH[alg[2:]])
        else:
            r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
            der = utils.encode_dss_signature(r, s)
            key.public_key().verify(der, data, ec.ECDSA(HASH["256"]))
            return len(signature) == 64
    except InvalidSignature:
        return False
    return True


# The second opinion -------------------------------------------------------------------------------


def require(condition: object) -> None:
    if not condition:
        raise Refused


def unbase64(text: str) -> bytes:
    require(re.fullmatch(r"[A-Za-z0-9_-]*", text, re.ASCII) and len(text) % 4 != 1)
    data = binascii.a2b_base64(text.translate({45: 43, 95: 47}) + "=" * (-len(text) % 4))
    require(b64(data) == text)
    return data


def date(claims: dict[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    require(type(value) in (int, float) and abs(value) <= 2**53)
    return float(value)


def name_of(claims: dict[str, Any], *names: str) -> str | None:
    for name in names:
        if name in claims:
            require(isinstance(claims[name], str) and claims[name] != "")
            return str(claims[name])
    return None


def names_of(value: Any) -> set[str]:
    found = [value] if isinstance(value, str) else value
    require(isinstance(found, list) and all(isinstance(one, str) and one for one in found))
    return set(found)


def second_opinion(text: str) -> dict[str, Any]:
    """What the Principal must say, or Refused."""
    require(len(text) <= 16 * 1024 and text.count(".") == 2)
    first, second, third = text.split(".")
    require(len(first) <= 10_923 and len(third) <= 1_366)
    header, claims, signature = (
        strictly(unbase64(first)),
        strictly(unbase64(second)),
        unbase64(third),
    )
    require(not {"crit", "b64"} & header.keys())
    alg, kid, typ = header.get("alg"), header.get("kid", ""), header.get("typ", "JWT")
    require(isinstance(alg, str) and isinstance(kid, str) and isinstance(typ, str))
    fitting = [k for i, algs, k in PUBLISHED if alg in algs and ("kid" not in header or kid == i)]
    data = f"{first}.{second}".encode()
    require(any(has_signed(key, alg, data, signature) for key in fitting))
    require(typ.lower() in {"jwt", "at+jwt", "application/jwt", "application/at+jwt"})

    require(claims.get("iss") == ISSUER and AUDIENCE in names_of(claims.get("aud")))
    expires, starts, born = (date(claims, name) for name in ("exp", "nbf", "iat"))
    require(expires is not None and NOW < expires + LEEWAY)
    require((starts or 0) <= NOW + LEEWAY and (born or 0) <= NOW + LEEWAY)
    require((expires or 0) - (NOW if born is None else born) <= LIFETIME)
    require(not {"at_hash", "c_hash", "events"} & claims.keys())
    require(claims.get("token_use") in (None, "access"))
    require(str(claims.get("typ")).lower() not in {"id", "refresh", "offline", "logout"})
    scopes = claims.get("scope", claims.get("scp", []))
    return {
        "issuer": ISSUER,
        "subject": name_of(claims, "sub"),
        "client_id": name_of(claims, "client_id", "azp"),
        "session_id": name_of(claims, "sid"),
        "token_id": name_of(claims, "jti") or sha256(data).hexdigest(),
        "scopes": set(scopes.split(" ")) - {""} if isinstance(scopes, str) else names_of(scopes),
        "roles": names_of(claims.get("roles", [])),
        "issued_at": born,
        "expires_at": expires,
        "authenticated_at": date(claims, "auth_time"),
        "claims": claims,
    }
