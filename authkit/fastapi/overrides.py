"""Standing in for an Auth by `app.dependency_overrides`, with the requirements still checked."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from fastapi.params import Depends
from fastapi.security import SecurityScopes
from starlette.requests import HTTPConnection

from authkit.clock import Clock, SystemClock
from authkit.errors import AuthkitError, ConfigurationError, CredentialMissing, TokenRevoked
from authkit.fastapi.problems import raise_refusal
from authkit.interfaces import RevocationScope
from authkit.policy import Requirement
from authkit.policy.claim_reader import facts_of
from authkit.principal import Principal
from authkit.verifier import TokenWatch

__all__ = ["SignedIn", "overriding", "stand_in", "watch_signed_in"]

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
    scopes of `Security(auth, scopes=...)` are not checked.  Connections that stay open end when
    the principal expires, or with `revoke`.

    Args:
        principal: who calls, or None for requests without a credential.
        clock: tells the age of an authentication.
    """

    __slots__ = ("__weakref__", "_is_revoked", "_watches", "clock", "principal")

    def __init__(self, principal: Principal | None, *, clock: Clock | None = None) -> None:
        self.principal: Principal | None = principal
        self.clock: Clock = SystemClock() if clock is None else clock
        self._is_revoked = False
        self._watches: dict[TokenWatch, asyncio.AbstractEventLoop] = {}
        _all[id(self)] = self

    def revoke(self) -> None:
        """Makes it as if the token had been revoked: for its connections and for later requests.

        It may be called in any thread; connections end shortly after.  Those that were opened
        while a verifier is in use end with a revocation in its store alone.
        """
        self._is_revoked = True
        for watch, loop in tuple(self._watches.items()):
            with suppress(RuntimeError):  # a loop that is closed has no connections
                loop.call_soon_threadsafe(watch.end, _revoked())

    def caller(self) -> Principal | None:
        """The principal.

        Raises:
            TokenRevoked: it was revoked.
        """
        if self._is_revoked:
            raise _revoked()
        return self.principal

    def watch(self, principal: Principal) -> TokenWatch:
        """Ends when the principal expires or is revoked."""
        return TokenWatch(facts_of(principal), self.clock, self._enrol, self._dismiss)

    def _enrol(self, watch: TokenWatch) -> None:
        self._watches[watch] = asyncio.get_running_loop()
        # After that, so that no `revoke` in another thread falls between the two.
        if self._is_revoked:
            watch.end(_revoked())

    def _dismiss(self, watch: TokenWatch) -> None:
        self._watches.pop(watch, None)

    async def __call__(
        self, connection: HTTPConnection, security_scopes: SecurityScopes
    ) -> Principal:
        """The principal, to FastAPI.

        Raises:
            AuthProblem: it lacks a scope that the route asks for, or there is none.
        """
        requirement = Requirement(scopes=security_scopes.scopes)
        try:
            principal = self.caller()
            if principal is None:
                raise CredentialMissing
            requirement.check(principal, self.clock.time())
        except AuthkitError as error:
            raise_refusal(error, connection, None)
        return principal


# Those that there are, the newest last.
_all: WeakValueDictionary[int, SignedIn] = WeakValueDictionary()


def _revoked() -> TokenRevoked:
    return TokenRevoked(RevocationScope.TOKEN.value)


def watch_signed_in(principal: Principal) -> TokenWatch | None:
    """Watches this very principal, if it is one that a SignedIn stands in with: the newest."""
    for each in reversed(list(_all.values())):
        if each.principal is principal:
            return each.watch(principal)
    return None


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
        principal, clock = override.caller(), override.clock
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
