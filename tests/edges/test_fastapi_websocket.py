"""WebSockets: refused before they are accepted, and ended when their token expires."""

# Annotations are not postponed here: FastAPI could not find the local names in those of routes.

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Security, WebSocket, WebSocketDisconnect
from fastapi.security import SecurityScopes
from fastapi.testclient import TestClient
from starlette.exceptions import WebSocketException
from starlette.testclient import WebSocketDenialResponse
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from authkit.errors import (
    BackendUnavailable,
    ConfigurationError,
    InsufficientScope,
    TokenRevoked,
)
from authkit.fastapi import Auth, SignedIn
from authkit.principal import Principal
from authkit.testing import ManualClock
from authkit.testing.loopback import LoopbackServer
from authkit.verifier import token_watch as module

pytestmark = pytest.mark.anyio

GOOD = ("Authorization", "Bearer good")
FORGED = ("Authorization", "Bearer x.y.z")


@pytest.fixture
def app(auth: Auth) -> FastAPI:
    """Sockets that greet their caller and then listen as long as the token lives."""
    app = FastAPI()

    async def greet(websocket: WebSocket, who: Principal | None) -> None:
        await websocket.accept()
        await websocket.send_text(str(who and who.subject))
        await websocket.close()

    @app.websocket("/read")
    async def read(
        websocket: WebSocket, who: Annotated[Principal, Security(auth, scopes=["orders:read"])]
    ) -> None:
        await greet(websocket, who)

    @app.websocket("/write")
    async def write(
        websocket: WebSocket, who: Annotated[Principal, Depends(auth.require(scopes=["w"]))]
    ) -> None:
        await greet(websocket, who)

    @app.websocket("/optional")
    async def optional(
        websocket: WebSocket, who: Annotated[Principal | None, Depends(auth.optional)]
    ) -> None:
        await greet(websocket, who)

    @app.websocket("/listen")
    async def listen(websocket: WebSocket, who: Annotated[Principal, Depends(auth)]) -> None:
        await websocket.accept()
        async with auth.watch(websocket, who):
            async for text in websocket.iter_text():
                await websocket.send_text(text)

    return app


class WithoutDenial:
    """A server that cannot answer a WebSocket's handshake with a response."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app({**scope, "extensions": {}}, receive, send)


def test_a_good_token_gets_through(app: FastAPI) -> None:
    """The same dependency as on HTTP routes."""
    with TestClient(app).websocket_connect("/read", headers=dict([GOOD])) as socket:
        assert socket.receive_text() == "alice"
    with TestClient(app).websocket_connect("/optional") as socket:
        assert socket.receive_text() == "None"


@pytest.mark.parametrize(
    ("path", "headers", "status", "challenge"),
    [
        ("/read", [], 401, "Bearer"),
        ("/read", [FORGED], 401, 'Bearer error="invalid_token"'),
        ("/optional", [FORGED], 401, 'Bearer error="invalid_token"'),
        ("/write", [GOOD], 403, 'Bearer error="insufficient_scope"'),
        ("/read", [("Authorization", "Bearer")], 400, 'Bearer error="invalid_request"'),
    ],
)
def test_a_refused_socket_is_denied_with_the_whole_answer(
    app: FastAPI, path: str, headers: list[tuple[str, str]], status: int, challenge: str
) -> None:
    """The ASGI extension for WebSocket denial responses lets clients see why."""
    client = TestClient(app)
    with pytest.raises(WebSocketDenialResponse) as caught:
        with client.websocket_connect(path, headers=dict(headers)):
            pass  # pragma: no cover - never connected
    answer = caught.value
    assert answer.status_code == status
    assert answer.headers["www-authenticate"].startswith(challenge)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_where_the_server_cannot_deny_the_socket_is_closed(app: FastAPI, verifier: Any) -> None:
    """1008 is a policy violation (RFC 6455 section 7.4.1); the reason is the error's code."""
    client = TestClient(WithoutDenial(app))
    verifier.tokens["down"] = BackendUnavailable("keys")
    for path, token, reason in (
        ("/read", "forged", "signature_invalid"),
        ("/write", "good", "insufficient_scope"),
        ("/read", "down", "backend_unavailable"),
    ):
        with pytest.raises(WebSocketDisconnect) as caught:
            with client.websocket_connect(path, headers={"Authorization": f"Bearer {token}"}):
                pass  # pragma: no cover - never connected
        assert (caught.value.code, caught.value.reason) == (1008, reason)


def test_a_signed_in_principal_is_checked_on_sockets_too(
    app: FastAPI, auth: Auth, caller: Callable[..., Principal]
) -> None:
    """Tests sign in there as they do on HTTP routes."""
    app.dependency_overrides[auth] = SignedIn(caller())
    with TestClient(app).websocket_connect("/read") as socket:
        assert socket.receive_text() == "alice"
    with pytest.raises(WebSocketDenialResponse):
        with TestClient(app).websocket_connect("/write"):
            pass  # pragma: no cover - never connected


async def test_a_real_server_denies_and_accepts(app: FastAPI) -> None:
    """Over a real handshake: status, challenge and body of the refusal arrive."""
    async with LoopbackServer(app) as server:
        url = server.url.replace("http", "ws")
        async with connect(f"{url}/read", additional_headers=[GOOD], proxy=None) as socket:
            assert await socket.recv() == "alice"
        with pytest.raises(InvalidStatus) as caught:
            async with connect(f"{url}/read", additional_headers=[FORGED], proxy=None):
                pass  # pragma: no cover - never connected
    answer = caught.value.response
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')
    assert b'"code":"signature_invalid"' in (answer.body or b"")


async def test_a_real_server_closes_the_socket_when_the_token_expires(
    app: FastAPI, verifier: Any, caller: Callable[..., Principal]
) -> None:
    """The handler ends, and the client is told why."""
    verifier.tokens["good"] = caller(expires_at=verifier.clock.time() + 0.05)
    async with LoopbackServer(app) as server:
        url = server.url.replace("http", "ws")
        async with connect(f"{url}/listen", additional_headers=[GOOD], proxy=None) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
            verifier.clock.advance(1)
            with pytest.raises(ConnectionClosed) as caught:
                await socket.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, "token_expired")


async def accepted_socket(*sent: Any) -> tuple[WebSocket, list[MutableMapping[str, Any]]]:
    """A socket that was accepted, whose caller says nothing more, and what is sent to it."""
    messages: list[MutableMapping[str, Any]] = []
    incoming = asyncio.Queue[Any]()
    for message in ({"type": "websocket.connect"}, *sent):
        incoming.put_nowait(message)

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    headers = [(b"authorization", b"Bearer good")]
    scope = {"type": "websocket", "headers": headers, "query_string": b""}
    websocket = WebSocket(scope, incoming.get, send)
    await websocket.accept()
    messages.clear()
    return websocket, messages


async def test_an_accepted_socket_is_verified_anew_whenever_it_is_asked_about(
    auth: Auth, verifier: Any
) -> None:
    """What was proven at the handshake does not answer for a token that was revoked since."""
    websocket, _ = await accepted_socket()
    await auth(websocket, SecurityScopes())
    await auth(websocket, SecurityScopes())
    assert len(verifier.calls) == 2
    verifier.tokens["good"] = InsufficientScope(["a"])
    with pytest.raises(WebSocketException):
        await auth(websocket, SecurityScopes())


# Watching -----------------------------------------------------------------------------------------


def soon(clock: ManualClock, caller: Callable[..., Principal]) -> Principal:
    """A caller whose token expires as soon as the clock is moved and a timer has run."""
    return caller(expires_at=clock.time() + 0.01)


async def test_the_block_ends_at_expiry_and_what_follows_it_runs(
    auth: Auth, verifier: Any, caller: Callable[..., Principal]
) -> None:
    """At whatever it waits for; cleaning up is the handler's as ever."""
    websocket, messages = await accepted_socket()
    who = soon(verifier.clock, caller)
    steps: list[str] = []
    verifier.clock.advance(1)
    async with auth.watch(websocket, who):
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("cleaned up")
    steps.append("went on")
    assert steps == ["cleaned up", "went on"]
    assert messages == [{"type": "websocket.close", "code": 1008, "reason": "token_expired"}]


async def test_a_socket_that_is_done_in_time_is_left_alone(
    auth: Auth, verifier: Any, caller: Callable[..., Principal]
) -> None:
    """The timer goes with the block."""
    websocket, messages = await accepted_socket()
    async with auth.watch(websocket, soon(verifier.clock, caller)):
        pass
    verifier.clock.advance(1)
    await asyncio.sleep(0.03)
    assert messages == []


async def test_a_timer_that_runs_early_waits_on(
    auth: Auth, verifier: Any, caller: Callable[..., Principal]
) -> None:
    """The wall clock decides: it may have been set back since the timer was set."""
    websocket, messages = await accepted_socket()
    async with auth.watch(websocket, soon(verifier.clock, caller)):
        await asyncio.sleep(0.03)
        assert messages == []
        verifier.clock.advance(1)
        await asyncio.Event().wait()
    assert messages[0]["code"] == 1008


async def test_a_clock_that_was_set_forward_is_noticed(
    auth: Auth, verifier: Any, caller: Callable[..., Principal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No single timer is trusted with a whole token lifetime."""
    monkeypatch.setattr(module, "_LONGEST_WAIT_SECONDS", 0.01)
    websocket, messages = await accepted_socket()
    async with auth.watch(websocket, caller()):
        verifier.clock.advance(1_000)
        await asyncio.Event().wait()
    assert messages[0]["code"] == 1008


async def test_a_caller_that_hangs_up_is_no_expiry(
    auth: Auth, verifier: Any, caller: Callable[..., Principal]
) -> None:
    """What the block raises passes through, and so does its own timeout."""
    gone = {"type": "websocket.disconnect", "code": 1001, "reason": ""}
    websocket, messages = await accepted_socket(gone)
    with pytest.raises(WebSocketDisconnect):
        async with auth.watch(websocket, caller()):
            await websocket.receive_text()
    with pytest.raises(TimeoutError):
        async with auth.watch(websocket, caller()), asyncio.timeout(0):
            await asyncio.Event().wait()
    with pytest.raises(TokenRevoked):
        async with auth.watch(websocket, caller()):
            raise TokenRevoked("token")
    assert messages == []


async def test_cancelling_from_outside_passes_through(
    auth: Auth, verifier: Any, caller: Callable[..., Principal]
) -> None:
    """A server that shuts down is obeyed."""
    websocket, messages = await accepted_socket()
    entered = asyncio.Event()

    async def handler() -> None:
        async with auth.watch(websocket, caller()):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(handler())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert messages == []


async def test_a_block_that_swallows_its_end_is_closed_all_the_same(
    auth: Auth, verifier: Any, caller: Callable[..., Principal]
) -> None:
    """A handler that catches everything does not keep the socket open."""
    websocket, messages = await accepted_socket()
    who = soon(verifier.clock, caller)
    verifier.clock.advance(1)
    async with auth.watch(websocket, who):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
    assert messages[0]["code"] == 1008


async def test_a_socket_that_is_closed_already_is_not_closed_again(
    auth: Auth, verifier: Any, caller: Callable[..., Principal]
) -> None:
    """By either side, or at that very moment."""
    who = soon(verifier.clock, caller)
    verifier.clock.advance(1)
    websocket, messages = await accepted_socket()
    async with auth.watch(websocket, who):
        await websocket.close(1000)
        await asyncio.Event().wait()
    assert [message["code"] for message in messages] == [1000]

    websocket, messages = await accepted_socket({"type": "websocket.disconnect", "code": 1001})
    async with auth.watch(websocket, who):
        await websocket.receive()
        await asyncio.Event().wait()
    assert messages == []

    websocket, _ = await accepted_socket()

    async def broken(message: Any) -> None:
        raise OSError

    websocket._send = broken
    async with auth.watch(websocket, who):
        await asyncio.Event().wait()


def test_watching_needs_the_verifiers_clock(caller: Callable[..., Principal]) -> None:
    """Without one there is nothing to tell the time by."""
    websocket = WebSocket({"type": "websocket"}, None, None)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no verifier"):
        Auth().watch(websocket, caller())
