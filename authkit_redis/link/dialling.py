"""Making one connection: redis-py connects and shakes hands, then a channel takes it over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import SSLConnection
from redis.exceptions import RedisError, ResponseError

from authkit_redis.link.channel import Channel
from authkit_redis.link.errors import AccessRefused, LinkError, NotSent, ReplyError
from authkit_redis.link.redis_py import hang_up, take_wire, translated
from authkit_redis.link.wire import Wire

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

__all__ = ["Dialler"]

# What servers older than RESP3, or proxies, answer to HELLO 3.
_NO_RESP3 = frozenset({"ERR", "NOPROTO"})

# Done on a connection before it is anybody's.
_First = Callable[[Any], Awaitable[Any]]


class Dialler:
    """Makes the connections of one link, and leaves none open that nobody has.

    It speaks RESP3 until a server does not know that, and from then on RESP2.

    Args:
        kind: redis-py's class of connection.
        settings: what to make one with, apart from what a call of `dial` or `ask` adds.
        timeout_seconds: for one connection, the handshake and the question included.
        protocol: 2 where RESP3 is not to be tried.
    """

    def __init__(
        self,
        kind: type[AbstractConnection],
        settings: Mapping[str, Any],
        timeout_seconds: float,
        *,
        protocol: int = 3,
    ) -> None:
        self._kind = kind
        self._settings = settings
        self.timeout_seconds = timeout_seconds
        self._protocol = protocol

    @property
    def is_tls(self) -> bool:
        """Whether its connections are encrypted."""
        return issubclass(self._kind, SSLConnection)

    async def dial(
        self, channel: Channel, *, must_be_master: bool = False, **address: str | int
    ) -> Wire:
        """Connects, and puts the channel on the connection.

        Raises:
            AccessRefused: the server does not let this user in.
            ReplyError: the server answered the handshake with another error.
            NotSent: there is no connection.
        """
        first = _require_master if must_be_master else _nothing
        connection, _ = await self._reach(first, address)
        return take_wire(connection, channel)

    async def ask(self, *command: str, **address: str | int) -> Any:
        """The reply to one command, on a connection that is closed then.

        Raises:
            ReplyError: the server answered with an error.
            NotSent: there is no connection, or no reply came in time.
        """
        connection, reply = await self._reach(partial(_answer, command), address)
        await hang_up(connection)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    async def _reach(self, first: _First, address: Mapping[str, str | int]) -> tuple[Any, Any]:
        try:
            return await self._once(first, address)
        except ReplyError as error:
            if self._protocol != 3 or error.code not in _NO_RESP3:
                raise
        self._protocol = 2
        try:
            return await self._once(first, address)
        except LinkError:
            self._protocol = 3
            raise

    async def _once(self, first: _First, address: Mapping[str, str | int]) -> tuple[Any, Any]:
        """A connection, and what came of the first thing that was done on it.

        Nothing is awaited between the last reply and the return, nor while hanging up: who is
        cancelled has either the connection or none.
        """
        settings = {**self._settings, **address, "protocol": self._protocol}
        connection: Any = self._kind(**settings)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                await connection.connect()
                outcome = await first(connection)
            return connection, outcome
        except LinkError:
            await hang_up(connection)
            raise
        except Exception as error:
            await hang_up(connection)
            problem = translated(error, was_sent=False, is_tls=self.is_tls)
        except BaseException:
            await hang_up(connection)
            raise
        # Out of the block: the server's words may quote the password, and would hang on to it.
        raise problem


async def _nothing(connection: Any) -> None:
    """What a server that may be anything is asked first."""


async def _answer(command: Sequence[str], connection: Any) -> Any:
    await connection.send_command(*command)
    try:
        return await connection.read_response()
    except ResponseError as error:
        # Handed back, so that it is not taken for one to the handshake.
        return translated(error, was_sent=True)


async def _require_master(connection: Any) -> None:
    # Sentinels may not have noticed yet that the server they name was demoted.
    await connection.send_command("ROLE")
    try:
        role = await connection.read_response()
    except RedisError as error:
        if isinstance(translated(error, was_sent=True), AccessRefused):
            return  # an ACL without ROLE: a replica will answer READONLY
        raise
    if not isinstance(role, list) or role[0] != b"master":
        raise NotSent("the Redis server that the Sentinels name is not a master")
