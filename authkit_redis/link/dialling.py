"""Making one connection: redis-py connects and shakes hands, then a channel takes it over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import SSLConnection
from redis.exceptions import RedisError

from authkit_redis.link.channel import Channel
from authkit_redis.link.errors import AccessRefused, LinkError, NotSent, ReplyError
from authkit_redis.link.redis_py import take_wire, translated
from authkit_redis.link.wire import Wire

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

__all__ = ["Dialler"]

# What servers older than RESP3, or proxies, answer to HELLO 3.
_NO_RESP3 = frozenset({"ERR", "NOPROTO"})


class Dialler:
    """Makes the connections of one link.

    It speaks RESP3 until a server does not know that, and from then on RESP2.

    Args:
        kind: redis-py's class of connection.
        settings: what to make one with, apart from what a call of `dial` adds.
        timeout_seconds: for one connection, the handshake included.
    """

    def __init__(
        self, kind: type[AbstractConnection], settings: Mapping[str, Any], timeout_seconds: float
    ) -> None:
        self._kind = kind
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._protocol = 3

    async def dial(
        self, channel: Channel, *, must_be_master: bool = False, **address: str | int
    ) -> Wire:
        """Connects, and puts the channel on the connection.

        Raises:
            AccessRefused: the server does not let this user in.
            ReplyError: the server answered the handshake with another error.
            NotSent: there is no connection.
        """
        try:
            return await self._once(channel, must_be_master, address)
        except ReplyError as error:
            if self._protocol != 3 or error.code not in _NO_RESP3:
                raise
        self._protocol = 2
        try:
            return await self._once(channel, must_be_master, address)
        except LinkError:
            self._protocol = 3
            raise

    async def _once(
        self, channel: Channel, must_be_master: bool, address: Mapping[str, str | int]
    ) -> Wire:
        settings = {**self._settings, **address, "protocol": self._protocol}
        connection: Any = self._kind(**settings)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await connection.connect()
                if must_be_master:
                    await _require_master(connection)
            return take_wire(connection, channel)
        except LinkError:
            await _hang_up(connection)
            raise
        except Exception as error:
            await _hang_up(connection)
            is_tls = issubclass(self._kind, SSLConnection)
            problem = translated(error, was_sent=False, is_tls=is_tls)
        except BaseException:
            await _hang_up(connection)
            raise
        # Out of the block: the server's words may quote the password, and would hang on to it.
        raise problem


async def _hang_up(connection: AbstractConnection) -> None:
    # redis-py raises an AttributeError here when it has lost the connection meanwhile.
    with suppress(RedisError, OSError, AttributeError):
        await connection.disconnect(nowait=True)


async def _require_master(connection: AbstractConnection) -> None:
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
