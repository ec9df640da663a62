"""Standing in for an Auth by `app.dependency_overrides`, with the requirements still checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fastapi.params import Depends
from fastapi.security import SecurityScopes
from starlette.requests import HTTPConnection

from authkit.clock import Clock, SystemClock
from authkit.errors import AuthkitError, ConfigurationError, CredentialMissing
from authkit.fastapi.problems import raise_refusal
from authkit.policy import Requirement
from authkit.principal import Principal

__all__ = ["SignedIn", "overriding", "stand_in"]

_HOW = (
    "override an Auth with SignedIn(principal), or with a function that takes nothing, or an "
    "HTTPConnection, a Request, a WebSocket or SecurityScopes by annotation, and returns a "
    "Principal or None"
)


class SignedIn:
    """Signs every request in as one principal: `app.dependency_overrides[auth] = SignedIn(caller)`.

    For tests.  No token is read and no verifier is needed, but the principal must meet what
    each route asks for: scopes, roles, claims and the age of its authentication.  A plain
    function as the override replaces `auth` altogether, as FastAPI documents it, so that the
    scopes of `Security(auth, scopes=...)` are not checked.

    Args:
        principal: who calls, or None for requests without a credential.
        clock: tells the age of an authentication.
    """

    __slots__ = ("clock", "principal")

    def __init__(self, principal: Principal | None, *, clock: Clock | None = None) -> None:
        self.principal: Principal | None = principal
        self.clock: Clock = SystemClock() if clock is None else clock

    async def __call__(
        self, connection: HTTPConnection, security_scopes: SecurityScopes
    ) -> Principal:
        """The principal, to FastAPI.

        Raises:
            AuthProblem: it lacks a scope that the route asks for, or there is none.
        """
        requirement = Requirement(scopes=security_scopes.scopes)
        try:
            if self.principal is None:
                raise CredentialMissing
            requirement.check(self.principal, self.clock.time())
        except AuthkitError as error:
            raise_refusal(error, connection, None)
        return self.principal


def overriding(connection: HTTPConnection, origin: object) -> Callable[..., Any] | None:
    """What the app that owns the route has in place of `origin`, or None.

    FastAPI itself replaces a dependency by its own entry alone, so a dependency that was
    derived from `origin` looks here for the entry of `origin`.
    """
    overrides = getattr(connection.scope.get("app"), "dependency_overrides", None)
    return overrides.get(origin) if overrides else None


async def stand_in(
    override: Callable[..., Any],
    connection: HTTPConnection,
    security_scopes: SecurityScopes,
    requirement: Requirement | None,
) -> Principal | None:
    """The principal that `override` gives, if it meets the requirement, or None for no credential.

    Raises:
        ConfigurationError: the override is of a kind that only FastAPI could call.
        AuthkitError: the requirement is not met.
    """
    clock: Clock = SystemClock()
    if isinstance(override, SignedIn):
        principal, clock = override.principal, override.clock
    else:
        principal = await _called(override, connection, security_scopes)
    if principal is not None and requirement is not None:
        requirement.check(principal, clock.time())
    return principal


async def _called(
    override: Callable[..., Any], connection: HTTPConnection, security_scopes: SecurityScopes
) -> Principal | None:
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(override, eval_str=True).parameters.items():
        kind = parameter.annotation
        if isinstance(kind, type) and issubclass(kind, HTTPConnection):
            arguments[name] = connection
        elif kind is SecurityScopes:
            arguments[name] = security_scopes
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        elif parameter.default is parameter.empty or isinstance(parameter.default, Depends):
            raise ConfigurationError(_HOW)
    result = override(**arguments)
    if inspect.isawaitable(result):
        result = await result
    if not isinstance(result, Principal | None):
        raise ConfigurationError(_HOW)
    return result
