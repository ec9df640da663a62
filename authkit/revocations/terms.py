"""What a revocation means: its open fields filled in, its horizon, two merged, whom it covers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

from authkit.errors import ConfigurationError
from authkit.interfaces import Revocation, RevocationScope, TokenFacts

__all__ = [
    "answered_until",
    "covers",
    "filled_in",
    "longest_seconds",
    "merged",
    "require_within_horizon",
]

_Number = TypeVar("_Number", bound=float)

_UNTIL = frozenset({RevocationScope.SUBJECT, RevocationScope.CLIENT, RevocationScope.ISSUER})

_CLOCKS_APART_SECONDS = 120.0
"""By how much a token's times may lie ahead: the largest leeway, 60 s, on either side."""


_ANSWERED_AFTER_EXPIRY_SECONDS = 120.0
"""For how long a token may still pass after its expiry: the largest leeway, twice."""


def answered_until(revocation: Revocation) -> float:
    """The last moment at which a revocation is live; there is none before `filled_in`."""
    expires_at = math.inf if revocation.expires_at is None else revocation.expires_at
    return expires_at + _ANSWERED_AFTER_EXPIRY_SECONDS


def longest_seconds(max_token_lifetime_seconds: float) -> float:
    """The longest for which a revocation may have to be answered: both terms of the horizon."""
    return 2 * (max_token_lifetime_seconds + _CLOCKS_APART_SECONDS) + _ANSWERED_AFTER_EXPIRY_SECONDS


def filled_in(revocation: Revocation, now: float, max_token_lifetime_seconds: float) -> Revocation:
    """The revocation with a value for every None that applies, and long enough to matter."""
    issued_until = revocation.issued_until
    expires_at = revocation.expires_at
    if expires_at is None:
        expires_at = now + max_token_lifetime_seconds
    if revocation.scope in _UNTIL:
        issued_until = now if issued_until is None else issued_until
        expires_at = max(expires_at, issued_until + max_token_lifetime_seconds)
    return replace(revocation, issued_until=issued_until, expires_at=expires_at)


def require_within_horizon(
    revocation: Revocation, now: float, max_token_lifetime_seconds: float
) -> None:
    """Refuses what would be remembered for longer than any token can live.

    A token issued now, by a clock that is ahead, may live until the latest `expires_at`; the
    same holds from `issued_until` on, which may lie as far ahead itself.

    Raises:
        ConfigurationError: it lies beyond.
    """
    furthest = now + max_token_lifetime_seconds + _CLOCKS_APART_SECONDS
    issued_until = revocation.issued_until
    if issued_until is not None:
        if issued_until > furthest:
            raise ConfigurationError(
                "issued_until lies beyond the store's horizon of "
                f"{max_token_lifetime_seconds:g} s from now; it is in seconds since the epoch"
            )
        furthest = max(furthest, issued_until + max_token_lifetime_seconds + _CLOCKS_APART_SECONDS)
    if revocation.expires_at is not None and revocation.expires_at > furthest:
        raise ConfigurationError(
            "expires_at lies beyond the store's horizon of max_token_lifetime_seconds, "
            f"{max_token_lifetime_seconds:g} s from now; no token lives that long"
        )


def merged(kept: Revocation, given: Revocation) -> Revocation:
    """Of two with the same scope, issuer and id: the later and the higher of each value.

    The reason is the given one, unless it is empty.
    """
    return replace(
        given,
        issued_until=_larger(kept.issued_until, given.issued_until),
        minimum_version=_larger(kept.minimum_version, given.minimum_version),
        expires_at=_larger(kept.expires_at, given.expires_at),
        reason=given.reason or kept.reason,
    )


def _larger(one: _Number | None, other: _Number | None) -> _Number | None:
    # Both or neither: which of the values a revocation has is a matter of its scope.
    return one if one is None or other is None else max(one, other)


def covers(revocation: Revocation, token: TokenFacts) -> bool:
    """Whether a revocation, found by its id for this token, is about tokens as old as this one."""
    if revocation.issued_until is not None:
        return token.issued_at is None or token.issued_at <= revocation.issued_until
    if revocation.minimum_version is not None:
        return token.token_version is None or token.token_version < revocation.minimum_version
    return True
