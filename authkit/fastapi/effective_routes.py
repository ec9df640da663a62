"""The routes of a router as they take effect, and what guards them, in every FastAPI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import routing
from fastapi.dependencies.models import Dependant
from starlette.routing import BaseRoute

from authkit.fastapi.guard import Guard

__all__ = ["effective_routes", "guards_of"]


def effective_routes(router: Any) -> Iterator[tuple[BaseRoute, Any]]:
    """Each route as it was written, and the object with its effective path and dependencies.

    Since 0.137 FastAPI keeps included routers as they are, and tells what comes of them by
    `iter_route_contexts`; before, it copied their routes into one flat list.
    """
    contexts = getattr(routing, "iter_route_contexts", None)
    if contexts is None:
        for route in router.routes:
            yield route, route
        return
    for context in contexts(router.routes):
        # The first contexts did not speak for routes of Starlette that a router had included.
        inner = getattr(context, "_route_context", None)
        yield context.original_route, getattr(inner, "starlette_route", None) or context


def guards_of(dependant: Dependant | None) -> Iterator[tuple[Guard[Any], list[str]]]:
    """The guards among a route's dependencies, at any depth, with their scopes of `Security`."""
    if dependant is None:
        return
    if isinstance(dependant.call, Guard):
        inherited, own = dependant.parent_oauth_scopes, dependant.own_oauth_scopes
        yield dependant.call, [*(inherited or ()), *(own or ())]
    for inner in dependant.dependencies:
        yield from guards_of(inner)
