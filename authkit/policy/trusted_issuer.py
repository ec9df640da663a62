"""An issuer that is trusted, with what, and how its tokens are read."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from authkit.errors import (
    AlgorithmNotAllowed,
    AudienceMismatch,
    ClaimRejected,
    ConfigurationError,
    TokenExpired,
    TokenLifetimeTooLong,
    TokenNotYetValid,
    TokenTypeNotAllowed,
)
from authkit.interfaces import KeyProvider, Refreshable, TokenFacts
from authkit.jose.claims import date, text, texts
from authkit.jose.jwa import ASYMMETRIC_ALGORITHMS, SYMMETRIC_ALGORITHMS
from authkit.jose.jws import JoseHeader, SignedPayload
from authkit.policy.claim_mapping import MAPPINGS, ClaimMapping
from authkit.policy.claim_reader import ClaimReader
from authkit.policy.token_profile import PROFILES
from authkit.principal import Principal

__all__ = ["MAX_LEEWAY_SECONDS", "MappingName", "ProfileName", "TrustedIssuer"]

MAX_LEEWAY_SECONDS = 60.0
"""Half of the 120 s for which a RevocationStore answers beyond a revocation's end."""

MappingName = Literal["standard", "keycloak", "entra", "auth0", "cognito", "okta", "google"]
ProfileName = Literal["access_token", "rfc9068", "id_token"]

T = TypeVar("T")


class TrustedIssuer:
    """Tokens of this issuer are accepted, if they keep to this policy.

    Args:
        issuer: compared with `iss` exactly; no trailing slash is added or taken away.
        audience: the names of this service; a token must be meant for one of them.
        keys: where its verification keys come from.  Without it the Verifier fetches them, by
            discovery from the issuer's address, or as the next two say.
        discovery_url: the address of the discovery document, where it is an unusual one.
        jwks_url: the address of the key set, to do without discovery.
        algorithms: what may be signed with; the asymmetric algorithms unless named otherwise.
            HS256, HS384 and HS512 need `keys` that are not fetched from anywhere.
        token_types: the header's `typ`, without `application/` and in any case; None is no `typ`.
        required_claims: claims that must be present, besides those of the profile.
        leeway_seconds: allowed clock skew, 0 to 60.
        max_token_lifetime_seconds: tokens that live longer are refused: no revocation would
            outlive them.
        mapping: where scopes, roles and the like are kept: a ClaimMapping, or a name in `MAPPINGS`.
        profile: the kind of token: `access_token`, `rfc9068` (strict access tokens) or `id_token`.
        alias: a short name for metrics; the issuer itself unless given.

    Raises:
        ConfigurationError: any of it cannot work, or would be unsafe.
    """

    def __init__(
        self,
        issuer: str,
        audience: str | Collection[str],
        *,
        keys: KeyProvider | None = None,
        discovery_url: str | None = None,
        jwks_url: str | None = None,
        algorithms: Collection[str] = ASYMMETRIC_ALGORITHMS,
        token_types: Collection[str | None] | None = None,
        required_claims: Collection[str] = (),
        leeway_seconds: float = 10.0,
        max_token_lifetime_seconds: float = 86_400.0,
        mapping: ClaimMapping | MappingName = "standard",
        profile: ProfileName = "access_token",
        alias: str | None = None,
    ) -> None:
        if not isinstance(profile, str) or profile not in PROFILES:
            raise ConfigurationError(f"profile must be one of {', '.join(PROFILES)}")
        self._profile = PROFILES[profile]
        self._telling_claims = self._profile.telling_claims
        self.issuer: str = _issuer(issuer)
        self.audience: frozenset[str] = _audience(audience)
        self.keys = keys
        self.discovery_url = discovery_url
        self.jwks_url = jwks_url
        self.algorithms: frozenset[str] = _algorithms(algorithms, keys)
        self.leeway_seconds: float = _leeway(leeway_seconds)
        self.max_token_lifetime_seconds: float = _lifetime(max_token_lifetime_seconds)
        self.mapping: ClaimMapping = _mapping(mapping)
        self.profile = profile
        self.alias: str = alias or issuer
        self._check_key_source()

        types = self._profile.token_types if token_types is None else token_types
        self.token_types: frozenset[str | None] = frozenset(
            map(_media_type, _collection("token_types", types))
        )
        required = (
            *self._profile.required_claims,
            *_collection("required_claims", required_claims),
        )
        self._audience_claim = self.mapping.audience
        self.required_claims: frozenset[str] = frozenset(
            self._audience_claim if name == "aud" else name for name in required
        )
        self._reader = ClaimReader(self.issuer, self.mapping)

    def __repr__(self) -> str:
        return f"TrustedIssuer({self.issuer!r}, audience={sorted(self.audience)!r})"

    def check_algorithm(self, header: JoseHeader) -> None:
        """Returns if this issuer may sign with the header's `alg` (RFC 8725 section 3.1).

        Raises:
            AlgorithmNotAllowed: it may not.
        """
        if header.alg not in self.algorithms:
            raise AlgorithmNotAllowed()

    def accept(self, payload: SignedPayload, now: float) -> tuple[Principal, TokenFacts]:
        """Who calls, by a payload that a key of this issuer signed.

        Args:
            payload: its `iss` has been compared with this issuer.
            now: seconds since the epoch.

        Raises:
            ClaimRejected: the token is not for this service, not now, or not of the wanted kind.
        """
        values = payload.claims
        self._check_kind(payload.header.typ, values)
        # First that each is what it should be, then what it says.  A null is not absent.
        audience = texts(self._audience_claim, values[self._audience_claim])
        subject = text("sub", values["sub"]) if "sub" in values else None
        expires_at = date("exp", values["exp"])
        not_before = date("nbf", values["nbf"]) if "nbf" in values else None
        issued_at = date("iat", values["iat"]) if "iat" in values else None
        authenticated_at = date("auth_time", values["auth_time"]) if "auth_time" in values else None
        if self.audience.isdisjoint(audience):
            raise AudienceMismatch(self._audience_claim)
        if self.profile == "id_token":
            self._check_authorized_party(values.get("azp"), audience)
        self._check_times(now, expires_at, not_before, issued_at)
        return self._reader.read(payload, subject, issued_at, expires_at, authenticated_at)

    def _check_kind(self, typ: str | None, values: Mapping[str, Any]) -> None:
        # As it is spelled first, because it nearly always is.
        if typ not in self.token_types and _media_type(typ) not in self.token_types:
            raise TokenTypeNotAllowed()
        # Most tokens have none of these, which one question tells instead of four.
        if not self._telling_claims.isdisjoint(values):
            self._profile.check(values)
        if not self.required_claims <= values.keys():
            raise ClaimRejected(min(self.required_claims - values.keys()), "missing")

    def _check_times(
        self, now: float, expires_at: float, not_before: float | None, issued_at: float | None
    ) -> None:
        """RFC 7519 sections 4.1.4 to 4.1.6."""
        leeway = self.leeway_seconds
        if now >= expires_at + leeway:
            raise TokenExpired()
        if not_before is not None and not_before > now + leeway:
            raise TokenNotYetValid("nbf")
        if issued_at is None:
            issued_at = now
        elif issued_at > now + leeway:
            raise TokenNotYetValid("iat")
        if expires_at - issued_at > self.max_token_lifetime_seconds:
            raise TokenLifetimeTooLong()

    def _check_authorized_party(self, party: object, audience: tuple[str, ...]) -> None:
        """An ID token for several audiences names its client (OIDC Core section 3.1.3.7)."""
        if party is None and len(audience) > 1:
            raise ClaimRejected("azp", "missing")
        if party is not None and text("azp", party) not in self.audience:
            raise ClaimRejected("azp", "mismatch")

    def _check_key_source(self) -> None:
        given = [
            name
            for name in ("keys", "discovery_url", "jwks_url")
            if getattr(self, name) is not None
        ]
        if len(given) > 1:
            raise ConfigurationError(
                f"TrustedIssuer {self.issuer}: give one of {' and '.join(given)}, not both"
            )
        if not given and urlsplit(self.issuer).scheme != "https":
            raise ConfigurationError(
                f"TrustedIssuer {self.issuer}: its keys cannot be discovered, because it is not an "
                "https address; give jwks_url= or discovery_url= with an https address, or keys=, "
                "and for a provider on this machine "
                "keys=RemoteKeyProvider(issuer, insecure_loopback_http=True)"
            )


def _issuer(issuer: str) -> str:
    if not isinstance(issuer, str) or not issuer or any(mark <= " " for mark in issuer):
        raise ConfigurationError("issuer must be a string without spaces, exactly as in `iss`")
    return issuer


def _collection(label: str, given: Collection[T]) -> Collection[T]:
    if isinstance(given, str) or not isinstance(given, Collection):
        raise ConfigurationError(f"{label} must be a list or a set")
    if not all(one is None or isinstance(one, str) for one in given):
        raise ConfigurationError(f"{label} must hold strings")
    return given


def _audience(audience: str | Collection[str]) -> frozenset[str]:
    names = [audience] if isinstance(audience, str) else audience
    is_collection = isinstance(names, Collection) and bool(names)
    if not is_collection or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(
            "audience must be the name of this service as tokens give it, or several names"
        )
    return frozenset(names)


def _algorithms(algorithms: Collection[str], keys: KeyProvider | None) -> frozenset[str]:
    named = frozenset(_collection("algorithms", algorithms))
    unknown = named - ASYMMETRIC_ALGORITHMS - SYMMETRIC_ALGORITHMS
    if not named or unknown:
        raise ConfigurationError(
            f"algorithms must name at least one of {', '.join(sorted(ASYMMETRIC_ALGORITHMS))}, or, "
            f"with a shared secret, of {', '.join(sorted(SYMMETRIC_ALGORITHMS))}; "
            f"not known: {', '.join(sorted(map(str, unknown))) or 'none is named'}"
        )
    if named & SYMMETRIC_ALGORITHMS and (keys is None or isinstance(keys, Refreshable)):
        # A key set that anybody may read holds no shared secret (RFC 8725 section 3.2).
        raise ConfigurationError(
            "HS256, HS384 and HS512 need the shared secret itself: give "
            "keys=MemoryKeyProvider.from_jwks(...), not keys that are fetched"
        )
    return named


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _leeway(seconds: float) -> float:
    if not _is_number(seconds) or not 0 <= seconds <= MAX_LEEWAY_SECONDS:
        raise ConfigurationError(f"leeway_seconds must be between 0 and {MAX_LEEWAY_SECONDS:g}")
    return float(seconds)


def _lifetime(seconds: float) -> float:
    if not _is_number(seconds) or not 0 < seconds < math.inf:
        raise ConfigurationError("max_token_lifetime_seconds must be a positive number of seconds")
    return float(seconds)


def _mapping(mapping: ClaimMapping | str) -> ClaimMapping:
    if isinstance(mapping, ClaimMapping):
        return mapping
    if isinstance(mapping, str) and mapping in MAPPINGS:
        return MAPPINGS[mapping]
    raise ConfigurationError(f"mapping must be a ClaimMapping or one of {', '.join(MAPPINGS)}")


def _media_type(typ: str | None) -> str | None:
    """`typ` in the form that is compared (RFC 7515 section 4.1.9)."""
    return None if typ is None else typ.lower().removeprefix("application/")
