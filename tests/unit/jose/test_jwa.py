"""`authkit.jose.jwa`: the table of algorithms."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest

from authkit.jose.jwa import ALGORITHMS, ASYMMETRIC_ALGORITHMS, SYMMETRIC_ALGORITHMS
from authkit.jose.signing import SigningKey


def test_the_algorithms_are_these() -> None:
    """Nothing else can be allowed, and there is no `none`."""
    assert {
        "RS256", "RS384", "RS512",
        "PS256", "PS384", "PS512",
        "ES256", "ES384", "ES512",
        "EdDSA", "Ed25519", "Ed448",
    } == ASYMMETRIC_ALGORITHMS  # fmt: skip
    assert {"HS256", "HS384", "HS512"} == SYMMETRIC_ALGORITHMS
    assert set(ALGORITHMS) == ASYMMETRIC_ALGORITHMS | SYMMETRIC_ALGORITHMS
    assert not any(name.lower() == "none" for name in ALGORITHMS)


@pytest.mark.parametrize(
    "name", ["rs256", "Rs256", "RS256 ", " RS256", "none", "", "HS1", "ES256K"]
)
def test_names_are_exact(name: str) -> None:
    """Case and space make another name, which is none."""
    assert name not in ALGORITHMS


@pytest.mark.parametrize(
    ("name", "kty", "curves", "hash_bytes"),
    [
        ("RS256", "RSA", set(), 32),
        ("PS512", "RSA", set(), 64),
        ("ES256", "EC", {"P-256"}, 32),
        ("ES384", "EC", {"P-384"}, 48),
        ("ES512", "EC", {"P-521"}, 64),
        ("EdDSA", "OKP", {"Ed25519", "Ed448"}, 0),
        ("Ed25519", "OKP", {"Ed25519"}, 0),
        ("Ed448", "OKP", {"Ed448"}, 0),
        ("HS256", "oct", set(), 32),
        ("HS384", "oct", set(), 48),
        ("HS512", "oct", set(), 64),
    ],
)
def test_a_name_fixes_key_type_curve_and_hash(
    name: str, kty: str, curves: set[str], hash_bytes: int
) -> None:
    """RFC 7518 section 3, RFC 8037 section 3.1 and RFC 9864 section 2."""
    algorithm = ALGORITHMS[name]
    assert (algorithm.name, algorithm.kty) == (name, kty)
    assert (algorithm.curves, algorithm.hash_bytes) == (curves, hash_bytes)


def test_the_table_cannot_be_changed() -> None:
    """No code at run time adds an algorithm or replaces one."""
    table = cast(dict[str, Any], ALGORITHMS)
    with pytest.raises(TypeError):
        table["none"] = ALGORITHMS["HS256"]
    with pytest.raises(AttributeError):
        ALGORITHMS["HS256"].name = "none"  # type: ignore[misc]  # what is tested


@pytest.mark.parametrize("alg", sorted(ALGORITHMS))
def test_every_algorithm_signs_and_verifies_silently(
    alg: str, signer: Callable[[str], SigningKey]
) -> None:
    """No warning of the library beneath reaches the user: not of EdDSA's old name either."""
    algorithm = ALGORITHMS[alg]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        key = signer(alg)._key
        signature = algorithm.sign(b"message", key)
        assert algorithm.verify(b"message", signature, key) is True
        assert algorithm.verify(b"massage", signature, key) is False
