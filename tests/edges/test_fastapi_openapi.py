"""The OpenAPI document says what is true of the security of each operation."""

# Annotations are not postponed here: FastAPI could not find the local names in those of routes.

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.security import APIKeyHeader

from authkit.fastapi import Auth, describe_security
from authkit.principal import Principal

AUTH = Auth(description="From https://login.example.com")


def operation_of(*dependencies: Any, describe: bool = True, **options: Any) -> dict[str, Any]:
    """How the document shows a route with these dependencies."""
    app = FastAPI()
    app.get("/", dependencies=dependencies, **options)(_nothing)
    if describe:
        describe_security(app)
    found: dict[str, Any] = app.openapi()["paths"]["/"]["get"]
    return found


async def _nothing() -> None: ...


@pytest.mark.parametrize("describe", [False, True])
def test_the_scheme_and_the_scopes_are_there(describe: bool) -> None:
    """A bearer token in JWT form, with the scopes of the operation (OpenAPI 3.1)."""
    app = FastAPI()

    @app.get("/orders")
    async def orders(
        who: Annotated[Principal, Security(AUTH, scopes=["orders:read"])],
    ) -> None: ...

    @app.get("/open")
    async def open_to_all() -> None: ...

    if describe:
        describe_security(app)
    document = app.openapi()
    assert document["components"]["securitySchemes"] == {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "From https://login.example.com",
        }
    }
    assert document["paths"]["/orders"]["get"]["security"] == [{"bearer": ["orders:read"]}]
    assert "parameters" not in document["paths"]["/orders"]["get"]
    assert "security" not in document["paths"]["/open"]["get"]


@pytest.mark.parametrize("describe", [False, True])
def test_what_must_all_be_met_is_one_requirement(describe: bool) -> None:
    """AND: several guards of one Auth are not alternatives."""
    operation = operation_of(
        Depends(AUTH),
        Security(AUTH, scopes=["a"]),
        Security(AUTH.require(roles=["admin"]), scopes=["b"]),
        describe=describe,
    )
    assert operation["security"] == [{"bearer": ["a", "b"]}]


def test_scopes_of_require_are_there() -> None:
    """Also where FastAPI does not know of them."""
    operation = operation_of(Security(AUTH.require(scopes=["b"]), scopes=["a"]))
    assert operation["security"] == [{"bearer": ["a", "b"]}]


def test_any_scope_is_shown_as_alternatives() -> None:
    """OR: each alternative with what is needed anyhow."""
    operation = operation_of(Depends(AUTH.require(scopes=["a"], any_scope=["x", "y"])))
    assert operation["security"] == [{"bearer": ["a", "x"]}, {"bearer": ["a", "y"]}]


def test_optional_shows_that_nobody_must_sign_in() -> None:
    """An empty requirement is OpenAPI's way to say so."""
    assert operation_of(Depends(AUTH.optional))["security"] == [{"bearer": []}, {}]


def test_optional_beside_a_requirement_is_not_optional() -> None:
    """A stranger does not pass both."""
    operation = operation_of(Depends(AUTH.optional), Depends(AUTH))
    assert operation["security"] == [{"bearer": []}]


def test_two_auths_are_both_needed() -> None:
    """FastAPI alone would show them as alternatives."""
    staff = Auth(scheme_name="staff")
    operation = operation_of(Depends(AUTH), Security(staff, scopes=["s"]))
    assert operation["security"] == [{"bearer": [], "staff": ["s"]}]


def test_schemes_of_others_are_left_alone() -> None:
    """What another dependency means is not ours to say."""
    operation = operation_of(Depends(AUTH), Depends(APIKeyHeader(name="key", auto_error=False)))
    assert operation["security"] == [{"bearer": []}, {"APIKeyHeader": []}]
    assert operation_of(Depends(APIKeyHeader(name="key")))["security"] == [{"APIKeyHeader": []}]


def test_the_answers_are_there_unless_the_app_has_its_own() -> None:
    """401 always, 403 where something can be lacking."""
    assert set(operation_of(Depends(AUTH))["responses"]) == {"200", "401"}
    own: dict[int | str, dict[str, Any]] = {401: {"description": "my own words"}}
    operation = operation_of(Depends(AUTH.require(scopes=["a"])), responses=own)
    assert set(operation["responses"]) == {"200", "401", "403"}
    assert operation["responses"]["401"]["description"] == "my own words"
    assert "401" not in operation_of()["responses"]


def test_nested_dependencies_and_routers_count() -> None:
    """With prefixes, inherited scopes, and routes that the document leaves out."""

    async def current(
        who: Annotated[Principal, Depends(AUTH.require(any_scope=["x"]))],
    ) -> None: ...

    router = APIRouter(dependencies=[Security(current, scopes=["a"])])
    router.get("/{number}")(_nothing)
    router.get("/hidden", include_in_schema=False)(_nothing)
    app = FastAPI()
    describe_security(app)
    app.include_router(router, prefix="/v1")
    document = app.openapi()
    assert document["paths"]["/v1/{number}"]["get"]["security"] == [{"bearer": ["a", "x"]}]
    assert set(document["paths"]) == {"/v1/{number}"}


def test_routes_added_later_are_described_too() -> None:
    """FastAPI makes the document anew then."""
    app = FastAPI()
    describe_security(app)
    assert app.openapi()["paths"] == {}
    app.get("/", dependencies=[Depends(AUTH.optional)])(_nothing)
    document = app.openapi()
    assert document["paths"]["/"]["get"]["security"] == [{"bearer": []}, {}]
    assert app.openapi() is document


def test_a_document_of_the_apps_own_making_is_completed() -> None:
    """The way that FastAPI documents for changing it."""
    app = FastAPI()
    app.get("/", dependencies=[Depends(AUTH.optional)])(_nothing)
    app.openapi = lambda: {"paths": {"/": {"get": {}}}}  # type: ignore[method-assign]
    describe_security(app)
    assert app.openapi()["paths"]["/"]["get"]["security"] == [{"bearer": []}, {}]
