"""The closed family of errors: everything that authkit raises, with a stable code each.

No message, field or repr holds token text, a secret, or any value taken from an
unverified token.  HTTP status codes live in `authkit.fastapi` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

__all__ = [
    "AlgorithmNotAllowed",
    "AudienceMismatch",
    "AuthkitError",
    "BackendUnavailable",
    "ClaimReason",
    "ClaimRejected",
    "ConfigurationError",
    "CredentialMalformed",
    "CredentialMissing",
    "InsufficientScope",
    "IssuerNotTrusted",
    "KeyNotFound",
    "RateLimited",
    "RequirementNotMet",
    "SignatureInvalid",
    "StepUpRequired",
    "TokenExpired",
    "TokenLifetimeTooLong",
    "TokenMalformed",
    "TokenNotYetValid",
    "TokenRefused",
    "TokenRevoked",
    "TokenTypeNotAllowed",
]

ClaimReason = Literal[
    "missing", "invalid", "mismatch", "expired", "not_yet_valid", "too_long", "not_allowed"
]


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _restore(kind: type[AuthkitError], state: dict[str, Any], message: str) -> AuthkitError:
    error = kind.__new__(kind, message)
    error.__dict__.update(state)
    error.args = (message,)
    return error


class AuthkitError(Exception):
    """The root of the family.

    Attributes:
        code: stable, snake_case; the class's name unless a narrower one is given.
    """

    code: str = "authkit_error"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.code = _snake_case(cls.__name__)

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses have constructors of their own, which must not be called with the message.
        return _restore, (type(self), dict(self.__dict__), str(self))


class ConfigurationError(AuthkitError):
    """Something was put together wrongly; the message says what to do."""


class CredentialMissing(AuthkitError):
    """The request carries no credential of our scheme."""

    def __init__(self) -> None:
        super().__init__("no bearer token was presented")


class CredentialMalformed(AuthkitError):
    """The request carries a credential in a form that RFC 6750 does not allow."""


class TokenRefused(AuthkitError):
    """The token is bad, whatever the route asks for.  Every subclass is one reason."""


class TokenMalformed(TokenRefused):
    """Not a compact JWS with strict base64url and strict JSON, or larger than allowed.

    The code is `token_opaque` for a text without a dot, else `token_malformed`.
    """


class AlgorithmNotAllowed(TokenRefused):
    """The header's `alg` is not on the trusted issuer's list."""

    def __init__(self) -> None:
        super().__init__("the token's algorithm is not one that its issuer is trusted with")


class IssuerNotTrusted(TokenRefused):
    """The token's `iss` is missing or is not exactly the issuer of a configured TrustedIssuer."""

    def __init__(self) -> None:
        super().__init__("the token's issuer is not trusted here")


class KeyNotFound(TokenRefused):
    """The issuer's key set, known to be current, has no key that fits the token.

    Attributes:
        kid_hash: the start of the SHA-256, in hex, of the key id that the token names, or None.
    """

    def __init__(self, kid_hash: str | None = None) -> None:
        self.kid_hash = kid_hash
        super().__init__("the issuer has no key that fits the token")


class SignatureInvalid(TokenRefused):
    """No fitting key of the issuer made this signature."""

    def __init__(self) -> None:
        super().__init__("the token's signature is not valid")


class ClaimRejected(TokenRefused):
    """A claim of a genuine token is not acceptable.

    Attributes:
        claim: its name (`typ` for the header's type), always a configured or registered one.
        reason: what is wrong with it.
    """

    def __init__(self, claim: str, reason: ClaimReason) -> None:
        self.claim = claim
        self.reason: ClaimReason = reason
        super().__init__(f"the claim {claim!r} is {reason.replace('_', ' ')}")


class TokenExpired(ClaimRejected):
    """`exp` has passed, the leeway included (RFC 7519 section 4.1.4)."""

    def __init__(self, claim: str = "exp", reason: ClaimReason = "expired") -> None:
        super().__init__(claim, reason)


class TokenNotYetValid(ClaimRejected):
    """`nbf` or `iat` lies further in the future than the leeway (RFC 7519 section 4.1.5)."""

    def __init__(self, claim: str = "nbf", reason: ClaimReason = "not_yet_valid") -> None:
        super().__init__(claim, reason)


class TokenLifetimeTooLong(ClaimRejected):
    """The token lives longer than `max_token_lifetime_seconds`: no revocation would outlive it."""

    def __init__(self, claim: str = "exp", reason: ClaimReason = "too_long") -> None:
        super().__init__(claim, reason)


class AudienceMismatch(ClaimRejected):
    """No audience of the token is one of this service (RFC 7519 section 4.1.3)."""

    def __init__(self, claim: str = "aud", reason: ClaimReason = "mismatch") -> None:
        super().__init__(claim, reason)


class TokenTypeNotAllowed(ClaimRejected):
    """The token says of itself that it is of another kind (RFC 8725 section 3.11)."""

    def __init__(self, claim: str = "typ", reason: ClaimReason = "not_allowed") -> None:
        super().__init__(claim, reason)


class TokenRevoked(TokenRefused):
    """A live revocation covers the token.

    Attributes:
        scope: the value of the RevocationScope that covers it, e.g. `subject`.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(f"the token is revoked, by {scope}")


class StepUpRequired(AuthkitError):
    """The user must authenticate again, more recently or more strongly (RFC 9470).

    Attributes:
        max_age_seconds: how old the authentication may be, or None.
        acr_values: the authentication contexts that would do, in order of preference.
    """

    def __init__(
        self, *, max_age_seconds: float | None = None, acr_values: Iterable[str] = ()
    ) -> None:
        self.max_age_seconds = max_age_seconds
        self.acr_values: tuple[str, ...] = tuple(acr_values)
        super().__init__("a more recent or stronger authentication is required")


class InsufficientScope(AuthkitError):
    """The token is good, but was not granted what the route asks for.

    Attributes:
        scopes: the scopes that would do (all of them, unless `is_any`), sorted.
        is_any: True when one of `scopes` is enough.
    """

    def __init__(self, scopes: Iterable[str], *, is_any: bool = False) -> None:
        self.scopes: tuple[str, ...] = tuple(sorted(scopes))
        self.is_any = is_any
        some = "one of the scopes" if is_any else "the scopes"
        super().__init__(f"the token needs {some} {' '.join(self.scopes)}")


class RequirementNotMet(AuthkitError):
    """The caller lacks a role or a claim that the route asks for.

    Attributes:
        requirement: `roles` or `claims`.
        names: the roles or the claims' names that were asked for, sorted.
    """

    def __init__(self, requirement: Literal["roles", "claims"], names: Iterable[str]) -> None:
        self.requirement = requirement
        self.names: tuple[str, ...] = tuple(sorted(names))
        super().__init__(f"the caller does not have the {requirement} {' '.join(self.names)}")


class RateLimited(AuthkitError):
    """The caller, or the address it comes from, is over a limit.

    Attributes:
        limits: the names of the limits that refused.
        retry_after_seconds: when trying again can succeed.
    """

    def __init__(self, limits: Iterable[str], retry_after_seconds: float) -> None:
        self.limits: tuple[str, ...] = tuple(limits)
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"over the limit {' '.join(self.limits)}")


class BackendUnavailable(AuthkitError):
    """A backend did not answer, so the question stays open: neither accepted nor refused.

    The code is `key_unknown_unconfirmed` where an unknown key id could not be confirmed
    because the last refresh of the key set failed.

    Attributes:
        interface: `keys`, `revocations`, `limiter` or `audit`; `verifier` where the fault is ours.
        retry_after_seconds: when trying again makes sense.
    """

    def __init__(
        self,
        interface: str,
        message: str = "did not answer",
        *,
        code: str | None = None,
        retry_after_seconds: float = 5.0,
    ) -> None:
        self.interface = interface
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{interface}: {message}", code=code)
