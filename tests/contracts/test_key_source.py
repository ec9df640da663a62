"""Every KeySource keeps the contract."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest

from authkit.clock import Clock
from authkit.remote_keys import HttpKeySource
from authkit.testing.contracts import KeySourceContract
from authkit.testing.contracts.backend import Outage
from authkit.testing.contracts.key_provider import Rotate
from authkit.testing.loopback import LoopbackServer, Receive, Scope, Send
from tests.contracts.bad_backends.honest_key_source import Sources


class TestScriptedInOneProcess(Sources):
    """The source that the suite's own tests take for an honest one, by pytest."""


class Issuer:
    """Publishes a key set with an entity tag, and fails when it is told to."""

    def __init__(self, published: Mapping[str, Any]) -> None:
        self.published = published
        self.is_down = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = json.dumps(self.published).encode()
        etag = f'"{sha256(body).hexdigest()}"'.encode()
        if self.is_down:
            status, body = 503, b""
        elif dict(scope["headers"]).get(b"if-none-match") == etag:
            status, body = 304, b""
        else:
            status = 200
        headers = [(b"content-type", b"application/json"), (b"etag", etag)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False


class TestHttpOverLoopback(KeySourceContract):
    """HttpKeySource, and a server that answers 304 to the entity tag it gave."""

    can_rotate = True
    can_fail = True

    @pytest.fixture
    def issuer(self, published: Mapping[str, Any]) -> Issuer:
        return Issuer(published)

    @pytest.fixture
    def server(self, issuer: Issuer) -> Iterator[LoopbackServer]:
        with LoopbackServer(issuer) as server:
            yield server

    @pytest.fixture
    def source(self, server: LoopbackServer, clock: Clock) -> HttpKeySource:
        return HttpKeySource(f"{server.url}/jwks", clock=clock, insecure_loopback_http=True)

    @pytest.fixture
    def outage(self, issuer: Issuer) -> Outage:
        return issuer.outage

    @pytest.fixture
    def rotate(self, issuer: Issuer) -> Rotate:
        async def rotate(published: Mapping[str, Any]) -> None:
            issuer.published = published

        return rotate
