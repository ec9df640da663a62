"""A network between one process and its server: it can stall, break, and lead to another server."""

from __future__ import annotations

import asyncio

__all__ = ["Forwarder"]


class _Side(asyncio.Protocol):
    """One end of a forwarded connection; what it hears, the other end says."""

    def __init__(self, owner: Forwarder, other: _Side | None = None) -> None:
        self.owner = owner
        self.other = other
        self.transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.owner.sides.add(self)
        if self.owner.is_stalled:
            transport.pause_reading()
        if self.other is None:
            self.owner.connect(self)
        else:
            self.other.other = self
            for data in self.other._waiting:
                transport.write(data)
            if self.other.transport is None or self.other.transport.is_closing():
                transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self._waiting.append(data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.owner.sides.discard(self)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def abort(self) -> None:
        """Breaks it off; what is on its way is lost."""
        if self.transport is not None:
            self.transport.abort()


class Forwarder:
    """Listens on loopback and forwards each connection to the port `target`.

    Attributes:
        target: the server's port; None refuses connections.
        is_stalled: whether bytes stay where they are, as in a network that loses every packet.
    """

    def __init__(self, target: int | None) -> None:
        self.target = target
        self.is_stalled = False
        self.sides: set[_Side] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begins to listen; `port` is set then."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Side(self), "127.0.0.1", 0)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def connect(self, side: _Side) -> None:
        """Joins a client that came to the server."""
        task = asyncio.create_task(self._connect(side))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, side: _Side) -> None:
        if self.target is None:
            side.abort()
            return
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Side(self, side), "127.0.0.1", self.target)
        except OSError:
            side.abort()

    def stall(self) -> None:
        """No byte passes any more; connections stay, and new ones seem to succeed."""
        self.is_stalled = True
        for side in self.sides:
            if side.transport is not None:
                side.transport.pause_reading()

    def resume(self) -> None:
        """What was held back passes."""
        self.is_stalled = False
        for side in self.sides:
            if side.transport is not None and not side.transport.is_closing():
                side.transport.resume_reading()

    def drop(self) -> None:
        """Breaks every connection."""
        for side in list(self.sides):
            side.abort()

    def close(self) -> None:
        """Stops listening, and breaks every connection."""
        self.target = None
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        self.drop()
