"""JSON Web Keys: published keys, parsed strictly and imported one by one (RFC 7517)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from authkit.jose.encoding import NotStrict, parse_json_object
from authkit.jose.jwa import ALGORITHMS
from authkit.jose.material import KeyMaterial, UnusableKey, import_material, key_material

__all__ = ["JWK", "KeyLease", "UnusableKey", "VerificationKey", "parse_jwk_set"]


class KeyLease:
    """Until when a key may be used; shared by reference and read live on every use.

    Attributes:
        trusted_until: seconds since the epoch; moved forward by each successful refresh.
        withdrawn: set once, when the issuer no longer publishes the key.
    """

    __slots__ = ("trusted_until", "withdrawn")

    def __init__(self, trusted_until: float, withdrawn: bool = False) -> None:
        self.trusted_until: float = trusted_until
        self.withdrawn: bool = withdrawn

    def __repr__(self) -> str:
        return f"KeyLease(trusted_until={self.trusted_until!r}, withdrawn={self.withdrawn!r})"


class VerificationKey:
    """The public side of a key, usable.  Made only by `JWK.verification_key`.

    Attributes:
        kid: the key id that the issuer published, or None.
        algorithms: the algorithms that the key may be used with; one that is not among
            them is never tried, whatever a token says.
        thumbprint: RFC 7638, SHA-256, base64url.
        lease: until when the key may be used.
    """

    __slots__ = ("_key", "algorithms", "kid", "lease", "thumbprint")

    def __init__(
        self,
        *,
        kid: str | None,
        algorithms: frozenset[str],
        thumbprint: str,
        lease: KeyLease,
        key: Any,
    ) -> None:
        self.kid: str | None = kid
        self.algorithms: frozenset[str] = algorithms
        self.thumbprint: str = thumbprint
        self.lease: KeyLease = lease
        self._key = key

    def __repr__(self) -> str:
        return f"VerificationKey(kid={_shortened(self.kid)}, thumbprint={self.thumbprint!r})"


class JWK:
    """One published key that may be usable; its numbers are not looked at yet.

    Two are equal when a signature that one verifies the other verifies too: same key id,
    same algorithms, same key.  Certificates and other members make no difference.

    Attributes:
        kid: its key id, or None.
        algorithms: the algorithms that it may be used with.
        is_symmetric: whether it is a secret, which no issuer may publish.
    """

    __slots__ = ("_material", "algorithms", "is_symmetric", "kid")

    def __init__(self, members: Mapping[str, Any]) -> None:
        """Reads the members of a JWK (RFC 7517 section 4) and leaves out those not needed.

        Of a private key only the public part is kept.

        Raises:
            UnusableKey: not a key that signatures are verified with.
        """
        kid = members.get("kid")
        if not isinstance(kid, str) and "kid" in members:
            raise UnusableKey("its kid is not a string")
        self._material = key_material(members)
        self.algorithms: frozenset[str] = _usable_algorithms(members, self._material)
        if not self.algorithms:
            raise UnusableKey("it is not for verifying signatures with a known algorithm")
        self.kid: str | None = kid
        self.is_symmetric: bool = self._material["kty"] == "oct"

    def fits(self, kid: str | None, alg: str) -> bool:
        """Whether the key may have made a signature with this algorithm, and this key id if given.

        A key without a key id fits only where none is asked for.
        """
        return alg in self.algorithms and (kid is None or kid == self.kid)

    def verification_key(self, lease: KeyLease) -> VerificationKey:
        """Imports the key, about 0.1 ms.

        Raises:
            UnusableKey: too small or too large, a weak exponent, not on its curve, of small
                order, or badly encoded.
        """
        key, thumbprint = import_material(self._material)
        return VerificationKey(
            kid=self.kid,
            algorithms=self.algorithms,
            thumbprint=thumbprint,
            lease=lease,
            key=key,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JWK):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        return f"JWK(kid={_shortened(self.kid)}, algorithms={sorted(self.algorithms)!r})"

    def _identity(self) -> tuple[Any, ...]:
        return (self.kid, self.algorithms, *self._material.values())


# Room for key_ops, certificates and members that are not known.
_CONTAINERS_PER_KEY: Final = 16


def parse_jwk_set(data: bytes, *, max_keys: int = 1000) -> tuple[JWK, ...]:
    """The keys of a JWK Set that may verify signatures, in its order (RFC 7517 section 5).

    An entry that is not such a key is skipped, so one odd key never spoils the others; so
    is everything in the set beside `keys`.

    Raises:
        NotStrict: not a JWK Set in strict JSON, or one of more than `max_keys` entries.
    """
    entries = parse_json_object(data, max_containers=_CONTAINERS_PER_KEY * max_keys).get("keys")
    if type(entries) is not list:
        raise NotStrict("not a JWK Set: it has no array of keys")
    if len(entries) > max_keys:
        raise NotStrict(f"a JWK Set of more than {max_keys} keys")
    keys: list[JWK] = []
    for entry in entries:
        # Of a key whose private part is published, anybody may have made the signature.
        if type(entry) is not dict or "d" in entry:
            continue
        try:
            keys.append(JWK(entry))
        except UnusableKey:
            continue
        except RecursionError:  # the caller has used up the stack: no fault of this key
            raise NotStrict("too deep in calls to read a JWK Set") from None
    return tuple(keys)


_REPR_CHARACTERS: Final = 64


def _shortened(kid: str | None) -> str:
    if kid is not None and len(kid) > _REPR_CHARACTERS:
        kid = kid[:_REPR_CHARACTERS] + "..."
    return repr(kid)


_NONE: Final[frozenset[str]] = frozenset()
_BY_KIND: Final[Mapping[tuple[str, str | None], frozenset[str]]] = {
    (kty, curve): frozenset(
        name
        for name, algorithm in ALGORITHMS.items()
        if algorithm.kty == kty and (curve is None or curve in algorithm.curves)
    )
    for known in ALGORITHMS.values()
    for kty in (known.kty,)
    for curve in known.curves or (None,)
}


def _usable_algorithms(members: Mapping[str, Any], material: KeyMaterial) -> frozenset[str]:
    """The algorithms of its type, curve and size that `alg`, `use` and `key_ops` leave."""
    if "use" in members and members["use"] != "sig":
        return _NONE
    if "key_ops" in members and not _may_verify(members["key_ops"]):
        return _NONE
    algorithms = _BY_KIND.get((material["kty"], material.get("crv")), _NONE)
    if material["kty"] == "oct":
        size = len(material["k"]) * 3 // 4
        algorithms = frozenset(name for name in algorithms if size >= ALGORITHMS[name].hash_bytes)
    if "alg" not in members:
        return algorithms
    alg = members["alg"]
    return frozenset((alg,)) if isinstance(alg, str) and alg in algorithms else _NONE


def _may_verify(key_ops: object) -> bool:
    """Whether these are unique names, `verify` among them (RFC 7517 section 4.3)."""
    return (
        isinstance(key_ops, list)
        and all(isinstance(name, str) for name in key_ops)
        and len(set(key_ops)) == len(key_ops)
        and "verify" in key_ops
    )
