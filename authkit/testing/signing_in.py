"""Signs a test in as any principal, without a token and without a verifier."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from authkit.clock import Clock, SystemClock
from authkit.principal import Principal
from authkit.testing.names import listed

if TYPE_CHECKING:
    from fastapi import FastAPI

    from authkit.fastapi import Auth, SignedIn

__all__ = ["make_principal", "signed_in"]

_MISSING: Any = object()


def make_principal(
    subject: str | None = "alice",
    *,
    scopes: Collection[str] = (),
    roles: Collection[str] = (),
    claims: Mapping[str, Any] | None = None,
    issuer: str = "https://issuer.test",
    client_id: str | None = "test-client",
    token_id: str = "test-token",
    session_id: str | None = None,
    issued_at: float | None = None,
    expires_at: float | None = None,
    authenticated_at: float | None = None,
) -> Principal:
    """A Principal as a verified token would give it: whoever it is has just logged in.

    Args:
        subject: who it is.
        scopes: what it was granted.
        roles: its roles.
        claims: further claims, such as `email` or `acr`; the claims that the other arguments
            stand for are there already.
        issuer: who vouches for it.
        client_id: the OAuth client that it uses.
        token_id: the id of its token.
        session_id: the id of its session.
        issued_at: seconds since the epoch; now unless given.
        expires_at: seconds since the epoch; 300 s after `issued_at` unless given.
        authenticated_at: seconds since the epoch; `issued_at` unless given.

    Raises:
        TypeError: scopes or roles are one string.
    """
    born = float(int(SystemClock().time())) if issued_at is None else issued_at
    expires = born + 300 if expires_at is None else expires_at
    authenticated = born if authenticated_at is None else authenticated_at
    scopes, roles = listed("scopes", scopes), listed("roles", roles)
    implied: dict[str, Any] = {
        "iss": issuer,
        "sub": subject,
        "client_id": client_id,
        "jti": token_id,
        "sid": session_id,
        "iat": born,
        "exp": expires,
        "auth_time": authenticated,
        "scope": " ".join(sorted(scopes)) or None,
        "roles": sorted(roles) or None,
    }
    return Principal(
        subject=subject,
        issuer=issuer,
        client_id=client_id,
        scopes=scopes,
        roles=roles,
        token_id=token_id,
        session_id=session_id,
        issued_at=born,
        expires_at=expires,
        authenticated_at=authenticated,
        claims={**_present(implied), **(claims or {})},
    )


def _present(claims: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if value is not None}


@contextmanager
def signed_in(
    app: FastAPI,
    auth: Auth,
    caller: Principal | str | None = "alice",
    *,
    scopes: Collection[str] = (),
    roles: Collection[str] = (),
    claims: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
) -> Iterator[SignedIn]:
    """Every request to `app`, and to apps mounted in it, comes from this caller inside the block.

    What a route asks for is still checked: a caller without the scope gets its 403.  Blocks
    may be nested; each restores what it found.  Where no verifier is in use, `auth.watch` and
    `auth.watch_stream` end when the caller's token expires, or with `revoke()` of what the block is
    given.

    Args:
        app: the application under test.
        auth: its Auth.
        caller: a Principal, or the subject of one to be made of the other arguments, or
            None for requests without a credential.
        scopes: of the principal to be made.
        roles: likewise.
        claims: likewise.
        clock: tells the age of an authentication, where a route asks for it; a principal to
            be made has authenticated just now.

    Raises:
        TypeError: scopes, roles or claims beside a Principal, which has its own; or something
            else than an Auth.
    """
    # Imported here, for authkit.testing must load without FastAPI.
    from authkit.fastapi import Auth, SignedIn

    if not isinstance(auth, Auth):
        raise TypeError("give the Auth itself: what it derives, it overrides along with it")
    if isinstance(caller, str):
        now = None if clock is None else clock.time()
        principal: Principal | None = make_principal(
            caller, scopes=scopes, roles=roles, claims=claims, issued_at=now
        )
    elif scopes or roles or claims:
        raise TypeError("scopes, roles and claims go with a subject; a Principal has its own")
    else:
        principal = caller
    stand_in = SignedIn(principal, clock=clock)
    with ExitStack() as restored:
        for each in _with_mounted(app):
            restored.enter_context(_overridden(each.dependency_overrides, auth, stand_in))
        yield stand_in


@contextmanager
def _overridden(
    overrides: dict[Callable[..., Any], Callable[..., Any]],
    original: Callable[..., Any],
    replacement: Callable[..., Any],
) -> Iterator[None]:
    before = overrides.get(original, _MISSING)
    overrides[original] = replacement
    try:
        yield
    finally:
        if before is _MISSING:
            overrides.pop(original, None)
        else:
            overrides[original] = before


def _with_mounted(app: Any) -> list[FastAPI]:
    """The app and every app mounted in it, once each: they have overrides of their own."""
    from starlette.routing import Host, Mount

    from authkit.fastapi.effective_routes import effective_routes

    found: list[FastAPI] = []
    seen: set[int] = set()
    waiting = [app]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if hasattr(each, "dependency_overrides"):
            found.append(each)
        if hasattr(each, "routes"):
            routes = effective_routes(each)
            waiting += [real.app for route, real in routes if isinstance(route, Mount | Host)]
        elif hasattr(each, "app"):
            # A middleware around an app.
            waiting.append(each.app)
    return found
