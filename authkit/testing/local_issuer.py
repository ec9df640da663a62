"""An issuer for tests and demos: it makes real tokens, offline or beside a real key server."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Collection, Mapping
from threading import RLock
from typing import Any

from authkit.clock import Clock, SystemClock
from authkit.errors import ConfigurationError
from authkit.interfaces import KeyProvider
from authkit.jose.jwa import ASYMMETRIC_ALGORITHMS
from authkit.jose.signing import SigningKey
from authkit.policy import TrustedIssuer
from authkit.testing.loopback import LoopbackServer
from authkit.testing.names import listed
from authkit.testing.serving import Answer, Serving, document_app
from authkit_memory import MemoryKeyProvider

__all__ = ["LocalIssuer"]

_OFFLINE = "https://issuer.test"
_DISCOVERY_PATHS = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
_JWKS_PATH = "/jwks"


class LocalIssuer:
    """Makes access tokens of the RFC 9068 shape, signed by keys of its own.

    Offline, `trusted()` hands its keys to a Verifier directly and no socket is opened.
    Inside `serving()` it publishes them on loopback, as a real provider does.  Keys are
    made when they are first needed.

    Args:
        issuer: its `iss`.  Unless given it is `https://issuer.test`, and from the first
            `serving()` on the address that it is served at.
        algorithm: signs the tokens that name no other; an asymmetric one.
        audience: the `aud` of the tokens that name no other.
        client_id: likewise.
        signing_key: the first key for `algorithm`, to share one that took long to make.
        clock: gives `iat` and `exp`, and the lease of `keys`.
        max_age_seconds: for how long the served key set says that it may be cached.

    Attributes:
        audience: as given.
        hits: how often each path was asked for while serving, e.g. `hits["/jwks"]`.

    Raises:
        ConfigurationError: the algorithm is unknown or symmetric, or not the signing key's.
    """

    def __init__(
        self,
        *,
        issuer: str | None = None,
        algorithm: str = "RS256",
        audience: str = "test-api",
        client_id: str = "test-client",
        signing_key: SigningKey | None = None,
        clock: Clock | None = None,
        max_age_seconds: int = 600,
    ) -> None:
        self._algorithm = _checked(algorithm)
        if signing_key is not None and signing_key.alg != algorithm:
            raise ConfigurationError(f"the signing key is for {signing_key.alg}, not {algorithm}")
        self._issuer = issuer
        self.audience = audience
        self._client_id = client_id
        self._clock = SystemClock() if clock is None else clock
        self._max_age_seconds = max_age_seconds
        self._current = {} if signing_key is None else {algorithm: signing_key}
        self._old: list[SigningKey] = []
        self._keys: MemoryKeyProvider | None = None
        # The server's thread reads the keys while a test changes them.
        self._lock = RLock()
        self._server = LoopbackServer(document_app(self._answer))
        self._is_down = False
        self.hits: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"LocalIssuer({self.issuer!r}, audience={self.audience!r})"

    # Tokens ---------------------------------------------------------------------------------------

    @property
    def issuer(self) -> str:
        """The `iss` of its tokens."""
        return self._issuer or (self._server.url if self._server.port else _OFFLINE)

    def token(
        self,
        subject: str | None = "alice",
        *,
        scopes: Collection[str] = (),
        roles: Collection[str] = (),
        audience: str | list[str] | None = None,
        client_id: str | None = None,
        expires_in: float = 300,
        claims: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        algorithm: str | None = None,
        key: SigningKey | None = None,
    ) -> str:
        """A good access token (RFC 9068 section 2), unless told otherwise.

        Args:
            subject: `sub`, or None for a token without one.
            scopes: joined into `scope`; without any the claim is left out.
            roles: the claim `roles`; without any it is left out.
            audience: `aud`, the issuer's audience unless given.
            client_id: likewise.
            expires_in: seconds from now to `exp`; negative makes an expired token.
            claims: added to the claims, or in their place; None removes one.
            headers: likewise for the header.
            algorithm: whose key signs; its key is made and published when first asked for.
            key: signs instead of the issuer's own, without being published: a forgery,
                unless the Verifier was given it.

        Raises:
            ConfigurationError: the algorithm is unknown or symmetric.
            TypeError: scopes or roles are one string.
        """
        now = int(self._clock.time())
        statements = {
            "iss": self.issuer,
            "sub": subject,
            "aud": audience or self.audience,
            "client_id": client_id or self._client_id,
            "iat": now,
            "exp": now + expires_in,
            "jti": secrets.token_hex(8),
            "scope": " ".join(listed("scopes", scopes)) or None,
            "roles": listed("roles", roles) or None,
            **(claims or {}),
        }
        signer = key or self._signing_key(algorithm or self._algorithm)
        header = {"alg": signer.alg, "kid": signer.kid, "typ": "at+jwt", **(headers or {})}
        # Bytes, or the key would put back what was removed.
        return signer.sign(json.dumps(_present(header)).encode(), _present(statements))

    def opaque_token(self) -> str:
        """A token that is no JWT, as some providers give; only introspection can tell about it."""
        return secrets.token_urlsafe(32)

    # Keys -----------------------------------------------------------------------------------------

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs now, by the issuer's own algorithm."""
        return self._signing_key(self._algorithm)

    @property
    def keys(self) -> MemoryKeyProvider:
        """The published keys for a Verifier in the same process; rotation reaches it at once."""
        with self._lock:
            if self._keys is None:
                self._keys = MemoryKeyProvider.from_jwks(
                    self.jwks(), name=self.issuer, clock=self._clock
                )
            return self._keys

    def jwks(self) -> dict[str, Any]:
        """The published key set (RFC 7517 section 5): the current keys, and the old ones kept."""
        with self._lock:
            _ = self.signing_key
            return {"keys": [key.public_jwk() for key in (*self._current.values(), *self._old)]}

    def rotate(self, *, keep_old: bool = True) -> None:
        """Signs with new keys from now on.

        Args:
            keep_old: still publish the old ones, so that tokens signed by them stay good.
        """
        with self._lock:
            _ = self.signing_key
            self._old = [*self._current.values(), *self._old] if keep_old else []
            self._current = {alg: SigningKey.generate(alg) for alg in self._current}
            self._publish()

    def trusted(self, *, keys: KeyProvider | None = None, **options: Any) -> TrustedIssuer:
        """This issuer as a Verifier needs it, offline unless `keys` says otherwise.

        Args:
            keys: in place of the issuer's own, e.g. a RemoteKeyProvider while serving.
            options: of TrustedIssuer; the audience is the issuer's unless given.
        """
        audience = options.pop("audience", self.audience)
        return TrustedIssuer(self.issuer, audience, keys=keys or self.keys, **options)

    def _signing_key(self, algorithm: str) -> SigningKey:
        with self._lock:
            if algorithm not in self._current:
                self._current[_checked(algorithm)] = SigningKey.generate(algorithm)
                self._publish()
            return self._current[algorithm]

    def _publish(self) -> None:
        if self._keys is not None:
            self._keys.replace(self.jwks())

    # Serving --------------------------------------------------------------------------------------

    @property
    def jwks_url(self) -> str:
        """Where the key set is served."""
        return self._server.url + _JWKS_PATH

    @property
    def discovery_url(self) -> str:
        """Where the discovery document is served; needed only for an `issuer` of your own."""
        return self._server.url + _DISCOVERY_PATHS[0]

    def serving(self) -> Serving[LocalIssuer]:
        """Publishes metadata and keys over HTTP for the time of a `with` or `async with` block.

        OpenID Connect Discovery, RFC 8414 metadata and the key set, on a loopback port that is
        free and stays the same when it is served again.  The block's value is this issuer.
        Outside it, connections are refused.
        """
        return Serving(self, self._server)

    def go_down(self) -> None:
        """Answers 503 to everything from now on, as a provider in an outage does."""
        self._is_down = True

    def come_back(self) -> None:
        """Answers properly again."""
        self._is_down = False

    def _answer(self, path: str) -> Answer:
        self.hits[path] += 1
        if self._is_down:
            return 503, {}, 0
        if path == _JWKS_PATH:
            return 200, self.jwks(), self._max_age_seconds
        if path in _DISCOVERY_PATHS:
            return 200, self._metadata(), self._max_age_seconds
        return 404, {}, 0

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "jwks_uri": self.jwks_url,
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self._algorithm],
        }


def _checked(algorithm: str) -> str:
    if algorithm not in ASYMMETRIC_ALGORITHMS:
        raise ConfigurationError(
            f"an issuer publishes its keys, so its algorithm must be one of "
            f"{', '.join(sorted(ASYMMETRIC_ALGORITHMS))}; for a shared secret sign with "
            "token(key=SigningKey.from_jwk(...)), and give the Verifier the same key"
        )
    return algorithm


def _present(claims: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if value is not None}
