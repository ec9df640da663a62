"""What a route asks of a caller, beyond being who it says it is."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from authkit.errors import (
    ConfigurationError,
    InsufficientScope,
    RequirementNotMet,
    StepUpRequired,
)
from authkit.principal import Principal

__all__ = ["ClaimValue", "Requirement"]

ClaimValue = str | int | float | bool

_set = object.__setattr__

_MAX_SKEW_SECONDS = 60.0


class Requirement:
    """What a caller must have; equal and hashable by value.

    Attributes:
        scopes: all of these scopes.
        any_scope: at least one of these scopes.
        roles: all of these roles.
        claims: the claims with these values, or that are arrays with this value in them.
        max_age_seconds: how long ago the user may have authenticated (`auth_time`).
        acr_values: one of these authentication contexts (`acr`), the preferred first.

    Raises:
        ConfigurationError: a string where a collection belongs, an empty name, a claim value
            that is not a string, a number or a bool, or an age that is not positive.
    """

    __slots__ = ("acr_values", "any_scope", "claims", "max_age_seconds", "roles", "scopes")

    scopes: frozenset[str]
    any_scope: frozenset[str]
    roles: frozenset[str]
    claims: tuple[tuple[str, ClaimValue], ...]
    max_age_seconds: float | None
    acr_values: tuple[str, ...]

    def __init__(
        self,
        *,
        scopes: Collection[str] = (),
        any_scope: Collection[str] = (),
        roles: Collection[str] = (),
        claims: Mapping[str, ClaimValue] | None = None,
        max_age_seconds: float | None = None,
        acr_values: Collection[str] = (),
    ) -> None:
        _set(self, "scopes", frozenset(_names("scopes", scopes)))
        _set(self, "any_scope", frozenset(_names("any_scope", any_scope)))
        _set(self, "roles", frozenset(_names("roles", roles)))
        _set(self, "claims", _claims(claims or {}))
        if max_age_seconds is not None and not _is_positive(max_age_seconds):
            raise ConfigurationError("max_age_seconds must be a positive number of seconds")
        _set(self, "max_age_seconds", max_age_seconds)
        _set(self, "acr_values", tuple(_names("acr_values", acr_values)))

    def check(self, principal: Principal, now: float) -> None:
        """Returns if `principal` meets all of it.

        What no further authentication could mend is said first.

        Args:
            principal: the caller.
            now: seconds since the epoch.

        Raises:
            InsufficientScope: a scope is missing (RFC 6750 section 3.1).
            RequirementNotMet: a role or a claim is missing.
            StepUpRequired: the authentication is too old or too weak (RFC 9470 section 3).
        """
        if not self.scopes <= principal.scopes:
            raise InsufficientScope(self.scopes)
        if self.any_scope and self.any_scope.isdisjoint(principal.scopes):
            raise InsufficientScope(self.any_scope, is_any=True)
        if not self.roles <= principal.roles:
            raise RequirementNotMet("roles", self.roles)
        for name, wanted in self.claims:
            if not _holds(principal.claims.get(name), wanted):
                raise RequirementNotMet("claims", (name for name, _ in self.claims))
        if self.max_age_seconds is not None:
            then = principal.authenticated_at
            age = math.inf if then is None else now - then
            # In the future lies what was counted in milliseconds: it says nothing of an age.
            if not -_MAX_SKEW_SECONDS <= age <= self.max_age_seconds:
                raise self._step_up()
        if self.acr_values and not any(
            _same(principal.claims.get("acr"), value) for value in self.acr_values
        ):
            raise self._step_up()

    def _step_up(self) -> StepUpRequired:
        return StepUpRequired(max_age_seconds=self.max_age_seconds, acr_values=self.acr_values)

    def _key(self) -> tuple[object, ...]:
        # A bool equals a number in Python, but not here: so the types are part of the value.
        typed = tuple((name, type(value), value) for name, value in self.claims)
        return (
            self.scopes,
            self.any_scope,
            self.roles,
            typed,
            self.max_age_seconds,
            self.acr_values,
        )

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Requirement) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Requirement is read-only: {name!r} cannot be set")

    def __repr__(self) -> str:
        given = [
            f"{name}={getattr(self, name)!r}" for name in self.__slots__ if getattr(self, name)
        ]
        return f"Requirement({', '.join(given)})"


def _is_positive(seconds: object) -> bool:
    return isinstance(seconds, (int, float)) and 0 < seconds < math.inf


def _names(label: str, names: Collection[str]) -> Collection[str]:
    if isinstance(names, str):
        raise ConfigurationError(f"{label} must be a list of names, not one string: [{names!r}]")
    if not isinstance(names, Collection):
        raise ConfigurationError(f"{label} must be a list of names")
    if not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(f"{label} must hold strings that are not empty")
    return names


def _claims(claims: Mapping[str, ClaimValue]) -> tuple[tuple[str, ClaimValue], ...]:
    if not isinstance(claims, Mapping) or not all(isinstance(name, str) for name in claims):
        raise ConfigurationError("claims must be a dict of names and values")
    for name, value in claims.items():
        if not isinstance(value, (str, int, float)):
            raise ConfigurationError(
                f"the required claim {name!r} must have a string, a number or a bool as its value"
            )
    return tuple(sorted(claims.items(), key=lambda item: item[0]))


def _holds(found: Any, wanted: ClaimValue) -> bool:
    if isinstance(found, tuple):
        return any(_same(member, wanted) for member in found)
    return _same(found, wanted)


def _same(found: Any, wanted: ClaimValue) -> bool:
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)
