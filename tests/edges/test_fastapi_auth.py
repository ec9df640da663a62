"""Auth as a dependency: who gets through to a route, and what the verifier is asked."""

# Annotations are not postponed here: FastAPI could not find the local names in those of routes.

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.security import SecurityScopes
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount

from authkit.errors import ConfigurationError, CredentialMalformed
from authkit.fastapi import Auth
from authkit.interfaces import RequestContext
from authkit.policy import Requirement
from authkit.principal import Principal

pytestmark = pytest.mark.anyio

GOOD = {"Authorization": "Bearer good"}


def app_with(*dependencies: Any) -> FastAPI:
    """An app whose route `/` needs all of the dependencies."""
    app = FastAPI(dependencies=dependencies)

    @app.get("/")
    async def root() -> str:
        return "in"

    return app


async def test_a_route_receives_its_caller(
    auth: Auth, caller: Callable[..., Principal], client_of: Any
) -> None:
    """What the verifier proved is the value of the dependency."""
    app = FastAPI()
    seen: list[Principal] = []

    @app.get("/orders")
    async def orders(who: Annotated[Principal, Security(auth, scopes=["orders:read"])]) -> str:
        seen.append(who)
        return "orders"

    async with client_of(app) as client:
        answer = await client.get("/orders", headers=GOOD)
    assert (answer.status_code, answer.json()) == (200, "orders")
    assert seen == [caller()]


async def test_the_verifier_gets_the_bare_token_and_the_scopes(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """Scopes of Security become the requirement; without a known address there is no context."""
    app = app_with(Security(auth, scopes=["b", "a"]))
    verifier.tokens["good"] = None
    async with client_of(app_with(Depends(auth))) as client:
        await client.get("/", headers={"authorization": "bEaReR x.y.z"})
    async with client_of(app) as client:
        await client.get("/", headers={"Authorization": "Bearer x.y.z"})
    assert verifier.calls == [
        ("x.y.z", None, None),
        ("x.y.z", Requirement(scopes=["a", "b"]), None),
    ]


async def test_scopes_of_routers_and_routes_add_up(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """A dependency below a Security inherits its scopes, as FastAPI has it."""

    async def current(who: Annotated[Principal, Depends(auth)]) -> Principal:
        return who

    app = app_with(Security(current, scopes=["admin"]))
    async with client_of(app) as client:
        answer = await client.get("/", headers=GOOD)
    assert answer.status_code == 403
    assert verifier.calls[0][1] == Requirement(scopes=["admin"])


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([("Authorization", "Bearer good"), ("Authorization", "Bearer good")], ""),
        ([("Authorization", "Bearer good"), ("Authorization", "Basic eDp5")], ""),
        ([("Authorization", "Bearer good")], "?access_token=good"),
        ([("Authorization", "Bearer  good")], ""),
        ([("Authorization", "Bearer good, Bearer good")], ""),
        ([("Authorization", "Bearer\tgood")], ""),
        ([("Authorization", "Bearer")], ""),
    ],
    ids=[
        "two of ours",
        "two schemes",
        "header and query",
        "two spaces",
        "a list",
        "a tab",
        "no token",
    ],
)
async def test_a_malformed_credential_is_put_before_the_verifier_and_answered_with_400(
    auth: Auth, verifier: Any, client_of: Any, headers: list[tuple[str, str]], query: str
) -> None:
    """RFC 6750 sections 2 and 3.1; the verifier sees it, so that it stands in the audit trail."""
    async with client_of(app_with(Depends(auth))) as client:
        answer = await client.get("/" + query, headers=headers)
    assert answer.status_code == 400
    assert answer.headers["www-authenticate"].startswith('Bearer error="invalid_request", ')
    [(credential, _, _)] = verifier.calls
    assert isinstance(credential, CredentialMalformed)


@pytest.mark.parametrize("value", ["Basic eDp5", "Bearerx y", "DPoP x.y.z"])
async def test_another_scheme_is_no_credential(auth: Auth, client_of: Any, value: str) -> None:
    """The answer is the bare challenge (RFC 6750 section 3.1)."""
    async with client_of(app_with(Depends(auth))) as client:
        answer = await client.get("/", headers={"Authorization": value})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_a_token_in_the_query_alone_is_not_looked_at(auth: Auth, client_of: Any) -> None:
    """RFC 9700 section 4.3.2: tokens in addresses leak, so they count for nothing."""
    async with client_of(app_with(Depends(auth))) as client:
        answer = await client.get("/?access_token=good")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_optional_gives_none_without_a_credential(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """A missing credential passes and is not put on record as a refusal."""
    app = FastAPI()

    @app.get("/")
    async def root(who: Annotated[Principal | None, Depends(auth.optional)]) -> str | None:
        return None if who is None else who.subject

    async with client_of(app) as client:
        assert (await client.get("/")).json() is None
        assert verifier.calls == []
        assert (await client.get("/", headers=GOOD)).json() == "alice"


@pytest.mark.parametrize(
    ("value", "status"), [("Bearer forged", 401), ("Bearer ", 400), ("Bearer good", 403)]
)
async def test_optional_refuses_a_credential_that_is_bad(
    auth: Auth, client_of: Any, value: str, status: int
) -> None:
    """Who presents something is not let in as if it were nothing."""
    app = app_with(Security(auth.optional, scopes=["orders:write"]))
    async with client_of(app) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/", headers={"Authorization": value})).status_code == status


async def test_require_asks_for_all_that_it_is_given(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """Security adds its scopes to what the dependency asks for itself."""
    guard = auth.require(
        scopes=["a"],
        any_scope=["x", "y"],
        roles=["admin"],
        claims={"tenant": "t", "beta": True},
        max_age_seconds=300,
        acr_values=["mfa"],
    )
    async with client_of(app_with(Security(guard, scopes=["b"]))) as client:
        await client.get("/", headers=GOOD)
    assert verifier.calls[0][1] == Requirement(
        scopes=["a", "b"],
        any_scope=["x", "y"],
        roles=["admin"],
        claims={"tenant": "t", "beta": True},
        max_age_seconds=300,
        acr_values=["mfa"],
    )


def test_equal_requirements_are_equal_dependencies(auth: Auth) -> None:
    """FastAPI runs equal dependencies of a request once; unequal ones must not be mixed up."""
    one = auth.require(roles=["a", "b"], claims={"x": 1})
    same = auth.require(roles={"b", "a"}, claims={"x": 1})
    assert one == same
    assert hash(one) == hash(same)
    assert one != auth.require(roles=["a", "b"], claims={"x": True})
    assert one != Auth().require(roles=["a", "b"], claims={"x": 1})
    assert one != auth


def test_requirements_that_no_route_holds_are_let_go(auth: Auth) -> None:
    """Making dependencies while serving does not fill the memory."""
    kept = auth.require(roles=["kept"])
    for number in range(50):
        auth.require(roles=[f"r{number}"])
    gc.collect()
    assert list(auth._required.values()) == [kept]


def test_scopes_made_up_while_serving_do_not_fill_the_memory(auth: Auth) -> None:
    """The memo of requirements is bounded, and right when it starts anew."""
    for number in range(1000):
        assert auth.requirement_with([f"s{number}"]) == Requirement(scopes=[f"s{number}"])
    assert len(auth._requirements) <= 256


@pytest.mark.parametrize(
    "arguments",
    [{"scopes": "orders:read"}, {"roles": [""]}, {"max_age_seconds": 0}, {"claims": {"a": []}}],
    ids=str,
)
def test_a_senseless_requirement_is_refused_when_it_is_made(
    auth: Auth, arguments: dict[str, Any]
) -> None:
    """The mistake shows at import time, not at the first request."""
    with pytest.raises(ConfigurationError):
        auth.require(**arguments)


async def test_a_request_is_verified_once_whatever_number_of_guards_it_passes(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """A caller is charged for requests, not for the way a developer spread the dependencies."""
    app = app_with(
        Depends(auth),
        Security(auth, scopes=["orders:read"]),
        Depends(auth.require(any_scope=["orders:read", "x"])),
        Depends(auth.optional),
    )
    async with client_of(app) as client:
        assert (await client.get("/", headers=GOOD)).status_code == 200
        assert len(verifier.calls) == 1
        assert (await client.get("/", headers=GOOD)).status_code == 200
    assert len(verifier.calls) == 2


async def test_every_guard_checks_what_it_asks_for(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """A later guard's refusal comes from the verifier, so that it is on record."""
    app = app_with(Depends(auth), Security(auth, scopes=["orders:write"]))
    async with client_of(app) as client:
        assert (await client.get("/", headers=GOOD)).status_code == 403
    assert [call[1] for call in verifier.calls] == [None, Requirement(scopes=["orders:write"])]


async def test_two_auths_do_not_vouch_for_each_other(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """Each Auth asks its own verifier."""
    other = Auth(trusted_proxies=())
    strict = type(verifier)()
    strict.tokens.clear()
    with other.using(strict):
        async with client_of(app_with(Depends(auth), Depends(other))) as client:
            assert (await client.get("/", headers=GOOD)).status_code == 401
    assert (len(verifier.calls), len(strict.calls)) == (1, 1)


async def test_a_copied_scope_with_another_token_is_verified_anew(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """An app that calls itself for its caller, as batch routes do, mixes no callers up."""
    verifier.tokens["bob"] = verifier.tokens["good"]
    app = app_with(Depends(auth))

    @app.get("/batch")
    async def batch(request: Request, token: str) -> list[int]:
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        headers = [(b"authorization", b"Bearer " + token.encode())]
        inner = dict(request.scope, path="/", headers=headers)
        await app(inner, request.receive, send)
        return statuses

    async with client_of(app) as client:
        assert (await client.get("/batch?token=bob", headers=GOOD)).json() == [200]
        assert (await client.get("/batch?token=eve", headers=GOOD)).json() == [401]
    assert [call[0] for call in verifier.calls] == ["good", "bob", "good", "eve"]


async def test_routers_and_mounted_apps_share_the_verifier(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """The verifier belongs to the Auth, not to the app whose lifespan entered it."""
    router = APIRouter(dependencies=[Depends(auth)])

    @router.get("/r")
    async def routed() -> str:
        return "r"

    inner = app_with(Security(auth, scopes=["orders:read"]))
    app = FastAPI()
    app.include_router(router, prefix="/v1")
    app.mount("/inner", inner)
    app.mount("/deep", Starlette(routes=[Mount("/er", app=inner)]))
    async with client_of(app) as client:
        for path in ("/v1/r", "/inner/", "/deep/er/"):
            assert (await client.get(path, headers=GOOD)).status_code == 200, path
            refused = await client.get(path)
            assert (refused.status_code, refused.json()["code"]) == (401, "credential_missing")
            assert refused.headers["content-type"] == "application/problem+json"


async def test_authentication_comes_before_validation(auth: Auth, client_of: Any) -> None:
    """A stranger learns nothing of the parameters that a route takes."""
    app = FastAPI()

    @app.get("/items/{number}")
    async def item(
        number: int, size: int, who: Annotated[Principal, Depends(auth)]
    ) -> None: ...  # pragma: no cover - never reached

    async with client_of(app) as client:
        assert (await client.get("/items/x")).status_code == 401
        assert (await client.get("/items/x", headers=GOOD)).status_code == 422


async def test_concurrent_requests_keep_their_callers_apart(
    auth: Auth, verifier: Any, caller: Callable[..., Principal], client_of: Any
) -> None:
    """Nothing of a request is kept on the dependency."""
    for number in range(20):
        verifier.tokens[f"t{number}"] = caller(subject=f"s{number}")
    plain = verifier.verify

    async def slowly(*args: Any, **options: Any) -> Principal:
        await asyncio.sleep(0)
        found: Principal = await plain(*args, **options)
        await asyncio.sleep(0)
        return found

    verifier.verify = slowly
    app = FastAPI()

    @app.get("/")
    async def root(
        who: Annotated[Principal, Depends(auth)],
        again: Annotated[Principal, Depends(auth.require(any_scope=["orders:read"]))],
    ) -> list[str | None]:
        return [who.subject, again.subject]

    async with client_of(app) as client:
        answers = await asyncio.gather(
            *(client.get("/", headers={"Authorization": f"Bearer t{n}"}) for n in range(20))
        )
    assert [answer.json() for answer in answers] == [[f"s{n}", f"s{n}"] for n in range(20)]


async def test_the_address_reaches_the_verifier_where_it_can_be_trusted(
    verifier: Any, client_of: Any
) -> None:
    """One resolver feeds limits and audit."""
    auth = Auth(trusted_proxies=())
    with auth.using(verifier):
        async with client_of(app_with(Depends(auth))) as client:
            await client.get("/", headers={**GOOD, "X-Forwarded-For": "198.51.100.7"})
    assert verifier.calls[0][2] == RequestContext(client_address="192.0.2.1")


async def test_without_a_verifier_a_request_fails_loudly(client_of: Any) -> None:
    """It is the developer's mistake: no caller is told that its credential is bad."""
    app = app_with(Depends(Auth()))
    async with client_of(app) as client:
        with pytest.raises(ConfigurationError, match=r"auth\.using\(verifier\)"):
            await client.get("/", headers=GOOD)
    client = TestClient(app, raise_server_exceptions=False)
    answer = client.get("/", headers=GOOD)
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


def test_one_verifier_at_a_time(verifier: Any) -> None:
    """A second block would take the verifier from under the first one's requests."""
    auth = Auth()
    with auth.using(verifier):
        with pytest.raises(ConfigurationError, match="in use already"), auth.using(verifier):
            pass  # pragma: no cover - never reached
        assert auth._settings.verifier is verifier
    with pytest.raises(KeyError), auth.using(verifier):
        raise KeyError
    with auth.using(verifier):
        assert auth._settings.verifier is verifier


def test_the_log_says_at_start_that_addresses_are_not_known(
    verifier: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The choice that switches a defence off is not silent."""
    with caplog.at_level(logging.WARNING, logger="authkit"):
        with Auth(trusted_proxies=()).using(verifier):
            assert caplog.records == []
        with Auth().using(verifier):
            [record] = caplog.records
    assert "failed attempts are not throttled" in record.getMessage()


def test_the_lifespan_of_an_app_is_the_place_for_using(verifier: Any) -> None:
    """As the first example shows it; the next start of the same app works too."""
    auth = Auth(trusted_proxies=())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with auth.using(verifier):
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    def root(who: Annotated[Principal, Depends(auth)]) -> str | None:
        return who.subject

    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/", headers=GOOD).json() == "alice"


@pytest.mark.parametrize("realm", ["a\nb", "ä", "a\x7fb"], ids=repr)
def test_a_realm_that_cannot_stand_in_a_header_is_refused(realm: str) -> None:
    """Header injection ends where it begins."""
    with pytest.raises(ConfigurationError, match="realm"):
        Auth(realm=realm)


def test_the_repr_names_the_scheme() -> None:
    """An Auth is told apart in a debugger."""
    assert repr(Auth(scheme_name="staff")) == "Auth(scheme_name='staff')"


async def test_a_dependency_may_be_called_by_hand(
    auth: Auth, caller: Callable[..., Principal]
) -> None:
    """It is a callable like any other, and types as what it returns."""
    scope = {"type": "http", "headers": [(b"authorization", b"Bearer good")]}
    who: Principal = await auth(Request(scope), SecurityScopes([]))
    perhaps: Principal | None = await auth.optional(Request(scope), SecurityScopes())
    assert who == perhaps == caller()


async def test_cancelling_passes_through(auth: Auth, verifier: Any) -> None:
    """A caller that hangs up is no refusal."""
    reached = asyncio.Event()

    async def never(*args: Any, **options: Any) -> Principal:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    verifier.verify = never
    request = Request({"type": "http", "headers": [(b"authorization", b"Bearer good")]})
    task = asyncio.create_task(auth(request, SecurityScopes()))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_loop_may_be_another_one_each_time(auth: Auth) -> None:
    """The test client runs every request in a loop and a thread of its own."""
    client = TestClient(app_with(Depends(auth)))
    assert {client.get("/", headers=GOOD).status_code for _ in range(5)} == {200}
