"""Responses that are sent piece by piece, and end with the token that asked for them."""

# Annotations are not postponed here: FastAPI could not find the local names in those of routes.

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from starlette.requests import ClientDisconnect

from authkit.errors import ConfigurationError
from authkit.fastapi import Auth
from authkit.principal import Principal

pytestmark = pytest.mark.anyio


class Source:
    """What a route sends.

    Attributes:
        cut: is called after each item.
        is_closed: its last line has run.
    """

    def __init__(self) -> None:
        self.cut: Callable[[], Any] = lambda: None
        self.is_closed = False

    async def __call__(self) -> AsyncIterator[str]:
        try:
            for number in range(3):
                yield f"line {number}\n"
                self.cut()
                await asyncio.sleep(0.02)
        finally:
            self.is_closed = True


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def app(auth: Auth, source: Source) -> FastAPI:
    """Two ways to send the lines."""
    app = FastAPI()

    @app.get("/lines")
    async def lines(who: Annotated[Principal, Depends(auth)]) -> StreamingResponse:
        return StreamingResponse(auth.watch_stream(source(), who))

    @app.get("/plain")
    def plain(who: Annotated[Principal, Depends(auth)]) -> StreamingResponse:
        return StreamingResponse(auth.watch_stream(source(), who))

    @app.get("/events", response_class=EventSourceResponse)
    async def events(who: Annotated[Principal, Depends(auth)]) -> AsyncIterator[str]:
        async for line in auth.watch_stream(source(), who):
            yield line

    return app


PATHS = pytest.mark.parametrize("path", ["/lines", "/plain", "/events"])
GOOD = {"Authorization": "Bearer good"}


@PATHS
async def test_all_of_it_arrives_while_the_token_is_good(
    app: FastAPI, source: Source, client_of: Callable[..., Any], path: str
) -> None:
    """In order; routes that run in a thread may make a stream too."""
    async with client_of(app) as client:
        answer = await client.get(path, headers=GOOD)
    assert answer.status_code == 200
    places = [answer.text.find(f"line {number}") for number in range(3)]
    assert -1 < places[0] < places[1] < places[2]
    assert source.is_closed


@PATHS
async def test_it_ends_when_the_token_expires(
    app: FastAPI,
    source: Source,
    verifier: Any,
    caller: Callable[..., Principal],
    client_of: Callable[..., Any],
    path: str,
) -> None:
    """The response is complete, and shorter."""
    verifier.tokens["good"] = caller(expires_at=verifier.clock.time() + 0.005)
    source.cut = lambda: verifier.clock.advance(1)
    async with client_of(app) as client:
        answer = await client.get(path, headers=GOOD)
    assert answer.status_code == 200
    assert "line 0" in answer.text
    assert "line 1" not in answer.text
    assert source.is_closed


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@PATHS
async def test_a_client_that_hangs_up_ends_it(
    app: FastAPI, source: Source, path: str, spec_version: str
) -> None:
    """Whether the server tells so by a message, or by an error when more is sent."""
    has_begun = asyncio.Event()

    async def receive() -> Any:
        if spec_version == "2.4":
            return await asyncio.Event().wait()
        await has_begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("body"):
            if has_begun.is_set():
                raise OSError
            has_begun.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer good")],
        "client": ("192.0.2.1", 1234),
        "server": ("service.test", 80),
        "scheme": "http",
    }
    before = asyncio.all_tasks()
    # Starlette tells of the error by one of its own, alone or in a group.
    with suppress(ClientDisconnect, ExceptionGroup):
        async with asyncio.timeout(5):
            await app(scope, receive, send)
    for _ in range(1_000):
        if source.is_closed and asyncio.all_tasks() == before:
            break
        await asyncio.sleep(0.001)
    assert source.is_closed
    assert asyncio.all_tasks() == before


def test_watching_needs_a_verifier(caller: Callable[..., Principal], source: Source) -> None:
    """The route is told, and not whoever reads the stream later."""
    with pytest.raises(ConfigurationError, match="no verifier"):
        Auth().watch_stream(source(), caller())
