"""The link over a client of redis-py that the application has: slower, but its own settings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import MaxConnectionsError

from authkit.errors import ConfigurationError
from authkit_redis.link.errors import (
    LinkError,
    NotSent,
    OutcomeUnknown,
    Redirected,
    ReplyError,
    Saturated,
)
from authkit_redis.link.interface import Link, Script, Tail
from authkit_redis.link.redis_py import translated
from authkit_redis.link.tail import entries_of

__all__ = ["Client", "ClientLink", "link_over"]

# How much longer than it blocks a read may take: making a connection, and the reply's way.
_PATIENCE_SECONDS = 1.5

Client = Redis | RedisCluster
"""What a link can be put over."""

# One that waits for a stream to grow, and one for everything else.
_FEWEST_CONNECTIONS = 2


def link_over(client: Client) -> Link:
    """A link whose calls all go through a client of redis-py, which stays its owner's.

    What the client retries by itself is run again, and a connection error of it tells not
    whether the call was executed.

    Raises:
        ConfigurationError: not such a client; or one that decodes replies, or that has but one
            connection, which a reader of a stream would hold for itself.
    """
    if not isinstance(client, Client):
        raise ConfigurationError("the client must be a redis.asyncio.Redis or RedisCluster")
    if client.get_encoder().decode_responses:
        raise ConfigurationError(
            "the client decodes replies to text; make it with decode_responses=False"
        )
    if getattr(client, "single_connection_client", False):
        raise ConfigurationError(
            "the client has a single connection; make it without single_connection_client=True"
        )
    most = _most_connections(client)
    if most is not None and most < _FEWEST_CONNECTIONS:
        raise ConfigurationError(
            "the client may have one connection only; make it, or its pool, with max_connections"
            f" of {_FEWEST_CONNECTIONS} at least, and more for calls at the same time"
        )
    return ClientLink(client)


def _most_connections(client: Client) -> int | None:
    if isinstance(client, Redis):
        most = getattr(client.connection_pool, "max_connections", None)
    else:
        # Of each node.
        most = getattr(client, "connection_kwargs", {}).get("max_connections")
    return most if isinstance(most, int) else None


class ClientLink:
    """Every call through `execute_command` of a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._calls = 0
        self._in_flight = 0
        self._timeouts = 0
        self._ending: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Waits for calls that were given up to end: the client is its owner's to close, now.

        A connection that such a call was just making would be left open by a client that is closed.
        """
        here = asyncio.get_running_loop()
        ending = [task for task in self._ending if task.get_loop() is here]
        if ending:
            await asyncio.wait(ending, timeout=_PATIENCE_SECONDS)

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes | int],
        *,
        timeout_seconds: float,
        is_repeatable: bool = False,
    ) -> Any:
        """Runs a script on the node that has the first key; all keys are in one slot."""
        return await self._within(timeout_seconds, self._run(script, keys, args, is_repeatable))

    async def _run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes | int],
        is_repeatable: bool,
    ) -> Any:
        sha1 = script.sha1.decode()
        for has_failed in (False, True):
            try:
                return await self._execute("EVALSHA", sha1, len(keys), *keys, *args)
            except ReplyError as error:
                if error.code != "NOSCRIPT":
                    raise
                return await self._execute("EVAL", script.source, len(keys), *keys, *args)
            except OutcomeUnknown:
                if has_failed or not is_repeatable:
                    raise

    def prepared(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes | int],
        *,
        timeout_seconds: float,
    ) -> Callable[[], Awaitable[Any]]:
        """What runs a script as `run` does, each time it is called; the client packs it anew."""
        return partial(self.run, script, keys, args, timeout_seconds=timeout_seconds)

    async def call(
        self, *parts: bytes | int, timeout_seconds: float, key: bytes | None = None
    ) -> Any:
        """Runs one command that does not block; `key` chooses the node of a cluster."""
        return await self._within(timeout_seconds, self._raw(parts, key))

    async def _raw(self, parts: Sequence[bytes | int], key: bytes | None) -> Any:
        # redis-py does not reshape the reply to a command that is named in bytes; to choose
        # the node of one, it would have to be named in text.
        if isinstance(self._client, Redis):
            return await self._execute(*parts)
        try:
            return await self._on_node(self._client, parts, key)
        except (OutcomeUnknown, Redirected) as error:
            # The client learns of a failover from the calls that it routes, which this is not.
            await self._settled(self._client.nodes_manager.initialize())
            if not isinstance(error, Redirected):
                raise
        return await self._on_node(self._client, parts, key)

    async def _on_node(
        self, client: RedisCluster, parts: Sequence[bytes | int], key: bytes | None
    ) -> Any:
        await self._settled(client.initialize())
        try:
            named: Any = key
            node: Any = (
                client.get_default_node() if key is None else client.get_node_from_key(named)
            )
        except Exception as error:
            raise NotSent("no node of the Redis cluster is known to have a key") from error
        return await self._settled(node.execute_command(*parts))

    async def _execute(self, *parts: Any) -> Any:
        client: Any = self._client
        return await self._settled(client.execute_command(*parts))

    async def _settled(self, call: Awaitable[Any]) -> Any:
        self._in_flight += 1
        try:
            return await call
        except MaxConnectionsError:
            ours: LinkError = Saturated("the client has no connection left")
        except Exception as error:
            ours = translated(error, was_sent=True)
        finally:
            self._in_flight -= 1
        # Out of the block: the server's words may quote a password, keys and values.
        raise ours

    async def _within(self, seconds: float, call: Coroutine[Any, Any, Any]) -> Any:
        self._calls += 1
        # A task of its own: what the client makes of being cancelled cannot hold the caller up.
        task = asyncio.create_task(call)
        try:
            await asyncio.wait([task], timeout=seconds)
            if not task.done():
                self._timeouts += 1
                raise OutcomeUnknown("no reply came in time")
        finally:
            if not task.done():
                task.cancel()
                self._ending.add(task)
                task.add_done_callback(self._ended)
        return task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._ending.discard(task)
        if not task.cancelled():
            task.exception()  # nobody waits for it any more

    def tail(self, key: bytes) -> Tail:
        """A reader of the stream at a key, on a connection of the client's pool."""
        return _ClientTail(self, key)

    def stats(self) -> Mapping[str, float]:
        """Counts since the link was made."""
        return {
            "calls_total": self._calls,
            "in_flight": self._in_flight,
            "timeouts_total": self._timeouts,
        }


class _ClientTail:
    """A tail through the client, which has a connection for each command that waits."""

    def __init__(self, link: ClientLink, key: bytes) -> None:
        self._link = link
        self._key = key

    async def read(
        self, position: bytes, *, count: int, block_seconds: float
    ) -> list[tuple[bytes, list[bytes]]]:
        """Waits for entries after a position."""
        milliseconds = max(1, int(block_seconds * 1000))
        parts = (b"XREAD", b"COUNT", count, b"BLOCK", milliseconds)
        reply = await self._link.call(
            *parts,
            b"STREAMS",
            self._key,
            position,
            timeout_seconds=block_seconds + _PATIENCE_SECONDS,
            key=self._key,
        )
        return entries_of(reply)

    async def aclose(self) -> None:
        """Holds nothing open: the connection is back in the client's pool."""
