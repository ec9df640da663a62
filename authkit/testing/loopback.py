"""Serves an ASGI app on a loopback port, from a thread, for a test or a demo."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn import Server

__all__ = ["ASGIApp", "LoopbackServer", "Message", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_HOST = "127.0.0.1"
_START_SECONDS = 10.0


class LoopbackServer:
    """A real HTTP server around an app, for as long as a `with` or `async with` block.

    It runs in a thread with an event loop of its own, so it answers synchronous tests and
    tests that block their loop alike.  It touches no signal handler.

    Args:
        app: an ASGI app; its lifespan, if it has one, runs in the server's loop.
        port: the port on 127.0.0.1; 0 takes a free one.
    """

    def __init__(self, app: ASGIApp, *, port: int = 0) -> None:
        self._app = app
        self._port = port
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port; 0 until a free one was taken.  It stays the same from then on."""
        return self._port

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`, without a slash at the end."""
        return f"http://{_HOST}:{self._port}"

    @property
    def is_running(self) -> bool:
        """Whether it answers now."""
        return self._thread is not None

    def __enter__(self) -> LoopbackServer:
        """Returns once the app's startup is complete.

        Raises:
            RuntimeError: it runs already, or the app's startup failed (the server has logged why).
            OSError: the port is taken.
        """
        if self._thread is not None:
            raise RuntimeError("this server is running already")
        # Imported here, for authkit.testing must load without it.
        import uvicorn

        # The protocol is named because asyncio turns Nagle's delay off only where it is.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            # The same port can be taken again at once after a stop.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((_HOST, self._port))
        except BaseException:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                interface="asgi3",
                http="h11",
                loop="asyncio",
                # The app sees its peer, and decides itself what to make of forwarding headers.
                proxy_headers=False,
                # The process's logging belongs to the test.
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._run_until_started(server, listener)
        return self

    def _run_until_started(self, server: Server, listener: socket.socket) -> None:
        settled = threading.Event()
        startup = server.startup

        async def startup_then_tell(sockets: list[socket.socket] | None = None) -> None:
            try:
                await startup(sockets=sockets)
            except SystemExit:
                # So uvicorn tells that the app's startup failed; it may not end the process.
                server.should_exit = True
            settled.set()

        # An instance attribute, because uvicorn tells of its start by a flag to be polled only.
        server.startup = startup_then_tell  # type: ignore[method-assign]
        thread = threading.Thread(
            target=server.run,
            kwargs={"sockets": [listener]},
            name="authkit-loopback-server",
            daemon=True,
        )
        thread.start()
        settled.wait(_START_SECONDS)
        if not server.started:
            server.should_exit = True
            thread.join(1)
            listener.close()
            raise RuntimeError("the app did not start; its server has logged why")
        self._server, self._thread = server, thread

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the connections, runs the app's shutdown, and returns when all of it is done."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is not None and thread is not None:
            server.should_exit = True
            thread.join()

    async def __aenter__(self) -> LoopbackServer:
        """As `__enter__`, without blocking the event loop."""
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """As `__exit__`, without blocking the event loop."""
        await asyncio.to_thread(self.__exit__, kind, error, traceback)
