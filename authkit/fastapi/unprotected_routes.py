"""Which routes of an app anybody can call."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from starlette.routing import BaseRoute, Host, Mount, Route, WebSocketRoute

from authkit.errors import ConfigurationError
from authkit.fastapi.effective_routes import effective_routes, guards_of

__all__ = ["UnprotectedRoute", "find_unprotected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnprotectedRoute:
    """A route that can be called without a credential.

    Attributes:
        path: the whole path, with the prefixes of mounts and routers.
        kind: `http`, `websocket`, or `opaque`: an app or route that cannot be looked into.
        methods: the HTTP methods, sorted; () where the route takes any, or is no HTTP route.
        name: the route's, or "".
        host: the pattern of the host that it is for, or None for every host.
        is_optional: a credential is looked at where there is one, by `auth.optional`.
    """

    path: str
    kind: Literal["http", "websocket", "opaque"]
    methods: tuple[str, ...] = ()
    name: str = ""
    host: str | None = None
    is_optional: bool = False


def find_unprotected(app: object, allowed: Collection[str]) -> list[UnprotectedRoute]:
    """The unprotected routes of `app` whose path is not allowed.

    Raises:
        ConfigurationError: it has no routes to look at, or `allowed` is one string.
    """
    if isinstance(allowed, str):
        raise ConfigurationError(f"allowed must be a list of paths, not one string: [{allowed!r}]")
    router = _router(app)
    if router is None:
        raise ConfigurationError("this has no routes: give a FastAPI or Starlette app, or a router")
    return [route for route in _walk(router, "", None, ()) if route.path not in allowed]


def _walk(
    router: Any, prefix: str, host: str | None, above: tuple[object, ...]
) -> Iterator[UnprotectedRoute]:
    for route, effective in effective_routes(router):
        path = prefix + (getattr(effective, "path", None) or "")
        if not isinstance(route, Mount | Host):
            found = _unprotected(route, effective, path)
            if found is not None:
                yield replace(found, host=host)
            continue
        inside = getattr(effective, "host", host)
        inner = _router(effective.app)
        if inner is None:
            name = effective.name or ""
            yield UnprotectedRoute(path=path, kind="opaque", name=name, host=inside)
        elif not any(inner is outer for outer in (*above, router)):
            yield from _walk(inner, path, inside, (*above, router))
    yield from _frontends(router, prefix, host)


def _router(app: Any) -> Any:
    """The object with the routes: `app` itself, what it wraps as middleware does, or None."""
    seen: list[object] = []
    while app is not None and not any(app is one for one in seen):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list) and all(isinstance(route, BaseRoute) for route in routes):
            return getattr(app, "router", app)
        seen.append(app)
        app = getattr(app, "app", None)
    return None


def _unprotected(route: BaseRoute, effective: Any, path: str) -> UnprotectedRoute | None:
    guards = [guard for guard, _ in guards_of(getattr(effective, "dependant", None))]
    if not all(guard.is_optional for guard in guards):
        return None
    kind: Literal["http", "websocket", "opaque"] = "opaque"
    if isinstance(route, Route):
        kind = "http"
    elif isinstance(route, WebSocketRoute):
        kind = "websocket"
    return UnprotectedRoute(
        path=path,
        kind=kind,
        methods=tuple(sorted(getattr(effective, "methods", None) or ())),
        name=getattr(effective, "name", None) or "",
        is_optional=bool(guards),
    )


def _frontends(router: Any, prefix: str, host: str | None) -> Iterator[UnprotectedRoute]:
    """What `app.frontend(...)` serves, which stands beside the routes and has no public listing."""
    groups = getattr(router, "_iter_low_priority_routes", None)
    for group in groups() if groups is not None else ():
        guards = [guard for guard, _ in guards_of(group.dependant)]
        if not all(guard.is_optional for guard in guards):
            continue
        base = prefix + getattr(group, "frontend_prefix", "")
        for route in getattr(group, "original_route", group).routes:
            yield UnprotectedRoute(
                path=base + route.path,
                kind="http",
                methods=tuple(sorted(route.methods)),
                name="frontend",
                host=host,
                is_optional=bool(guards),
            )
