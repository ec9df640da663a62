"""One flat dependency: from an ASGI scope to a Principal, for a route and what it asks for."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from fastapi.openapi.models import HTTPBearer
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketState

from authkit.credentials import bearer_credential
from authkit.errors import AuthkitError, ConfigurationError, CredentialMissing
from authkit.fastapi.client_address import AddressResolver
from authkit.fastapi.overrides import overriding, stand_in, watch_signed_in
from authkit.fastapi.problems import raise_refusal
from authkit.policy import Requirement
from authkit.principal import Principal
from authkit.verifier import TokenWatch, Verifier

__all__ = ["Guard", "GuardSettings"]

CallerT = TypeVar("CallerT", bound=Principal | None)

# Where the scope of a request keeps its proven caller, with what was proven and by which verifier:
# an app may copy the scope and call itself with other headers.
_PROVEN = "authkit.fastapi"

_MAX_REQUIREMENTS = 256

# More scopes of one letter each than this are the letters of a string that should be a list.
_LETTERS = 3


class GuardSettings:
    """What an Auth and the dependencies derived from it share.

    Attributes:
        verifier: proves who calls, between entering and leaving `Auth.using`.
        addresses: finds the caller's address, or None where none can be trusted.
        realm: stands in challenges, or None.
        model: the security scheme, as OpenAPI shows it.
        scheme_name: its name there.
    """

    __slots__ = ("addresses", "model", "realm", "scheme_name", "verifier")

    def __init__(
        self,
        *,
        addresses: AddressResolver | None,
        realm: str | None,
        model: HTTPBearer,
        scheme_name: str,
    ) -> None:
        self.verifier: Verifier | None = None
        self.addresses: AddressResolver | None = addresses
        self.realm: str | None = realm
        self.model: HTTPBearer = model
        self.scheme_name: str = scheme_name

    def current_verifier(self) -> Verifier:
        """The verifier in use.

        Raises:
            ConfigurationError: there is none.
        """
        if self.verifier is None:
            raise ConfigurationError(
                "this Auth has no verifier: in the app's lifespan, write "
                "`async with verifier:` and in it `with auth.using(verifier): yield` "
                "(only the lifespan of the outermost app runs, not that of a mounted one)"
            )
        return self.verifier

    def watch(self, principal: Principal) -> TokenWatch:
        """Watches the principal's token; without a verifier, that of a test that is signed in.

        Raises:
            ConfigurationError: there is no verifier, or it has not been entered.
        """
        if self.verifier is None:
            watch = watch_signed_in(principal)
            if watch is not None:
                return watch
        return self.current_verifier().watch(principal)


class Guard(SecurityBase, Generic[CallerT]):
    """A dependency that gives the caller, for `Depends(...)` and `Security(..., scopes=[...])`.

    It works on HTTP and WebSocket routes.  A request that passes several guards of one Auth is
    verified, and charged to the caller's limits, once; each guard still checks what it asks for.
    To look at a token again in the middle of a long response, ask the Verifier itself.

    Attributes:
        requirement: what it asks for beside the scopes of `Security`, or None.
        is_optional: a request without a credential passes, as None.
    """

    def __init__(
        self,
        settings: GuardSettings,
        *,
        requirement: Requirement | None = None,
        is_optional: bool = False,
        origin: Guard[Principal] | None = None,
    ) -> None:
        self.model: HTTPBearer = settings.model
        self.scheme_name: str = settings.scheme_name
        self.requirement = requirement
        self.is_optional = is_optional
        self._settings = settings
        self._origin = origin
        self._requirements: dict[tuple[str, ...], Requirement] = {}

    async def __call__(
        self, connection: HTTPConnection, security_scopes: SecurityScopes
    ) -> CallerT:
        """The caller, to FastAPI.

        Raises:
            AuthProblem: refused; the app answers with a problem document.
            WebSocketException: likewise on a WebSocket that cannot be answered with a response.
            ConfigurationError: no verifier is in use, or an override cannot be called.
        """
        requirement = self.requirement_with(security_scopes.scopes)
        try:
            if self._origin is not None:
                override = overriding(connection, self._origin)
                if override is not None:
                    caller = await stand_in(override, connection, security_scopes, requirement)
                    if caller is None and not self.is_optional:
                        raise CredentialMissing
                    return cast(CallerT, caller)
            return cast(CallerT, await self._verified(connection, requirement))
        except AuthkitError as error:
            raise_refusal(error, connection, self._settings.realm)

    async def _verified(
        self, connection: HTTPConnection, requirement: Requirement | None
    ) -> Principal | None:
        settings = self._settings
        verifier = settings.current_verifier()
        scope = connection.scope
        credential = bearer_credential(scope["headers"], scope.get("query_string", b""))
        if credential is None and self.is_optional:
            return None
        proven = scope.get(_PROVEN)
        if proven is not None and proven[:2] == (verifier, credential):
            principal = proven[2]
            if not _is_accepted(connection) and _meets(principal, requirement, verifier):
                return cast(Principal, principal)
        context = None if settings.addresses is None else settings.addresses.context(scope)
        principal = await verifier.verify(credential, require=requirement, context=context)
        scope[_PROVEN] = (verifier, credential, principal)
        return principal

    def requirement_with(self, scopes: list[str]) -> Requirement | None:
        """What the guard asks for together with the scopes of `Security`."""
        if not scopes:
            return self.requirement
        key = tuple(scopes)
        known = self._requirements.get(key)
        if known is None:
            if len(key) > _LETTERS and all(len(scope) == 1 for scope in key):
                raise ConfigurationError(
                    f"Security(..., scopes={''.join(key)!r}) was taken apart into letters: give a "
                    "list, scopes=[...]; if single letters are meant, auth.require(scopes=[...])"
                )
            base = self.requirement or Requirement()
            known = Requirement(
                scopes=base.scopes.union(key),
                any_scope=base.any_scope,
                roles=base.roles,
                claims=dict(base.claims),
                max_age_seconds=base.max_age_seconds,
                acr_values=base.acr_values,
            )
            # As many as there are routes, unless somebody makes up scopes while serving.
            if len(self._requirements) >= _MAX_REQUIREMENTS:
                self._requirements.clear()
            self._requirements[key] = known
        return known


def _meets(principal: Principal, requirement: Requirement | None, verifier: Verifier) -> bool:
    # Only a yes is taken from here.  A no goes on to the verifier, which puts it on record.
    try:
        if requirement is not None:
            requirement.check(principal, verifier.clock.time())
    except AuthkitError:
        return False
    return True


def _is_accepted(connection: HTTPConnection) -> bool:
    """Whether it is a WebSocket at work: then somebody wants its token looked at again."""
    return (
        isinstance(connection, WebSocket)
        and connection.application_state is not WebSocketState.CONNECTING
    )
