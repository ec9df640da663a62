"""A verifier that says what a test wants, and clients for apps that run in the test's own loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from authkit.errors import AuthkitError, CredentialMalformed, CredentialMissing, SignatureInvalid
from authkit.fastapi import Auth
from authkit.interfaces import RequestContext
from authkit.policy import Requirement
from authkit.principal import Principal
from authkit.testing import ManualClock
from authkit.verifier import NoRevocation, TokenWatch
from authkit.verifier.backend_errors import BackendErrors
from authkit.verifier.live_tokens import LiveTokens

START = 1_800_000_000.0


def principal(**fields: Any) -> Principal:
    """A caller with the scope `orders:read`, unless told otherwise."""
    return Principal(
        **{
            "subject": "alice",
            "issuer": "https://login.example.com",
            "client_id": "shop",
            "scopes": ["orders:read"],
            "token_id": "t-1",
            "expires_at": START + 300,
            **fields,
        }
    )


class ScriptedVerifier:
    """Knows some tokens by heart; what a real Verifier finds out is not the matter here.

    Attributes:
        tokens: what each token stands for, a caller or the error that it is refused with.
        calls: the credential, the requirement and the context of each call.
    """

    limits_addresses = False

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.tokens: dict[str, Principal | Exception] = {"good": principal()}
        self.calls: list[tuple[Any, Requirement | None, RequestContext | None]] = []

    def watch(self, principal: Principal) -> TokenWatch:
        return LiveTokens(NoRevocation(), self.clock, BackendErrors()).watch(principal)

    async def verify(
        self,
        credential: str | CredentialMalformed | None,
        *,
        require: Requirement | None = None,
        context: RequestContext | None = None,
    ) -> Principal:
        self.calls.append((credential, require, context))
        if credential is None:
            raise CredentialMissing
        if isinstance(credential, AuthkitError):
            raise credential
        found = self.tokens.get(credential, SignatureInvalid())
        if isinstance(found, Exception):
            raise found
        if require is not None:
            require.check(found, self.clock.time())
        return found


@pytest.fixture
def caller() -> Callable[..., Principal]:
    """Makes principals."""
    return principal


@pytest.fixture
def verifier() -> ScriptedVerifier:
    """Says what the test tells it to."""
    return ScriptedVerifier()


@pytest.fixture
def auth(verifier: ScriptedVerifier) -> Iterator[Auth]:
    """An Auth with default settings, using the scripted verifier."""
    auth = Auth()
    with auth.using(verifier):  # type: ignore[arg-type]  # it has what an Auth needs
        yield auth


@pytest.fixture
def client_of() -> Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]:
    """Makes an HTTP client of an ASGI app, which sees the peer 192.0.2.1 unless told otherwise."""

    def make(app: Any, peer: tuple[str, int] = ("192.0.2.1", 1234)) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=app, client=peer)
        return httpx.AsyncClient(transport=transport, base_url="http://service.test")

    return make
