"""`app.dependency_overrides[auth]` stands in for everything that comes from an Auth."""

# Annotations are not postponed here: FastAPI could not find the local names in those of routes.

from collections.abc import Callable, Iterator
from typing import Annotated, Any
from unittest.mock import Mock

import pytest
from fastapi import Depends, FastAPI, Request, Security
from fastapi.security import SecurityScopes
from starlette.requests import HTTPConnection

from authkit.errors import ConfigurationError, TokenExpired
from authkit.fastapi import Auth, SignedIn
from authkit.principal import Principal
from authkit.testing import ManualClock

pytestmark = pytest.mark.anyio

# No verifier is in use in these tests: what asks one fails.
AUTH = Auth()


@pytest.fixture
def app() -> FastAPI:
    """Routes for each kind of dependency."""
    app = FastAPI()

    def answer(who: Principal | None) -> str | None:
        return None if who is None else who.subject

    @app.get("/plain")
    async def plain(who: Annotated[Principal, Depends(AUTH)]) -> str | None:
        return answer(who)

    @app.get("/read")
    async def read(who: Annotated[Principal, Security(AUTH, scopes=["orders:read"])]) -> str | None:
        return answer(who)

    @app.get("/write")
    async def write(
        who: Annotated[Principal, Security(AUTH, scopes=["orders:write"])],
    ) -> str | None:
        return answer(who)

    @app.get("/admin")
    async def admin(
        who: Annotated[Principal, Depends(AUTH.require(roles=["admin"]))],
    ) -> str | None:
        return answer(who)

    @app.get("/both")
    async def both(
        who: Annotated[Principal, Security(AUTH.require(roles=["admin"]), scopes=["orders:write"])],
    ) -> str | None:
        return answer(who)

    @app.get("/fresh")
    async def fresh(
        who: Annotated[Principal, Depends(AUTH.require(max_age_seconds=60))],
    ) -> str | None:
        return answer(who)

    @app.get("/optional")
    async def optional(who: Annotated[Principal | None, Depends(AUTH.optional)]) -> str | None:
        return answer(who)

    return app


async def statuses(client_of: Any, app: FastAPI) -> dict[str, int]:
    async with client_of(app) as client:
        paths = ("plain", "read", "write", "admin", "both", "fresh", "optional")
        return {path: (await client.get(f"/{path}")).status_code for path in paths}


async def test_a_signed_in_principal_must_meet_what_each_route_asks(
    app: FastAPI, caller: Callable[..., Principal], client_of: Any
) -> None:
    """A test of a route's permissions is worth something."""
    app.dependency_overrides[AUTH] = SignedIn(caller())
    assert await statuses(client_of, app) == {
        "plain": 200,
        "read": 200,
        "write": 403,
        "admin": 403,
        "both": 403,
        "fresh": 401,
        "optional": 200,
    }
    app.dependency_overrides[AUTH] = SignedIn(caller(roles=["admin"]))
    assert (await statuses(client_of, app))["admin"] == 200
    assert (await statuses(client_of, app))["both"] == 403
    app.dependency_overrides[AUTH] = SignedIn(caller(roles=["admin"], scopes=["orders:write"]))
    assert (await statuses(client_of, app))["both"] == 200


async def test_the_refusal_of_a_signed_in_principal_looks_like_any_other(
    app: FastAPI, caller: Callable[..., Principal], client_of: Any
) -> None:
    """Tests may look at challenges and bodies."""
    app.dependency_overrides[AUTH] = SignedIn(caller())
    async with client_of(app) as client:
        answer = await client.get("/write")
    assert answer.headers["www-authenticate"].endswith(', scope="orders:write"')
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "insufficient_scope"


async def test_signing_in_nobody_is_a_request_without_a_credential(
    app: FastAPI, client_of: Any
) -> None:
    """All refuse but optional, and none needs a verifier for it."""
    app.dependency_overrides[AUTH] = SignedIn(None)
    answers = await statuses(client_of, app)
    assert answers.pop("optional") == 200
    assert set(answers.values()) == {401}


async def test_the_age_of_an_authentication_is_told_by_the_given_clock(
    app: FastAPI, caller: Callable[..., Principal], client_of: Any
) -> None:
    """So that a test can let time pass."""
    clock = ManualClock()
    app.dependency_overrides[AUTH] = SignedIn(caller(authenticated_at=clock.time()), clock=clock)
    assert (await statuses(client_of, app))["fresh"] == 200
    clock.advance(61)
    assert (await statuses(client_of, app))["fresh"] == 401


def no_parameters(who: Principal) -> Callable[..., Any]:
    return lambda: who


def asynchronous(who: Principal) -> Callable[..., Any]:
    async def override() -> Principal:
        return who

    return override


def with_request(who: Principal) -> Callable[..., Any]:
    def override(request: Request) -> Principal:
        assert request.url.path
        return who

    return override


def with_connection_and_scopes(who: Principal) -> Callable[..., Any]:
    async def override(connection: HTTPConnection, scopes: SecurityScopes) -> Principal:
        assert connection.scope["type"] == "http"
        assert isinstance(scopes.scopes, list)
        return who

    return override


def with_defaults(who: Principal) -> Callable[..., Any]:
    def override(repeat: int = 1) -> Principal:
        assert repeat == 1
        return who

    return override


@pytest.mark.parametrize(
    "kind",
    [no_parameters, asynchronous, with_request, with_connection_and_scopes, with_defaults],
)
async def test_plain_functions_override_too(
    app: FastAPI,
    caller: Callable[..., Principal],
    client_of: Any,
    kind: Callable[[Principal], Callable[..., Any]],
) -> None:
    """What FastAPI calls, `require` and `optional` call as well, and check what it gives."""
    app.dependency_overrides[AUTH] = kind(caller())
    answers = await statuses(client_of, app)
    assert (answers["plain"], answers["optional"]) == (200, 200)
    assert (answers["admin"], answers["both"], answers["fresh"]) == (403, 403, 401)
    app.dependency_overrides[AUTH] = kind(caller(roles=["admin"]))
    assert (await statuses(client_of, app))["admin"] == 200


_DEPENDS: Any = Depends(no_parameters)


def wants_a_query(size: int) -> None: ...


def wants_a_dependency(inner: Annotated[Any, Depends(no_parameters)]) -> None: ...


def has_a_dependency_as_default(inner: Any = _DEPENDS) -> None: ...


def unannotated(request):  # type: ignore[no-untyped-def]
    return request


def yields() -> Iterator[None]:
    yield None


def gives_something_else() -> dict[str, str]:
    return {"sub": "alice"}


@pytest.mark.parametrize(
    "override",
    [
        wants_a_query,
        wants_a_dependency,
        has_a_dependency_as_default,
        unannotated,
        yields,
        gives_something_else,
    ],
)
async def test_an_override_that_only_fastapi_could_call_says_what_to_do(
    app: FastAPI, client_of: Any, override: Callable[..., Any]
) -> None:
    """A test that would check nothing fails instead."""
    app.dependency_overrides[AUTH] = override
    async with client_of(app) as client:
        with pytest.raises(ConfigurationError, match=r"SignedIn\(principal\)"):
            await client.get("/admin")


async def test_a_mock_overrides(
    app: FastAPI, caller: Callable[..., Principal], client_of: Any
) -> None:
    """Its signature takes anything, so it is given nothing."""
    app.dependency_overrides[AUTH] = Mock(return_value=caller(roles=["admin"]))
    async with client_of(app) as client:
        assert (await client.get("/admin")).json() == "alice"


async def test_an_override_may_refuse(app: FastAPI, client_of: Any) -> None:
    """So that a test can see what a route answers to an expired token."""

    def expired() -> Principal:
        raise TokenExpired

    app.dependency_overrides[AUTH] = expired
    async with client_of(app) as client:
        answer = await client.get("/admin")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


async def test_an_override_may_ask_the_auth_itself(
    app: FastAPI, auth: Auth, verifier: Any, client_of: Any
) -> None:
    """A wrapper around the real dependency does not run in circles."""
    seen: list[str | None] = []

    async def observed(connection: HTTPConnection, scopes: SecurityScopes) -> Principal:
        who: Principal = await auth(connection, scopes)
        seen.append(who.subject)
        return who

    app.dependency_overrides[AUTH] = observed
    async with client_of(app) as client:
        for path, status in (("/read", 200), ("/write", 403), ("/admin", 403), ("/optional", 200)):
            answer = await client.get(path, headers={"Authorization": "Bearer good"})
            assert answer.status_code == status, path
    assert seen == ["alice", "alice", "alice"]


async def test_overrides_belong_to_the_app_that_owns_the_route(
    app: FastAPI, caller: Callable[..., Principal], client_of: Any
) -> None:
    """As FastAPI has it for any dependency: a mounted app has overrides of its own."""
    outer = FastAPI()
    outer.mount("/inner", app)
    outer.dependency_overrides[AUTH] = SignedIn(caller(roles=["admin"]))
    async with client_of(outer) as client:
        with pytest.raises(ConfigurationError, match="no verifier"):
            await client.get("/inner/admin")
        app.dependency_overrides[AUTH] = outer.dependency_overrides[AUTH]
        assert (await client.get("/inner/admin")).json() == "alice"
        assert (await client.get("/inner/read")).json() == "alice"


async def test_a_single_requirement_may_be_overridden(
    app: FastAPI, caller: Callable[..., Principal], client_of: Any
) -> None:
    """Equal arguments find it again; it is replaced with all that it asks for."""
    app.dependency_overrides[AUTH.require(roles=["admin"])] = lambda: caller()
    async with client_of(app) as client:
        assert (await client.get("/admin")).json() == "alice"
        with pytest.raises(ConfigurationError):
            await client.get("/plain")
