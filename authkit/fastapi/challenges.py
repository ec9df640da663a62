"""What a refusal says in HTTP: the status, the challenge, and when to try again."""

from __future__ import annotations

import math

from authkit.errors import (
    AuthkitError,
    BackendUnavailable,
    CredentialMalformed,
    CredentialMissing,
    InsufficientScope,
    RateLimited,
    RequirementNotMet,
    StepUpRequired,
    TokenRefused,
    TokenRevoked,
)

__all__ = ["challenge", "explanation", "retry_after", "status_code"]

# The status of each family, and its error code (RFC 6750 section 3.1, RFC 9470 section 3).
_ANSWERS: tuple[tuple[type[AuthkitError], int, str | None], ...] = (
    (CredentialMissing, 401, None),
    (CredentialMalformed, 400, "invalid_request"),
    (TokenRefused, 401, "invalid_token"),
    (StepUpRequired, 401, "insufficient_user_authentication"),
    (InsufficientScope, 403, "insufficient_scope"),
    (RequirementNotMet, 403, "insufficient_scope"),
    (RateLimited, 429, None),
    (BackendUnavailable, 503, None),
)

_LONGEST_RETRY_SECONDS = 86_400.0


def status_code(error: AuthkitError) -> int:
    """The HTTP status; 500 for what is no caller's concern, as a ConfigurationError."""
    return next((status for kind, status, _ in _ANSWERS if isinstance(error, kind)), 500)


def challenge(error: AuthkitError, realm: str | None = None) -> str | None:
    """The value of `WWW-Authenticate`, or None where another credential would not help.

    A request without a credential learns the scheme alone, without an error
    (RFC 6750 section 3.1).  Parameters of a step-up are those of RFC 9470 section 3.
    """
    if status_code(error) not in (400, 401, 403):
        return None
    parameters = [] if realm is None else [f"realm={_quoted(realm)}"]
    code = next(code for kind, _, code in _ANSWERS if isinstance(error, kind))
    if code is not None:
        parameters += [f'error="{code}"', f'error_description="{_printable(explanation(error))}"']
    if isinstance(error, InsufficientScope):
        parameters.append(f'scope="{_printable(" ".join(error.scopes))}"')
    elif isinstance(error, StepUpRequired):
        if error.acr_values:
            parameters.append(f'acr_values="{_printable(" ".join(error.acr_values))}"')
        if error.max_age_seconds is not None:
            # Rounded down: an authentication of that age is accepted for certain.
            parameters.append(f'max_age="{math.floor(error.max_age_seconds)}"')
    return "Bearer " + ", ".join(parameters) if parameters else "Bearer"


def retry_after(error: AuthkitError) -> int | None:
    """Whole seconds for `Retry-After`, at least one and at most a day, or None."""
    if not isinstance(error, (RateLimited, BackendUnavailable)):
        return None
    # A backend may give anything: the order of the arguments makes one second of NaN.
    seconds = max(1.0, error.retry_after_seconds)
    return math.ceil(min(_LONGEST_RETRY_SECONDS, seconds))


def explanation(error: AuthkitError) -> str:
    """One sentence that the caller may read: nothing of the inside, or of a revocation's reach."""
    if isinstance(error, BackendUnavailable):
        return "the credential cannot be verified right now"
    if isinstance(error, TokenRevoked):
        return "the token is revoked"
    if isinstance(error, RateLimited):
        return "too many requests"
    return "the service failed" if status_code(error) == 500 else str(error)


def _quoted(text: str) -> str:
    """`text` as a quoted-string (RFC 9110 section 5.6.4)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _printable(text: str) -> str:
    # These values may hold neither quotes, backslashes nor anything but ASCII, escaped or not
    # (RFC 6750 section 3).
    plain = text.replace('"', "'").replace("\\", "/")
    return "".join(character if " " <= character <= "~" else "?" for character in plain)
