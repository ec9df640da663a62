"""Mistakes that would leave a door open, or shut for everybody, fail where they are made."""

# No postponed annotations: FastAPI could not look up what stands in these functions.

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Security
from fastapi.exceptions import FastAPIError

from authkit import NoRevocation, RateLimit, Verifier
from authkit.errors import ConfigurationError
from authkit.fastapi import Auth
from authkit.principal import Principal
from authkit.testing import LocalIssuer, signed_in
from authkit_memory import MemoryRateLimiter


@pytest.mark.parametrize("marker", [Depends(Auth), Security(Auth, scopes=["admin"])])
def test_depending_on_the_class_fails_at_once(marker: Any) -> None:
    """FastAPI would call its constructor and let everybody in; it names what is wrong instead."""
    app = FastAPI()
    with pytest.raises(FastAPIError, match="DependsNeedsAnInstanceOfAuth"):

        @app.get("/")
        async def route(caller: Annotated[Principal, marker]) -> None: ...


def test_depending_on_an_instance_does_not() -> None:
    """The check is for the class alone."""
    app, auth = FastAPI(), Auth()

    @app.get("/")
    async def route(caller: Annotated[Principal, Depends(auth)]) -> None: ...

    assert (
        auth.unprotected_routes(
            app, allowed=["/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"]
        )
        == []
    )


@pytest.mark.anyio
async def test_a_string_of_scopes_is_not_taken_for_letters(auth: Auth, client_of: Any) -> None:
    """The error says what to write."""
    app = FastAPI()

    @app.get("/", dependencies=[Security(auth, scopes="orders:read")])
    async def route() -> None: ...

    with pytest.raises(ConfigurationError, match="give a list"):
        await client_of(app).get("/", headers={"Authorization": "Bearer good"})


def test_a_limit_by_address_needs_addresses() -> None:
    """Or it would never limit anybody."""
    limit = RateLimit(name="ip", rate=1, per_seconds=1, burst=1, by="address")
    verifier = Verifier(
        LocalIssuer().trusted(),
        revocations=NoRevocation(),
        limiter=MemoryRateLimiter(),
        limits=[limit],
    )
    with pytest.raises(ConfigurationError, match="trusted_proxies"), Auth().using(verifier):
        pass
    with Auth(trusted_proxies=()).using(verifier):
        pass


def test_signing_in_needs_the_auth_itself() -> None:
    """What is derived from it is overridden with it."""
    auth = Auth()
    for wrong in (auth.optional, auth.require(roles=["admin"]), Auth):
        with pytest.raises(TypeError, match="Auth"), signed_in(FastAPI(), wrong, "alice"):  # type: ignore[arg-type] # that is the mistake
            pass
