"""The algorithms: each name fixes a key type, curves and one way to check signatures (RFC 7518)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from joserfc.jws import JWSRegistry

__all__ = ["ALGORITHMS", "ASYMMETRIC_ALGORITHMS", "SYMMETRIC_ALGORITHMS", "Algorithm"]


_Verify = Callable[[bytes, bytes, Any], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One signature algorithm.

    Attributes:
        name: the value of `alg`, compared exactly: names are case-sensitive.
        kty: the type of its keys: `RSA`, `EC`, `OKP` or `oct`.
        curves: the `crv` that its keys may have; empty where keys have none.
        hash_bytes: the length of its hash, which an `oct` key must reach (RFC 7518
            section 3.2); 0 for the Edwards curves, which bring their own.
        verify: message, signature and joserfc key to True, False or any exception.
        sign: message and joserfc key to the signature.
    """

    name: str
    kty: str
    curves: frozenset[str]
    hash_bytes: int
    verify: _Verify
    sign: Callable[[bytes, Any], bytes]


def _algorithm(name: str, kty: str, hash_bytes: int, *curves: str) -> Algorithm:
    # Not by get_alg(): that warns of EdDSA, the name that most issuers still use.
    model = JWSRegistry.algorithms[name]
    return Algorithm(
        name=name,
        kty=kty,
        curves=frozenset(curves),
        hash_bytes=hash_bytes,
        verify=_as_long_as_the_modulus(model.verify) if name.startswith("PS") else model.verify,
        sign=model.sign,
    )


def _as_long_as_the_modulus(verify: _Verify) -> _Verify:
    """RFC 8017 section 8.1.2, step 1: OpenSSL lets PSS, and only PSS, leave out zeros in front."""

    def verify_pss(message: bytes, signature: bytes, key: Any) -> bool:
        size: int = key.public_key.key_size
        return len(signature) == (size + 7) // 8 and verify(message, signature, key)

    return verify_pss


# There is no "none" here, so there is no way to allow it.
ALGORITHMS: Final[Mapping[str, Algorithm]] = MappingProxyType(
    {
        algorithm.name: algorithm
        for algorithm in (
            _algorithm("RS256", "RSA", 32),
            _algorithm("RS384", "RSA", 48),
            _algorithm("RS512", "RSA", 64),
            _algorithm("PS256", "RSA", 32),
            _algorithm("PS384", "RSA", 48),
            _algorithm("PS512", "RSA", 64),
            _algorithm("ES256", "EC", 32, "P-256"),
            _algorithm("ES384", "EC", 48, "P-384"),
            _algorithm("ES512", "EC", 64, "P-521"),
            _algorithm("EdDSA", "OKP", 0, "Ed25519", "Ed448"),
            _algorithm("Ed25519", "OKP", 0, "Ed25519"),
            _algorithm("Ed448", "OKP", 0, "Ed448"),
            _algorithm("HS256", "oct", 32),
            _algorithm("HS384", "oct", 48),
            _algorithm("HS512", "oct", 64),
        )
    }
)
"""Every algorithm that can be allowed, by name."""

SYMMETRIC_ALGORITHMS: Final = frozenset(
    name for name, algorithm in ALGORITHMS.items() if algorithm.kty == "oct"
)
"""Those whose key is a secret: to be named by hand, and never beside keys that others publish."""

ASYMMETRIC_ALGORITHMS: Final = frozenset(ALGORITHMS) - SYMMETRIC_ALGORITHMS
"""Those whose verification key is public."""
