"""The floor below the link to Redis: one bare connection of asyncio and hiredis."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis

__all__ = ["BareConnection", "BareSubscriber"]

_NOTHING_YET = object()
# hiredis declares its argument as a tuple of one.
_pack = cast("Callable[[tuple[bytes | int, ...]], bytes]", hiredis.pack_command)


class BareConnection(asyncio.Protocol):
    """The least that calls can share: no deadline, no limit, no second try, no reconnecting."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._packed: list[bytes] = []
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._reader = hiredis.Reader(notEnoughData=_NOTHING_YET)
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def call(self, *parts: bytes | int) -> asyncio.Future[Any]:
        """Writes a command, with all others of this tick."""
        if not self._packed:
            self._loop.call_soon(self._flush)
        future = self._loop.create_future()
        self._packed.append(_pack(parts))
        self._waiting.append(future)
        return future

    def _flush(self) -> None:
        packed, self._packed = self._packed, []
        self._transport.write(b"".join(packed))

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        value = reader.gets()
        while value is not _NOTHING_YET:
            future = waiting.popleft()
            if not future.done():
                if isinstance(value, Exception):
                    future.set_exception(value)
                else:
                    future.set_result(value)
            value = reader.gets()

    def close(self) -> None:
        """Hangs up."""
        self._transport.close()

    @classmethod
    async def open(cls, port: int) -> BareConnection:
        """Connects to a server on this machine."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        return connection


class BareSubscriber(asyncio.Protocol):
    """The least that a Pub/Sub subscriber does: hands on each message of one channel."""

    def __init__(self, channel: bytes, on_message: Callable[[bytes], None]) -> None:
        self._channel = channel
        self._on_message = on_message
        self._reader = hiredis.Reader(notEnoughData=_NOTHING_YET)
        self.is_subscribed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(_pack((b"SUBSCRIBE", self._channel)))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        value: Any = self._reader.gets()
        while value is not _NOTHING_YET:
            if value[0] == b"message":
                self._on_message(value[2])
            else:
                self.is_subscribed.set()
            value = self._reader.gets()
