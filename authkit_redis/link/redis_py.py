"""What is taken from redis-py beyond its documented interface, and what it answers with.

redis-py makes the connections: addresses, TLS, the handshake, ACL users, Sentinel.  Their
transports are then taken from it, by the only private names of it that are used, `_reader` and
`_writer` of a connected `Connection`.  Where these are not there, its public methods serve,
at about twice the cost per call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisClusterException, RedisError, ResponseError

from authkit_redis.link.errors import LinkError, NotSent, OutcomeUnknown, ReplyError, reply_error
from authkit_redis.link.reasons import chain_of, reason_of

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from authkit_redis.link.channel import Channel
    from authkit_redis.link.wire import Wire

__all__ = ["PublicWire", "TakenWire", "code_of", "hang_up", "take_wire", "translated"]

_READER = "_reader"
_WRITER = "_writer"

# Older releases keep the first word of an error reply in the exception's class alone.
_CODES = {
    "AskError": "ASK",
    "AuthenticationError": "WRONGPASS",
    "AuthenticationWrongNumberOfArgsError": "WRONGPASS",
    "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}


def code_of(error: BaseException) -> str | None:
    """The first word of the error reply behind an exception of redis-py, if there was one."""
    code = getattr(error, "status_code", None)
    return code if isinstance(code, str) else _CODES.get(type(error).__name__)


def translated(error: BaseException, *, was_sent: bool, is_tls: bool = False) -> LinkError:
    """The link's error for an exception that came out of redis-py."""
    # Its client of a cluster wraps what the nodes have answered.
    for each in chain_of(error) if isinstance(error, RedisClusterException) else (error,):
        code = code_of(each)
        if code is not None:
            return reply_error(f"{code} {each}")
        if isinstance(each, ResponseError):
            return reply_error(str(each))
    if isinstance(error, RedisClusterException) and "same key slot" in str(error):
        return reply_error("CROSSSLOT")  # what its client refuses to send, as a server would
    reason = reason_of(error, is_tls=is_tls)
    if was_sent:
        text = "the connection to the Redis server broke"
        return OutcomeUnknown(f"{text}: {reason}" if reason else text)
    # An exception's class is better than nothing.
    reason = reason or type(error).__name__
    return NotSent(f"no connection to the Redis server could be made: {reason}")


async def hang_up(connection: AbstractConnection) -> None:
    """Closes a connection that redis-py has made; nothing is waited for, and nothing raised."""
    writer = getattr(connection, _WRITER, None)
    if isinstance(writer, asyncio.StreamWriter):
        # Closing in good order, TLS would wait for the other side's farewell.
        writer.transport.abort()
    # redis-py raises an AttributeError here when it has lost the connection meanwhile.
    with suppress(RedisError, OSError, AttributeError):
        await connection.disconnect(nowait=True)


def take_wire(connection: AbstractConnection, channel: Channel) -> Wire:
    """Puts a channel on a connection that redis-py has made, which is the channel's from now on."""
    writer = getattr(connection, _WRITER, None)
    reader = getattr(connection, _READER, None)
    if isinstance(writer, asyncio.StreamWriter) and isinstance(reader, asyncio.StreamReader):
        # Without them redis-py holds the connection for closed, and leaves it alone.
        setattr(connection, _WRITER, None)
        setattr(connection, _READER, None)
        return TakenWire(writer, channel)
    return PublicWire(connection, channel)


class TakenWire:
    """The asyncio transport of a connection; what it receives goes straight to the channel."""

    __slots__ = ("_writer", "abort", "close", "write")

    def __init__(self, writer: asyncio.StreamWriter, channel: Channel) -> None:
        transport = writer.transport
        transport.set_protocol(channel)
        # Dropping the writer would close the transport.
        self._writer = writer
        self.write: Callable[[bytes], None] = transport.write
        self.close: Callable[[], None] = transport.close
        self.abort: Callable[[], None] = transport.abort

    def forget(self) -> None:
        """Closes the socket of a transport whose event loop is closed, and so cannot do it."""
        transport = self._writer.transport
        with suppress(RuntimeError):
            transport.abort()
        # Not documented; without it the socket is closed all the same, later and with a warning.
        finish = getattr(transport, "_call_connection_lost", None)
        if finish is not None:
            finish(None)


class PublicWire:
    """The same over the public methods of redis-py: one task writes, another reads."""

    def __init__(self, connection: AbstractConnection, channel: Channel) -> None:
        self._connection = connection
        self._channel = channel
        self._chunks: list[bytes] = []
        self._has_chunks = asyncio.Event()
        self._writing = asyncio.create_task(self._write())
        self._reading = asyncio.create_task(self._read())
        self._closing: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        """Hands data to the task that writes."""
        self._chunks.append(data)
        self._has_chunks.set()

    def close(self) -> None:
        """Ends both tasks and the connection."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(None))

    def abort(self) -> None:
        """The same: redis-py tells no difference."""
        self.close()

    def forget(self) -> None:
        """Leaves it to redis-py: its tasks have ended with their event loop."""

    async def _write(self) -> None:
        try:
            while await self._has_chunks.wait():
                chunks, self._chunks = self._chunks, []
                self._has_chunks.clear()
                self._channel.pause_writing()
                await self._connection.send_packed_command(chunks, check_health=False)
                self._channel.resume_writing()
        except (RedisError, OSError, AttributeError) as error:
            self._lose(error)

    async def _read(self) -> None:
        try:
            while True:
                self._channel.deliver(await self._next_reply())
        except (RedisError, OSError, AttributeError) as error:
            # An AttributeError where the connection is closed while it is read from.
            self._lose(error)

    async def _next_reply(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except RedisError as error:
            reply = translated(error, was_sent=True)
            if isinstance(reply, ReplyError):
                return reply
            raise

    def _lose(self, error: Exception) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(error))

    async def _close(self, error: Exception | None) -> None:
        self._reading.cancel()
        self._writing.cancel()
        await asyncio.gather(self._reading, self._writing, return_exceptions=True)
        with suppress(RedisError, OSError, AttributeError):
            await self._connection.disconnect(nowait=True)
        self._channel.connection_lost(error)
