"""What a key is made of, and the floors and ceilings that it must keep to be imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey, thumbprint

from authkit.jose.encoding import NotStrict, decode_base64url, encode_base64url

__all__ = ["KeyMaterial", "UnusableKey", "import_material", "key_material"]

KeyMaterial = dict[str, str]
"""`kty` and the members that RFC 7638 section 3.2 hashes, as they were published."""


class UnusableKey(ValueError):
    """The key cannot be used to verify signatures.  The message never holds key material."""


# In characters of base64url, looked at before anything is decoded.  The modulus has room for a few
# zero octets in front: RFC 7518 section 6.3.1.1 forbids them, but some issuers publish them.
_MAX_CHARACTERS: Final[Mapping[str, Mapping[str, int]]] = {
    "RSA": {"n": 1400, "e": 16},
    "EC": {"crv": 16, "x": 88, "y": 88},
    "OKP": {"crv": 16, "x": 76},
    "oct": {"k": 4096},
}


def key_material(members: Mapping[str, Any]) -> KeyMaterial:
    """The members of a JWK that make the public key, or the secret of an `oct` key, and no others.

    Raises:
        UnusableKey: the type is not known, or a member is missing, no string or too long.
    """
    kty = members.get("kty")
    limits = _MAX_CHARACTERS.get(kty) if isinstance(kty, str) else None
    if kty is None or limits is None:
        raise UnusableKey("its kty is not known")
    material = {"kty": kty}
    for name, limit in limits.items():
        value = members.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= limit:
            raise UnusableKey(f"its {name} is missing or of an impossible size")
        material[name] = value
    return material


def import_material(material: KeyMaterial) -> tuple[Any, str]:
    """The joserfc key and its RFC 7638 thumbprint.

    Raises:
        UnusableKey: too small or too large, a weak exponent, not on its curve, of small
            order, or badly encoded.
    """
    check, key_type = _IMPORTS[material["kty"]]
    try:
        canonical = check(material)
        return key_type.import_key({**canonical}), thumbprint(canonical)
    except UnusableKey:
        raise
    except NotStrict:
        raise UnusableKey("it is not encoded in canonical base64url") from None
    except (RecursionError, MemoryError):
        raise  # No room to import it says nothing about the key.
    except Exception:
        # Whatever a key makes the libraries below do, it costs that key only.
        raise UnusableKey("it cannot be imported") from None


# RSA: RFC 7518 section 3.3 and 6.3.1 --------------------------------------------------------------

_MIN_MODULUS_BITS: Final = 2048
_MAX_MODULUS_BITS: Final = 8192
_MIN_EXPONENT: Final = 65537
_MAX_EXPONENT: Final = 2**32

# Moduli whose primes a flawed chip drew from the powers of 65537 can be factored (CVE-2017-15361).
# They are powers of it modulo each of these primes; of other moduli one in 10**8 is.
_TELLING_PRIMES: Final = (
    *(11, 13, 17, 19, 37, 53, 61, 71, 73),
    *(79, 97, 103, 107, 109, 127, 151, 157),
)
_POWERS: Final = {
    prime: frozenset(pow(65537, k, prime) for k in range(prime)) for prime in _TELLING_PRIMES
}


def _checked_rsa(material: KeyMaterial) -> KeyMaterial:
    modulus = decode_base64url(material["n"]).lstrip(b"\0")
    exponent = decode_base64url(material["e"]).lstrip(b"\0")
    n = int.from_bytes(modulus, "big")
    e = int.from_bytes(exponent, "big")
    if not _MIN_MODULUS_BITS <= n.bit_length() <= _MAX_MODULUS_BITS:
        raise UnusableKey(f"RSA of {n.bit_length()} bits")
    if n % 2 == 0:
        raise UnusableKey("an even RSA modulus")
    if all(n % prime in powers for prime, powers in _POWERS.items()):
        raise UnusableKey("an RSA modulus of the kind that CVE-2017-15361 factors")
    if e % 2 == 0 or not _MIN_EXPONENT <= e <= _MAX_EXPONENT:
        raise UnusableKey("an RSA exponent that is even, too small or too large")
    return {"kty": "RSA", "n": encode_base64url(modulus), "e": encode_base64url(exponent)}


# EC: RFC 7518 section 6.2.1.  That the point lies on the curve is checked at the import, but there
# a coordinate may be larger than the prime, and one key then have several thumbprints. ------------

_EC_PRIMES: Final[Mapping[str, int]] = {
    "P-256": 2**256 - 2**224 + 2**192 + 2**96 - 1,
    "P-384": 2**384 - 2**128 - 2**96 + 2**32 - 1,
    "P-521": 2**521 - 1,
}


def _checked_ec(material: KeyMaterial) -> KeyMaterial:
    prime = _EC_PRIMES[material["crv"]]
    for name in ("x", "y"):
        coordinate = decode_base64url(material[name])
        if len(coordinate) != (prime.bit_length() + 7) // 8:
            raise UnusableKey("a coordinate of the wrong length")
        if int.from_bytes(coordinate, "big") >= prime:
            raise UnusableKey("a point that is not encoded canonically")
    return material


# OKP: RFC 8037 and RFC 8032.  Nobody checks these points at the import but us: a point of small
# order verifies signatures that anybody can make. -------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edwards:
    """A curve x² = (y² - 1) / (d·y² + s) over the integers modulo `prime`."""

    size: int
    prime: int
    d: int
    s: int
    small_order_y: frozenset[int]


_P25519: Final = 2**255 - 19
_P448: Final = 2**448 - 2**224 - 1
_ORDER_8_Y: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_EDWARDS: Final[Mapping[str, _Edwards]] = {
    "Ed25519": _Edwards(
        size=32,
        prime=_P25519,
        d=-121665 * pow(121666, -1, _P25519),
        s=1,
        small_order_y=frozenset({0, 1, _P25519 - 1, _ORDER_8_Y, _P25519 - _ORDER_8_Y}),
    ),
    "Ed448": _Edwards(
        size=57, prime=_P448, d=-39081, s=-1, small_order_y=frozenset({0, 1, _P448 - 1})
    ),
}


def _checked_okp(material: KeyMaterial) -> KeyMaterial:
    curve = _EDWARDS[material["crv"]]
    encoded = decode_base64url(material["x"])
    if len(encoded) != curve.size:
        raise UnusableKey("a point of the wrong length")
    # RFC 8032 sections 5.1.2 and 5.2.2: the highest bit is the sign of x, the rest is y.
    y = int.from_bytes(encoded, "little") & ~(1 << (8 * curve.size - 1))
    if y >= curve.prime:
        raise UnusableKey("a point that is not encoded canonically")
    if y in curve.small_order_y:
        raise UnusableKey("a point of small order")
    square = (y * y - 1) * (curve.d * y * y + curve.s)
    if pow(square, (curve.prime - 1) // 2, curve.prime) != 1:  # Euler's criterion
        raise UnusableKey("a point that is not on the curve")
    return material


# oct: RFC 7518 section 6.4.  That it is long enough is decided for each algorithm. ----------------

# A secret that reads as a key or a certificate is somebody's public key (CVE-2017-11424).
_KEY_TEXTS: Final = (
    b"-----BEGIN ",
    b"---- BEGIN ",
    b"ssh-rsa ",
    b"ssh-dss ",
    b"ssh-ed25519 ",
    b"ecdsa-sha2-",
    b'"kty"',
)


def _checked_oct(material: KeyMaterial) -> KeyMaterial:
    secret = decode_base64url(material["k"])
    if any(text in secret for text in _KEY_TEXTS):
        raise UnusableKey("a secret that is the text of a key")
    return material


_Key = type[RSAKey] | type[ECKey] | type[OKPKey] | type[OctKey]
_IMPORTS: Final[Mapping[str, tuple[Callable[[KeyMaterial], KeyMaterial], _Key]]] = {
    "RSA": (_checked_rsa, RSAKey),
    "EC": (_checked_ec, ECKey),
    "OKP": (_checked_okp, OKPKey),
    "oct": (_checked_oct, OctKey),
}
