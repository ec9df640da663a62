"""Auth: what an app's routes depend on to know who calls."""

from __future__ import annotations

import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar
from weakref import WeakValueDictionary

from fastapi.openapi.models import HTTPBearer
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from authkit.errors import ConfigurationError
from authkit.fastapi.client_address import AddressResolver
from authkit.fastapi.declaration import InstanceOnly
from authkit.fastapi.guard import Guard, GuardSettings
from authkit.fastapi.unprotected_routes import UnprotectedRoute, find_unprotected
from authkit.fastapi.websocket import closed_with_token
from authkit.policy import Requirement
from authkit.policy.requirement import ClaimValue
from authkit.principal import Principal
from authkit.verifier import Verifier

__all__ = ["Auth"]

T = TypeVar("T")

_log = logging.getLogger("authkit")


class Auth(Guard[Principal]):
    """The dependency that gives the caller: `Depends(auth)` or `Security(auth, scopes=[...])`.

    Make one beside the app, at import time: it reads nothing and opens nothing.  It serves
    HTTP and WebSocket routes, routers and mounted apps alike.

    Args:
        trusted_proxies: the networks of the proxies in front, e.g. `["10.0.0.0/8"]`, whose
            `X-Forwarded-For` is believed; `()` where callers connect directly; None where the
            caller's address cannot be known, so that no address is throttled or put on record.
        realm: stands in every challenge (RFC 9110 section 11.5).
        scheme_name: the security scheme's name in the OpenAPI document.
        description: its description there.

    Attributes:
        optional: the dependency for routes that also serve callers without a credential; it
            gives None for these.  A credential that is bad is refused all the same.

    Raises:
        ConfigurationError: a trusted proxy is not a network, or the realm is not printable.
    """

    optional: Guard[Principal | None]
    __signature__: InstanceOnly = InstanceOnly()

    def __init__(
        self,
        *,
        trusted_proxies: Sequence[str] | None = None,
        realm: str | None = None,
        scheme_name: str = "bearer",
        description: str | None = None,
    ) -> None:
        if realm is not None and not (realm.isascii() and realm.isprintable()):
            raise ConfigurationError("realm must be printable ASCII: it stands in a header")
        settings = GuardSettings(
            addresses=None if trusted_proxies is None else AddressResolver(trusted_proxies),
            realm=realm,
            model=HTTPBearer(bearerFormat="JWT", description=description),
            scheme_name=scheme_name,
        )
        super().__init__(settings)
        self.optional = Guard(settings, is_optional=True, origin=self)
        # Equal arguments give the same object as long as a route holds it, so that FastAPI,
        # which compares dependencies at every request, compares by identity.
        self._required: WeakValueDictionary[Requirement, Guard[Principal]] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"Auth(scheme_name={self.scheme_name!r})"

    @contextmanager
    def using(self, verifier: Verifier) -> Iterator[None]:
        """Verifies with `verifier` as long as the block runs; for the app's lifespan.

        Raises:
            ConfigurationError: another block is running, since one Auth has one verifier at a
                time; or the verifier limits by address, and this Auth knows none.
        """
        if self._settings.verifier is not None:
            raise ConfigurationError(
                "this Auth is in use already: leave the first `auth.using(...)` before entering "
                "another one, or make an Auth for each verifier"
            )
        if self._settings.addresses is None:
            if verifier.limits_addresses:
                raise ConfigurationError(
                    "a RateLimit by address needs to know the addresses: give "
                    "Auth(trusted_proxies=[...]), or () where there is no proxy"
                )
            _log.warning(
                "the callers' addresses are not known, so failed attempts are not throttled: "
                "give Auth(trusted_proxies=[...]), or () where there is no proxy"
            )
        self._settings.verifier = verifier
        try:
            yield
        finally:
            self._settings.verifier = None

    def require(
        self,
        *,
        scopes: Collection[str] = (),
        any_scope: Collection[str] = (),
        roles: Collection[str] = (),
        claims: Mapping[str, ClaimValue] | None = None,
        max_age_seconds: float | None = None,
        acr_values: Collection[str] = (),
    ) -> Guard[Principal]:
        """A dependency that asks for more than a good token; all that is given must be met.

        Equal arguments give equal dependencies.  What overrides this Auth in
        `app.dependency_overrides` overrides them too, and the principal it gives must meet
        the requirement.  `Security(auth.require(...), scopes=[...])` adds scopes.

        Args:
            scopes: all of these scopes.
            any_scope: at least one of these scopes.
            roles: all of these roles.
            claims: the claims with these values, or that are arrays with this value in them.
            max_age_seconds: how long ago the user may have authenticated (RFC 9470).
            acr_values: one of these authentication contexts (RFC 9470), the preferred first.

        Raises:
            ConfigurationError: an argument has no sense; the message says which.
        """
        requirement = Requirement(
            scopes=scopes,
            any_scope=any_scope,
            roles=roles,
            claims=claims,
            max_age_seconds=max_age_seconds,
            acr_values=acr_values,
        )
        guard = self._required.get(requirement)
        if guard is None:
            guard = Guard(self._settings, requirement=requirement, origin=self)
            self._required[requirement] = guard
        return guard

    def watch(
        self, websocket: WebSocket, principal: Principal
    ) -> AbstractAsyncContextManager[None]:
        """Ends the block and closes the WebSocket with 1008 when the principal's token does.

            await websocket.accept()
            async with auth.watch(websocket, caller):
                async for text in websocket.iter_text(): ...

        The token ends when it is revoked or expires, which is the reason that the close frame
        gives: `token_revoked` or `token_expired`.  The block is cancelled at whatever it awaits;
        what follows it runs on.  See `Verifier.watch` for what ends a token, and what does not.

        Raises:
            ConfigurationError: no verifier is in use, or it has not been entered.
        """
        return closed_with_token(websocket, self._settings.watch(principal))

    def watch_stream(
        self, source: AsyncIterable[T], principal: Principal
    ) -> AsyncGenerator[T, None]:
        """The items of `source` until the principal's token expires or is revoked.

            return StreamingResponse(auth.watch_stream(news(), caller))

        For what a response sends piece by piece, such as server-sent events.  At the end of the
        token, waiting for the next item is cancelled, `source` is closed, and the response ends as
        if there were no more.  When the client hangs up, `source` is closed as well.

        Raises:
            ConfigurationError: no verifier is in use, or it has not been entered.
        """
        return self._settings.watch(principal).stream(source)

    def unprotected_routes(
        self, app: ASGIApp, *, allowed: Collection[str] = ()
    ) -> list[UnprotectedRoute]:
        """The routes of an app that can be called without a credential, in the order of matching.

        It walks routers, mounted apps, hosts, WebSockets and what serves the documentation.
        A route is protected when some dependency of it, at whatever depth, is an Auth or
        comes from `auth.require(...)`; `auth.optional` protects nothing.  What cannot be
        looked into, as mounted static files, is listed as one opaque entry.

            assert auth.unprotected_routes(app, allowed=["/health"]) == []

        Args:
            app: FastAPI, Starlette, a router, or middleware around one.
            allowed: full paths that are meant to be open and are left out, exactly as listed.

        Raises:
            ConfigurationError: `app` has no routes to look at.
        """
        return find_unprotected(app, allowed)
