"""The list of what anybody can call leaves nothing out."""

# Annotations are not postponed here: FastAPI could not find the local names in those of routes.

from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket, routing
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from authkit.errors import ConfigurationError
from authkit.fastapi import Auth, UnprotectedRoute
from authkit.principal import Principal

AUTH = Auth()


def bare(**options: Any) -> FastAPI:
    """An app without documentation routes."""
    return FastAPI(openapi_url=None, **options)


async def nothing() -> None: ...


async def plain(request: Request) -> Response:
    return PlainTextResponse("open")


async def socket(websocket: WebSocket) -> None: ...


def paths_of(app: Any, **options: Any) -> list[str]:
    return [route.path for route in AUTH.unprotected_routes(app, **options)]


def test_every_way_of_protecting_a_route_counts() -> None:
    """On the route, the router, the app, or deep in another dependency."""

    async def nested(who: Annotated[Principal, Depends(AUTH)]) -> None: ...

    async def deeper(inner: Annotated[None, Depends(nested)]) -> None: ...

    app = bare()
    app.get("/depends", dependencies=[Depends(AUTH)])(nothing)
    app.get("/security", dependencies=[Security(AUTH, scopes=["a"])])(nothing)
    app.get("/require", dependencies=[Depends(AUTH.require(roles=["a"]))])(nothing)
    app.get("/nested", dependencies=[Depends(deeper)])(nothing)
    app.get("/other", dependencies=[Depends(Auth())])(nothing)
    app.websocket("/socket", dependencies=[Depends(AUTH)])(socket)
    app.get("/open")(nothing)
    assert paths_of(app) == ["/open"]
    protected = bare(dependencies=[Depends(AUTH)])
    protected.get("/a")(nothing)
    protected.websocket("/b")(socket)
    assert paths_of(protected) == []


def test_an_entry_says_what_a_reviewer_needs() -> None:
    """Path, methods, name and kind; optional is told from open."""
    app = bare()
    app.api_route("/items/{number}", methods=["POST", "GET"], name="items")(nothing)
    app.get("/maybe", dependencies=[Depends(AUTH.optional)])(nothing)
    app.websocket("/socket")(socket)
    assert AUTH.unprotected_routes(app) == [
        UnprotectedRoute(
            path="/items/{number}", kind="http", methods=("GET", "POST"), name="items"
        ),
        UnprotectedRoute(
            path="/maybe", kind="http", methods=("GET",), name="nothing", is_optional=True
        ),
        UnprotectedRoute(path="/socket", kind="websocket", name="socket"),
    ]


def test_documentation_routes_are_open_and_said_to_be() -> None:
    """They are served to anybody unless they are switched off."""
    docs = ["/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"]
    assert paths_of(FastAPI(dependencies=[Depends(AUTH)])) == docs
    assert paths_of(FastAPI(), allowed=docs) == []


def test_allowed_paths_are_whole_and_exact() -> None:
    """An allowance does not spread."""
    inner = bare()
    inner.get("/health")(nothing)
    app = bare()
    app.get("/health")(nothing)
    app.get("/healthy")(nothing)
    app.mount("/inner", inner)
    assert paths_of(app, allowed={"/health"}) == ["/healthy", "/inner/health"]
    with pytest.raises(ConfigurationError, match="list of paths"):
        AUTH.unprotected_routes(app, allowed="/health")


def test_included_routers_are_walked_with_their_prefixes_and_dependencies() -> None:
    """Also when they are included in one another, some protected and some not."""
    leaf = APIRouter(prefix="/leaf")
    leaf.get("/x")(nothing)
    leaf.websocket("/ws")(socket)
    branch = APIRouter()
    branch.include_router(leaf, prefix="/open")
    branch.include_router(leaf, prefix="/shut", dependencies=[Depends(AUTH)])
    app = bare()
    app.include_router(branch, prefix="/v1")
    app.include_router(branch, prefix="/v2", dependencies=[Depends(AUTH)])
    assert paths_of(app) == ["/v1/open/leaf/x", "/v1/open/leaf/ws"]


def test_mounted_apps_are_walked() -> None:
    """FastAPI, Starlette and routers in one another, and middleware around them."""
    api = bare()
    api.get("/open")(nothing)
    api.get("/shut", dependencies=[Depends(AUTH)])(nothing)
    starlette = Starlette(
        routes=[
            Route("/plain", plain),
            WebSocketRoute("/socket", socket),
            Mount("/api", app=api),
            Mount("/more", routes=[Route("/{name}", plain)]),
        ]
    )
    router = APIRouter()
    router.mount("/within", api)
    app = bare()
    app.mount("/s", starlette)
    app.mount("/wrapped", CORSMiddleware(CORSMiddleware(api)))
    app.mount("/router", Router(routes=[Route("/r", plain)]))
    app.include_router(router, prefix="/included", dependencies=[Depends(AUTH)])
    assert paths_of(app) == [
        "/s/plain",
        "/s/socket",
        "/s/api/open",
        "/s/more/{name}",
        "/wrapped/open",
        "/router/r",
        "/included/within/open",
    ]


def test_hosts_are_walked_and_named() -> None:
    """The same path on another host is another route."""
    api = bare()
    api.get("/open")(nothing)
    app = bare()
    app.router.routes.append(Host("{tenant}.example.com", app=api))
    app.router.routes.append(Host("static.example.com", app=StaticFiles(directory=".")))
    app.get("/open")(nothing)
    assert [(route.host, route.path, route.kind) for route in AUTH.unprotected_routes(app)] == [
        ("{tenant}.example.com", "/open", "http"),
        ("static.example.com", "", "opaque"),
        (None, "/open", "http"),
    ]


def test_what_cannot_be_looked_into_is_one_opaque_entry(tmp_path: Path) -> None:
    """Static files, foreign apps, and kinds of routes that nobody has heard of."""

    class Odd(BaseRoute):
        pass

    class Foreign:
        routes = ("not", "ours")

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None: ...

    app = bare()
    app.mount("/static", StaticFiles(directory=tmp_path), name="static")
    app.mount("/asgi", asgi)
    app.mount("/foreign", Foreign())
    app.router.routes.append(Odd())
    assert AUTH.unprotected_routes(app) == [
        UnprotectedRoute(path="/static", kind="opaque", name="static"),
        UnprotectedRoute(path="/asgi", kind="opaque"),
        UnprotectedRoute(path="/foreign", kind="opaque"),
        UnprotectedRoute(path="", kind="opaque"),
    ]


def test_class_endpoints_of_starlette_are_open() -> None:
    """They take any method and know no dependencies."""

    class Endpoint(HTTPEndpoint):
        pass

    app = bare()
    app.router.routes.append(Route("/class", Endpoint))
    assert AUTH.unprotected_routes(app) == [
        UnprotectedRoute(path="/class", kind="http", name="Endpoint")
    ]


def test_frontends_are_not_forgotten(tmp_path: Path) -> None:
    """FastAPI keeps what it serves from a folder apart from the routes."""
    (tmp_path / "index.html").write_text("hello")
    app = bare()
    app.frontend("/", directory=tmp_path)
    router = APIRouter(prefix="/r")
    router.frontend("/site", directory=tmp_path)
    shut = APIRouter(dependencies=[Depends(AUTH)])
    shut.frontend("/intern", directory=tmp_path)
    app.include_router(router, prefix="/v1")
    app.include_router(shut)
    app.include_router(router, prefix="/v2", dependencies=[Depends(AUTH)])
    app.include_router(router, prefix="/v3", dependencies=[Depends(AUTH.optional)])
    entries = AUTH.unprotected_routes(app)
    assert [entry.path for entry in entries] == ["/", "/v1/r/site", "/v3/r/site"]
    assert [entry.is_optional for entry in entries] == [False, False, True]
    assert {(entry.kind, entry.methods, entry.name) for entry in entries} == {
        ("http", ("GET", "HEAD"), "frontend")
    }


def test_an_older_fastapi_is_walked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 0.137 it kept all of its routes in one flat list."""
    monkeypatch.delattr(routing, "iter_route_contexts", raising=False)
    inner = bare()
    inner.get("/open")(nothing)
    inner.get("/shut", dependencies=[Depends(AUTH)])(nothing)
    app = bare()
    app.websocket("/socket")(socket)
    app.mount("/inner", inner)
    assert paths_of(app) == ["/socket", "/inner/open"]


def test_apps_mounted_in_a_circle_end() -> None:
    """The walk does not run round and round."""
    one, two = bare(), bare()
    one.get("/one")(nothing)
    two.get("/two")(nothing)
    one.mount("/2", two)
    two.mount("/1", one)
    assert paths_of(one) == ["/one", "/2/two"]


def test_an_app_that_is_mounted_twice_is_listed_twice() -> None:
    """Each way to a route is a way."""
    inner = bare()
    inner.get("/x")(nothing)
    app = bare()
    app.mount("/a", inner)
    app.mount("/b", inner)
    assert paths_of(app) == ["/a/x", "/b/x"]


def test_wrapped_apps_and_routers_may_be_given() -> None:
    """What a server is given is what should be looked at."""
    router = APIRouter()
    router.get("/x")(nothing)
    app = bare()
    app.include_router(router)
    assert paths_of(CORSMiddleware(app)) == paths_of(router) == ["/x"]


@pytest.mark.parametrize("app", [None, object(), nothing], ids=repr)
def test_what_has_no_routes_is_refused(app: Any) -> None:
    """An empty list must not mean that nothing was looked at."""
    with pytest.raises(ConfigurationError, match="no routes"):
        AUTH.unprotected_routes(app)
