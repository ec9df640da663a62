"""A KeyProvider over keys that the program already has."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from authkit.clock import Clock, SystemClock
from authkit.errors import ConfigurationError
from authkit.interfaces import StateChange, VerificationKey
from authkit.jose.encoding import NotStrict, encode_base64url, parse_json_object
from authkit.jose.jwa import ALGORITHMS, SYMMETRIC_ALGORITHMS
from authkit.jose.jwk import JWK, parse_jwk_set
from authkit.key_set import KeySet
from authkit.key_set.report import Reporter

if TYPE_CHECKING:
    from authkit.interfaces import KeyProvider, Observable

__all__ = ["MemoryKeyProvider"]


class MemoryKeyProvider:
    """Finds keys in a JWK Set that it was given, and that `replace` exchanges at a rotation.

    Its keys are trusted until they are replaced.  Keys that cannot be used are skipped one by
    one.  Secrets (`oct` keys) count too: these keys are configuration, not published.

        keys = MemoryKeyProvider.from_jwks(Path("jwks.json").read_bytes())
    """

    def __init__(
        self,
        jwks: Mapping[str, Any] | str | bytes,
        *,
        name: str = "keys",
        clock: Clock | None = None,
    ) -> None:
        """As `from_jwks`, which says what it takes."""
        self._document = _document(jwks)
        self._keys = KeySet(_parsed(self._document), trusted_until=math.inf, allow_symmetric=True)
        _require_usable(self._keys)
        self._reporter = Reporter(name, SystemClock() if clock is None else clock, "fresh")
        self._unknown_key_ids = 0

    @classmethod
    def from_jwks(
        cls,
        jwks: Mapping[str, Any] | str | bytes,
        *,
        name: str = "keys",
        clock: Clock | None = None,
    ) -> Self:
        """A provider for the keys of a JWK Set (RFC 7517 section 5).

        Args:
            jwks: the set, as an object or as JSON.
            name: stands in reports and log lines, e.g. the issuer.
            clock: tells the time of changes; None is the machine's.

        Raises:
            ConfigurationError: not a JWK Set, or one without a key that can be used.
        """
        return cls(jwks, name=name, clock=clock)

    @classmethod
    def from_secret(
        cls,
        secret: bytes,
        *,
        alg: str = "HS256",
        kid: str | None = None,
        name: str = "keys",
        clock: Clock | None = None,
    ) -> Self:
        """A provider for one shared secret, at least as long as the hash (RFC 7518 section 3.2).

        Whoever can verify with a secret can sign with it as well.

        Args:
            secret: random bytes; never a password.
            alg: `HS256`, `HS384` or `HS512`, to be named in the TrustedIssuer as well.
            kid: the key id that tokens name, or None.
            name: stands in reports and log lines, e.g. the issuer.
            clock: tells the time of changes; None is the machine's.

        Raises:
            ConfigurationError: the secret is too short or no bytes, or `alg` is another one.
        """
        if alg not in SYMMETRIC_ALGORITHMS:
            raise ConfigurationError(
                f"alg must be one of {', '.join(sorted(SYMMETRIC_ALGORITHMS))}"
            )
        needed = ALGORITHMS[alg].hash_bytes
        if not isinstance(secret, bytes) or len(secret) < needed:
            raise ConfigurationError(
                f"secret must be at least {needed} bytes for {alg}, as secrets.token_bytes gives"
            )
        jwk = {"kty": "oct", "alg": alg, "k": encode_base64url(secret)}
        if kid is not None:
            jwk["kid"] = kid
        return cls({"keys": [jwk]}, name=name, clock=clock)

    def replace(self, jwks: Mapping[str, Any] | str | bytes) -> None:
        """Puts another set in the place of the known one, at once.

        Keys that stay keep what was proven with them; those that are gone are withdrawn, and
        with them every cached token that they signed.  An empty set withdraws them all.

        Raises:
            ConfigurationError: not a JWK Set, or one with keys of which none can be used.
                The known keys stay.
        """
        document = _document(jwks)
        parsed = _parsed(document)
        if parse_json_object(document)["keys"]:
            _require_usable(KeySet(parsed, trusted_until=math.inf, allow_symmetric=True))
        replaced, self._keys = self._keys, self._keys.replaced_by(parsed)
        withdrawn = len(replaced) - self._keys.kept
        self._reporter.replaced(self._document, document, keys=self._keys, withdrawn=withdrawn)
        self._document = document

    async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        """The keys that fit; without suspending, and never unavailable."""
        found = self._keys.find(kid, alg)
        if not found:
            self._unknown_key_ids += 1
        return found

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` when keys are replaced by others.

        The change has the code `keys_rotated`; `old` and `new` are digests of the two sets.
        """
        self._reporter.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """Figures."""
        return {
            "keys": len(self._keys),
            "listener_errors_total": self._reporter.listener_errors,
            "rotations_total": self._reporter.rotations,
            "unknown_key_ids_total": self._unknown_key_ids,
            "unusable_keys": self._keys.unusable,
        }


def _document(jwks: Mapping[str, Any] | str | bytes) -> bytes:
    if isinstance(jwks, bytes):
        return jwks
    try:
        text = jwks if isinstance(jwks, str) else json.dumps(dict(jwks), allow_nan=False)
        return text.encode()
    except (TypeError, ValueError) as error:
        raise ConfigurationError("jwks must be a JWK Set, as an object or as JSON") from error


def _parsed(document: bytes) -> tuple[JWK, ...]:
    try:
        return parse_jwk_set(document)
    except NotStrict as error:
        raise ConfigurationError(f"jwks must be a JWK Set: {error}") from error


def _require_usable(keys: KeySet) -> None:
    if not keys.is_usable:
        raise ConfigurationError(
            "jwks must hold a key that can be used: RSA of 2048 to 8192 bits, P-256, P-384, P-521, "
            "Ed25519 or Ed448, or a secret at least as long as the hash of its algorithm"
        )


if TYPE_CHECKING:

    def _conforms(provider: MemoryKeyProvider) -> tuple[KeyProvider, Observable]:
        return provider, provider
