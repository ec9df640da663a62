"""LoopbackServer: a real server for a block, in any kind of test."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from authkit.testing import LoopbackServer


def _app(seen: list[str]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        seen.append("startup")
        yield
        seen.append("shutdown")

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def hello() -> str:
        return "hello"

    return app


def _get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


def test_it_answers_inside_the_block_only() -> None:
    """Startup is complete when the block begins, and shutdown when it has ended."""
    seen: list[str] = []
    with LoopbackServer(_app(seen)) as server:
        assert server.is_running
        assert seen == ["startup"]
        assert _get(server.url).json() == "hello"
    assert not server.is_running
    assert seen == ["startup", "shutdown"]
    with pytest.raises(httpx.ConnectError):
        _get(server.url)


@pytest.mark.anyio
async def test_it_serves_an_asynchronous_test_from_its_own_thread() -> None:
    """A test that blocks its event loop is answered all the same."""
    async with LoopbackServer(_app([])) as server, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(server.url)).json() == "hello"


def test_a_second_block_takes_the_same_port() -> None:
    """Addresses given out in the first block stay true."""
    server = LoopbackServer(_app([]))
    assert server.port == 0
    with server:
        first = server.url
        assert _get(first).json() == "hello"
    with server:
        assert server.url == first
        assert _get(first).json() == "hello"


def test_a_running_server_is_not_started_again() -> None:
    """Two blocks at the same time are a mistake; the first one goes on."""
    with LoopbackServer(_app([])) as server:
        with pytest.raises(RuntimeError, match="running already"), server:
            pass  # pragma: no cover - the point is that it is not reached
        assert _get(server.url).json() == "hello"


def test_a_port_in_use_is_an_error_at_once() -> None:
    """It never shares a port, nor takes another than it was told."""
    with (
        LoopbackServer(_app([])) as server,
        pytest.raises(OSError, match="in use"),
        LoopbackServer(_app([]), port=server.port),
    ):
        pass  # pragma: no cover - the point is that it is not reached


def test_a_failing_startup_is_an_error_of_the_block() -> None:
    """The block does not begin, and nothing is left running."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    server = LoopbackServer(FastAPI(lifespan=lifespan))
    with pytest.raises(RuntimeError, match="did not start"), server:
        pass  # pragma: no cover - the point is that it is not reached
    assert not server.is_running
    assert not [one for one in threading.enumerate() if one.name == "authkit-loopback-server"]


def test_signal_handlers_are_left_alone() -> None:
    """Control-C still ends the test run."""
    before = signal.getsignal(signal.SIGINT)
    with LoopbackServer(_app([])):
        assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGINT) is before
