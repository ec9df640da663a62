"""signed_in and make_principal: any caller, without a token, held to what a route asks for."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.testclient import TestClient
from starlette.applications import Starlette

from authkit import Principal
from authkit.fastapi import Auth
from authkit.testing import ManualClock, make_principal, signed_in

auth = Auth()
other = Auth()


def _app() -> FastAPI:
    app = FastAPI()

    @app.get("/me")
    async def me(caller: Annotated[Principal, Depends(auth)]) -> str | None:
        return caller.subject

    @app.get("/orders")
    async def orders(
        caller: Annotated[Principal, Security(auth, scopes=["orders:read"])],
    ) -> str | None:
        return caller.subject

    @app.get("/admin")
    async def admin(
        caller: Annotated[Principal, Depends(auth.require(roles=["admin"]))],
    ) -> str | None:
        return caller.subject

    @app.get("/gold")
    async def gold(
        caller: Annotated[Principal, Depends(auth.require(claims={"tier": "gold"}))],
    ) -> str | None:
        return caller.subject

    @app.get("/recent")
    async def recent(
        caller: Annotated[Principal, Depends(auth.require(max_age_seconds=60))],
    ) -> str | None:
        return caller.subject

    return app


@pytest.fixture
def app() -> FastAPI:
    """An app with an open, a scoped and several restricted routes."""
    return _app()


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """A client without any credential."""
    return TestClient(app)


def test_a_subject_is_signed_in_without_token_and_verifier(
    app: FastAPI, client: TestClient
) -> None:
    """The route sees the caller."""
    with signed_in(app, auth, "bob"):
        assert client.get("/me").json() == "bob"


def test_a_principal_is_signed_in_as_it_is(app: FastAPI, client: TestClient) -> None:
    """What was built is what the route gets."""
    with signed_in(app, auth, make_principal("carol", scopes=["orders:read"])):
        assert client.get("/orders").json() == "carol"


def test_a_missing_scope_is_still_refused(app: FastAPI, client: TestClient) -> None:
    """A test cannot pass by accident where a real caller would get a 403."""
    with signed_in(app, auth, "bob", scopes=["orders:write"]):
        assert client.get("/orders").status_code == 403
    with signed_in(app, auth, "bob", scopes=["orders:read"]):
        assert client.get("/orders").status_code == 200


@pytest.mark.parametrize(
    ("path", "caller"),
    [("/admin", {"roles": ["admin"]}), ("/gold", {"claims": {"tier": "gold"}})],
)
def test_roles_and_claims_are_still_required(
    app: FastAPI, client: TestClient, path: str, caller: dict[str, object]
) -> None:
    """As with scopes, for what `auth.require` asks."""
    with signed_in(app, auth, "bob"):
        assert client.get(path).status_code == 403
    with signed_in(app, auth, "bob", **caller):  # type: ignore[arg-type]
        assert client.get(path).status_code == 200


def test_the_age_of_an_authentication_is_told_by_the_clock(
    app: FastAPI, client: TestClient
) -> None:
    """A subject has just authenticated, until the clock moves on."""
    clock = ManualClock()
    with signed_in(app, auth, "bob", clock=clock):
        assert client.get("/recent").status_code == 200
        clock.advance(61)
        assert client.get("/recent").status_code == 401


def test_nobody_is_a_request_without_credential(app: FastAPI, client: TestClient) -> None:
    """`None` gets the answer of a caller without a token, without a verifier."""
    with signed_in(app, auth, None):
        assert client.get("/me").status_code == 401


def test_blocks_nest_and_restore(app: FastAPI, client: TestClient) -> None:
    """The inner caller counts inside, the outer one again after it, and nothing is left behind."""
    with signed_in(app, auth, "outer"):
        with signed_in(app, auth, "inner"):
            assert client.get("/me").json() == "inner"
        assert client.get("/me").json() == "outer"
    assert app.dependency_overrides == {}


def test_a_failing_block_restores_too(app: FastAPI) -> None:
    """One failing test does not sign the next one in."""
    with pytest.raises(KeyError), signed_in(app, auth, "bob"):
        raise KeyError
    assert app.dependency_overrides == {}


def test_an_override_of_the_application_comes_back(app: FastAPI) -> None:
    """What stood there before stands there after."""

    def mine() -> Principal:
        return make_principal("mine")

    app.dependency_overrides[auth] = mine
    with signed_in(app, auth, "bob"):
        assert app.dependency_overrides[auth] is not mine
    assert app.dependency_overrides == {auth: mine}


def test_mounted_apps_are_covered_wherever_they_are_mounted() -> None:
    """Each has overrides of its own: in an app, a router, a plain Starlette, in a middleware."""
    apps = {name: _app() for name in ("direct", "routed", "wrapped", "hosted")}
    outer, plain, router = FastAPI(), Starlette(), APIRouter()
    outer.mount("/direct", apps["direct"])
    router.mount("/routed", apps["routed"])
    outer.include_router(router)
    plain.mount("/wrapped", GZipMiddleware(apps["wrapped"]))
    outer.mount("/plain", plain)
    outer.host("hosted.test", apps["hosted"])
    # A ring of apps is possible, and must not be walked for ever.
    apps["direct"].mount("/outer", outer)
    client = TestClient(outer)
    with signed_in(outer, auth, "bob"):
        for path in ("/direct", "/routed", "/plain/wrapped", "http://hosted.test"):
            assert client.get(f"{path}/me").json() == "bob"
            assert client.get(f"{path}/orders").status_code == 403
    assert all(app.dependency_overrides == {} for app in (outer, *apps.values()))


def test_other_auths_are_not_signed_in(app: FastAPI, client: TestClient) -> None:
    """Only the Auth that was named is covered."""

    @app.get("/other")
    async def route(caller: Annotated[Principal, Depends(other)]) -> str | None:
        return caller.subject

    with signed_in(app, auth, "bob"), signed_in(app, other, "carol"):
        assert client.get("/me").json() == "bob"
        assert client.get("/other").json() == "carol"


@pytest.mark.parametrize("caller", [make_principal(), None])
@pytest.mark.parametrize("field", ["scopes", "roles", "claims"])
def test_a_ready_principal_takes_no_further_fields(
    app: FastAPI, caller: Principal | None, field: str
) -> None:
    """They would be lost silently, so they are refused."""
    value = {"tier": "gold"} if field == "claims" else ["x"]
    with (
        pytest.raises(TypeError, match="a Principal has its own"),
        signed_in(app, auth, caller, **{field: value}),  # type: ignore[arg-type]
    ):
        pass  # pragma: no cover - the point is that it is not reached


def test_a_made_principal_agrees_with_its_claims() -> None:
    """Code that reads fields and code that reads claims see the same caller."""
    caller = make_principal(
        "alice", scopes=["b", "a"], roles=["admin"], session_id="s1", claims={"email": "a@b.test"}
    )
    assert caller.scopes == {"a", "b"}
    assert caller.roles == {"admin"}
    assert caller.claims["scope"] == "a b"
    assert caller.claims["roles"] == ("admin",)
    assert caller.claims["sid"] == caller.session_id == "s1"
    assert caller.claims["email"] == "a@b.test"
    assert caller.claims["auth_time"] == caller.authenticated_at == caller.issued_at
    assert caller.claims["exp"] == caller.expires_at


def test_a_made_principal_has_no_claim_for_what_it_lacks() -> None:
    """As in a token, what is not there is left out."""
    caller = make_principal(None, client_id=None)
    assert caller.subject is caller.client_id is None
    assert {"sub", "client_id", "sid", "scope", "roles"}.isdisjoint(caller.claims)


def test_a_made_principal_takes_its_times_as_given() -> None:
    """For tests of ages and expiry."""
    caller = make_principal(issued_at=1000.0, expires_at=1010.0, authenticated_at=900.0)
    assert (caller.issued_at, caller.expires_at, caller.authenticated_at) == (1000, 1010, 900)
    assert make_principal(issued_at=1000.0).expires_at == 1300.0


@pytest.mark.parametrize("field", ["scopes", "roles"])
def test_one_string_is_not_a_list_of_names(field: str) -> None:
    """Its letters would each become a scope, and the test would fail for no visible reason."""
    with pytest.raises(TypeError, match=rf"{field} must be a list of names.*\['orders:read'\]"):
        make_principal(**{field: "orders:read"})  # type: ignore[arg-type]
