"""Publishes an issuer's documents for the time of a block."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar

from authkit.testing.loopback import ASGIApp, LoopbackServer, Receive, Scope, Send

__all__ = ["Answer", "Serving", "document_app"]

T = TypeVar("T")

Answer = tuple[int, Mapping[str, Any], int]
"""A status, a document, and for how many seconds it may be cached, 0 for not at all."""


class Serving(Generic[T]):
    """A block in which a server runs, in either kind of test: `with` or `async with`.

    Args:
        value: what the block gives.
        server: runs meanwhile.
    """

    def __init__(self, value: T, server: LoopbackServer) -> None:
        self._value = value
        self._server = server

    def __enter__(self) -> T:
        """Returns once the server answers."""
        self._server.__enter__()
        return self._value

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Connections are refused from here on."""
        self._server.__exit__(kind, error, traceback)

    async def __aenter__(self) -> T:
        """As `__enter__`, without blocking the event loop."""
        await self._server.__aenter__()
        return self._value

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """As `__exit__`, without blocking the event loop."""
        await self._server.__aexit__(kind, error, traceback)


def document_app(answer: Callable[[str], Answer]) -> ASGIApp:
    """An ASGI app that gives the JSON document of each path, whatever the method."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, document, max_age_seconds = answer(scope["path"])
        body = json.dumps(document).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if max_age_seconds:
            headers.append((b"cache-control", f"max-age={max_age_seconds}".encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
