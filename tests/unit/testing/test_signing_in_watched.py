"""Connections that stay open, where the test is signed in and no verifier runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from authkit import Principal
from authkit.errors import ConfigurationError
from authkit.fastapi import Auth
from authkit.testing import ManualClock, make_principal, signed_in
from authkit.testing.plugin import SignIn

auth = Auth()
app = FastAPI()


@app.websocket("/feed")
async def feed(websocket: WebSocket, caller: Annotated[Principal, Depends(auth)]) -> None:
    await websocket.accept()
    async with auth.watch(websocket, caller):
        while True:
            await websocket.send_text(f"{caller.subject}: {await websocket.receive_text()}")


async def _items() -> AsyncIterator[str]:
    yield "first"
    await asyncio.Event().wait()


@app.get("/news")
async def news(caller: Annotated[Principal, Depends(auth)]) -> StreamingResponse:
    return StreamingResponse(auth.watch_stream(_items(), caller))


@pytest.fixture
def client() -> TestClient:
    return TestClient(app)


def test_a_websocket_is_ended_as_revoked(client: TestClient) -> None:
    """With the code of a revoked token; and later requests are refused for it."""
    with signed_in(app, auth, "alice") as alice, client.websocket_connect("/feed") as feed:
        feed.send_text("hello")
        assert feed.receive_text() == "alice: hello"
        alice.revoke()
        with pytest.raises(WebSocketDisconnect) as ended:
            feed.receive_text()
        assert (ended.value.code, ended.value.reason) == (1008, "token_revoked")
        answer = client.get("/news")
        assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")


def test_a_websocket_ends_when_the_caller_expires(
    client: TestClient, sign_in: SignIn, authkit_clock: ManualClock
) -> None:
    """By the clock of the test."""
    now = authkit_clock.time()
    sign_in(app, auth, make_principal("alice", issued_at=now, expires_at=now + 0.1))
    with client.websocket_connect("/feed") as feed:
        feed.send_text("hello")
        assert feed.receive_text() == "alice: hello"
        authkit_clock.advance(1)
        with pytest.raises(WebSocketDisconnect) as ended:
            feed.receive_text()
    assert (ended.value.code, ended.value.reason) == (1008, "token_expired")


@pytest.mark.anyio
async def test_a_stream_is_ended_as_revoked() -> None:
    """Like one whose source has no more."""
    with signed_in(app, auth, "alice") as alice:
        asyncio.get_running_loop().call_later(0.05, alice.revoke)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://app.test"
        ) as client:
            answer = await asyncio.wait_for(client.get("/news"), 10)
    assert (answer.status_code, answer.text) == (200, "first")


@pytest.mark.anyio
async def test_what_is_revoked_before_it_is_watched_never_begins() -> None:
    """As for a token that is revoked between its check and the answer."""
    with signed_in(app, auth, make_principal("alice")) as alice:
        principal = alice.principal
        assert principal is not None
        alice.revoke()
        assert [item async for item in auth.watch_stream(_items(), principal)] == []


def test_who_was_revoked_may_sign_in_again(client: TestClient, sign_in: SignIn) -> None:
    """As one who has a new token."""
    caller = make_principal("alice", expires_at=4e9)
    first = sign_in(app, auth, caller)
    first.revoke()
    second = sign_in(app, auth, caller)
    with client.websocket_connect("/feed") as feed:
        feed.send_text("hello")
        assert feed.receive_text() == "alice: hello"
        second.revoke()
        with pytest.raises(WebSocketDisconnect):
            feed.receive_text()


async def _watch(principal: Principal) -> list[str]:
    return [item async for item in auth.watch_stream(_items(), principal)]


@pytest.mark.anyio
async def test_nobody_else_is_watched_without_a_verifier() -> None:
    """A principal that no test signs in belongs to a verifier, and there is none."""
    with signed_in(app, auth, "alice"), pytest.raises(ConfigurationError, match="no verifier"):
        await _watch(make_principal("alice"))
