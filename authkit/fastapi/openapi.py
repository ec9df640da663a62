"""The OpenAPI document made to say of each operation exactly what its guards ask for."""

from __future__ import annotations

from itertools import product
from typing import Any

from fastapi import FastAPI

from authkit.fastapi.effective_routes import effective_routes, guards_of
from authkit.fastapi.guard import Guard

__all__ = ["describe_security"]

_Alternatives = list[dict[str, list[str]]]


def describe_security(app: FastAPI) -> None:
    """Has the OpenAPI document of `app` say what FastAPI alone cannot know of its security.

    Without it the document has the scheme, and the scopes of `Security(auth, scopes=...)`.
    With it also the scopes of `auth.require(...)`, its `any_scope` as alternatives, the
    right to come without a credential where all that looks at one is `auth.optional`, and
    that an operation can answer 401 and 403.  What the app says of these itself is kept.

    It replaces `app.openapi`, as FastAPI's documentation shows it, at any time before the
    document is asked for.  A mounted app has a document of its own.
    """
    original = app.openapi
    described: dict[str, Any] | None = None

    def openapi() -> dict[str, Any]:
        nonlocal described
        document = original()
        # FastAPI gives the same object until a route is added.
        if document is not described:
            for _, route in effective_routes(app):
                _describe(route, document)
            described = document
        return document

    # The way that FastAPI documents; to mypy it is an assignment to a method.
    app.openapi = openapi  # type: ignore[method-assign]


def _describe(route: Any, document: dict[str, Any]) -> None:
    wanted = [_ways(*found) for found in guards_of(getattr(route, "dependant", None))]
    if not wanted:
        return
    operations = document.get("paths", {}).get(getattr(route, "path_format", None), {})
    for method in getattr(route, "methods", None) or ():
        operation = operations.get(method.lower())
        if operation is None:
            # Left out of the document.
            continue
        ours = {name for choices in wanted for choice in choices for name in choice}
        others = [entry for entry in operation.get("security", ()) if not ours & entry.keys()]
        operation["security"] = _all_of(wanted) + others
        responses = operation.setdefault("responses", {})
        responses.setdefault("401", {"description": "No credential, or one that is refused"})
        if any(scopes for choices in wanted for choice in choices for scopes in choice.values()):
            responses.setdefault("403", {"description": "A credential that is not sufficient"})


def _ways(guard: Guard[Any], scopes: list[str]) -> _Alternatives:
    """The ways to pass a guard."""
    asked = guard.requirement_with(scopes)
    always = sorted(asked.scopes) if asked else []
    choices = sorted(asked.any_scope) if asked else []
    ways: _Alternatives = [{guard.scheme_name: [*always, choice]} for choice in choices]
    return [*(ways or [{guard.scheme_name: always}]), *([{}] if guard.is_optional else [])]


def _all_of(wanted: list[_Alternatives]) -> _Alternatives:
    """The ways to pass all of the guards: every one of them has to be passed."""
    ways: _Alternatives = []
    for chosen in product(*wanted):
        merged: dict[str, set[str]] = {}
        for choice in chosen:
            for name, scopes in choice.items():
                merged.setdefault(name, set()).update(scopes)
        way = {name: sorted(scopes) for name, scopes in merged.items()}
        if way not in ways:
            ways.append(way)
    return ways
