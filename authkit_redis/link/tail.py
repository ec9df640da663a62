"""Reading a stream as it grows, on a connection that nothing else waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from authkit_redis.link.errors import NotSent, OutcomeUnknown, Redirected, ReplyError
from authkit_redis.link.homes import Home
from authkit_redis.link.node import Limits, Node
from authkit_redis.link.wire import pack

__all__ = ["ChannelTail", "entries_of"]

_REDIRECTIONS = 4


def entries_of(reply: Any) -> list[tuple[bytes, list[bytes]]]:
    """The entries in a reply to XREAD on one stream, in RESP2's form or RESP3's.

    Raises:
        OutcomeUnknown: it is not such a reply.
    """
    if not reply:
        return []
    try:
        [entries] = reply.values() if isinstance(reply, dict) else [reply[0][1]]
        # A deleted entry has no fields; XREAD does not give it, but says so where it does.
        return [(entry[0], entry[1] or []) for entry in entries]
    except (IndexError, TypeError, ValueError) as error:
        raise OutcomeUnknown("the reply of the Redis server is not a stream's") from error


class ChannelTail:
    """A tail over a channel of its own; it follows its key when that moves to another node."""

    def __init__(self, home_of: Callable[[], Home], key: bytes, limits: Limits) -> None:
        self._home_of = home_of
        self._key = key
        self._limits = limits
        self._home: Home | None = None
        self._of: Node | None = None
        self._node: Node | None = None

    async def read(
        self, position: bytes, *, count: int, block_seconds: float
    ) -> list[tuple[bytes, list[bytes]]]:
        """Waits for entries after a position.

        Raises:
            LinkError: nothing was learnt; the next call connects anew.
        """
        milliseconds = max(1, int(block_seconds * 1000))
        packed = pack(
            (b"XREAD", b"COUNT", count, b"BLOCK", milliseconds, b"STREAMS", self._key, position)
        )
        home = self._home_of()
        patience = self._limits.connect_timeout_seconds + self._limits.reply_timeout_seconds
        deadline = home.loop.time() + block_seconds + patience
        try:
            return entries_of(await self._reply(home, packed, deadline))
        except ReplyError:
            raise
        except BaseException:
            # The server may still be blocked for it: the reply must not meet a later call.
            if self._node is not None:
                self._node.drop()
            raise

    async def _reply(self, home: Home, packed: bytes, deadline: float) -> Any:
        try:
            located = home.node_of(self._key)
        except NotSent:
            located = await home.located(self._key, deadline)
        for _ in range(_REDIRECTIONS):
            node = await self._node_for(home, located)
            await _past(node.retry_at, home.loop, deadline)
            try:
                return await node.ready_channel().send(packed, deadline)
            except Redirected as error:
                if error.code != "MOVED":
                    raise
                located = home.redirected(error, located)
        raise NotSent("the nodes of the Redis cluster do not agree on who has a key")

    async def _node_for(self, home: Home, located: Node) -> Node:
        if self._node is None or home is not self._home or located is not self._of:
            await self.aclose()
            self._home, self._of = home, located
            self._node = home.new_node(located)
        return self._node

    async def aclose(self) -> None:
        """Closes the connection; a later read would open another."""
        node, self._node = self._node, None
        if node is None or self._home is None:
            return
        if self._home.loop is asyncio.get_running_loop():
            await node.aclose()
        elif self._home.loop.is_closed():
            node.forget()
        else:
            self._home.loop.call_soon_threadsafe(node.close)

    def leave_to_the_parent(self) -> Node | None:
        """In a forked child: what must neither be used nor freed here."""
        node, self._node = self._node, None
        return node


async def _past(moment: float, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
    now = loop.time()
    if now < moment < deadline:
        await asyncio.sleep(moment - now)
