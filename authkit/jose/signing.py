"""The private side: makes keys and signs tokens, for issuers and for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from authkit.errors import ConfigurationError
from authkit.jose.encoding import encode_base64url
from authkit.jose.jwa import ALGORITHMS, Algorithm
from authkit.jose.jwk import JWK
from authkit.jose.material import UnusableKey, import_material, key_material

__all__ = ["SigningKey"]

_RSA_BITS: Final = 2048
_PRIVATE_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi")


class SigningKey:
    """A private key, or a shared secret, with the one algorithm that it signs with.

    Attributes:
        alg: the algorithm.
        kid: the key id.
    """

    __slots__ = ("_algorithm", "_key", "_members", "alg", "kid")

    alg: str
    kid: str
    _algorithm: Algorithm
    _key: Any
    _members: dict[str, str]

    @classmethod
    def generate(cls, alg: str, *, kid: str | None = None) -> SigningKey:
        """A new random key; RSA keys have 2048 bits, secrets the length of the hash.

        Args:
            alg: what it shall sign with; `EdDSA` gives an Ed25519 key.
            kid: its key id; by default the RFC 7638 thumbprint.

        Raises:
            ConfigurationError: an unknown algorithm, or one that this machine's OpenSSL lacks.
        """
        algorithm = _known(alg)
        try:
            members = _generated(algorithm).as_dict(private=True)
        except Exception:
            raise ConfigurationError(f"no key can be made for {alg} here") from None
        return cls.from_jwk({**members, "alg": alg} | ({} if kid is None else {"kid": kid}))

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> SigningKey:
        """The key of a private JWK (RFC 7517); `alg` is needed, `kid` is by default its thumbprint.

        Raises:
            ConfigurationError: not a private key for its `alg`, or one that nobody should accept.
        """
        algorithm = _known(jwk.get("alg"))
        kid = jwk.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise ConfigurationError("the kid of a signing key must be a string")
        if jwk.get("use", "sig") != "sig" or "sign" not in jwk.get("key_ops", ["sign"]):
            raise ConfigurationError("use and key_ops of a signing key must allow signing")
        signing = cls.__new__(cls)
        try:
            material = key_material(jwk)
            JWK({**material, "alg": algorithm.name})  # refuses what does not fit the algorithm
            public, thumbprint = import_material(material)
            secret = {name: jwk[name] for name in _PRIVATE_MEMBERS if name in jwk}
            signing._members = material | secret
            signing._key = type(public).import_key({**signing._members})
            # The published part need not belong to the private one: only this tells.
            is_pair = algorithm.verify(b"", algorithm.sign(b"", signing._key), public)
        except Exception as error:
            reason = str(error) if isinstance(error, UnusableKey) else "it cannot be imported"
            raise ConfigurationError(f"not a signing key for {algorithm.name}: {reason}") from None
        if not is_pair:
            raise ConfigurationError("the public part of the JWK is not that of its private part")
        signing._algorithm = algorithm
        signing.alg = algorithm.name
        signing.kid = thumbprint if kid is None else kid
        return signing

    def jwk(self) -> dict[str, str]:
        """The whole key as a JWK.  It is secret: whoever has it signs tokens of this issuer."""
        return {**self._members, **self._labels()}

    def public_jwk(self) -> dict[str, str]:
        """What verifiers need, to be published.

        Raises:
            ConfigurationError: a shared secret has no public part; see `jwk()`.
        """
        if self._algorithm.kty == "oct":
            raise ConfigurationError(f"a key for {self.alg} has no public part: it is a secret")
        public = {
            name: text for name, text in self._members.items() if name not in _PRIVATE_MEMBERS
        }
        return {**public, **self._labels()}

    def sign(self, header: Mapping[str, Any] | bytes, claims: Mapping[str, Any] | bytes) -> str:
        """A compact JWS (RFC 7515 section 7.1).

        It is signed with this key and its algorithm whatever the header says, so tests can
        make tokens that lie.

        Args:
            header: members beside `alg` and `kid`, which they replace where they have the same
                name; bytes are taken as the whole header.
            claims: the payload; bytes are taken as they are.

        Raises:
            ConfigurationError: something in it is not JSON.
        """
        if not isinstance(header, bytes):
            header = {"alg": self.alg, "kid": self.kid, **header}
        signing_input = f"{_segment(header)}.{_segment(claims)}"
        signature = self._algorithm.sign(signing_input.encode("ascii"), self._key)
        return f"{signing_input}.{encode_base64url(signature)}"

    def _labels(self) -> dict[str, str]:
        return {"use": "sig", "alg": self.alg, "kid": self.kid}

    def __repr__(self) -> str:
        return f"SigningKey(alg={self.alg!r}, kid={self.kid!r})"


def _known(alg: object) -> Algorithm:
    algorithm = ALGORITHMS.get(alg) if isinstance(alg, str) else None
    if algorithm is None:
        raise ConfigurationError(f"the alg of a signing key must be one of {', '.join(ALGORITHMS)}")
    return algorithm


def _generated(algorithm: Algorithm) -> RSAKey | ECKey | OKPKey | OctKey:
    if algorithm.kty == "RSA":
        return RSAKey.generate_key(_RSA_BITS)
    if algorithm.kty == "oct":
        return OctKey.generate_key(8 * algorithm.hash_bytes)
    if algorithm.kty == "EC":
        return ECKey.generate_key(min(algorithm.curves))
    return OKPKey.generate_key("Ed448" if algorithm.name == "Ed448" else "Ed25519")


def _segment(content: Mapping[str, Any] | bytes) -> str:
    if not isinstance(content, bytes):
        try:
            text = json.dumps(
                dict(content), ensure_ascii=False, allow_nan=False, separators=(",", ":")
            )
            content = text.encode("utf-8")
        except (TypeError, ValueError, RecursionError):
            raise ConfigurationError("a token can only hold what JSON can") from None
    return encode_base64url(content)
