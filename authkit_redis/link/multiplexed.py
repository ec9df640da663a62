"""The link over connections of its own: each call written with all others of its tick."""

from __future__ import annotations

import asyncio
import os
from asyncio import get_running_loop
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self
from weakref import WeakSet

from authkit_redis.link.attempts import Attempts, Context
from authkit_redis.link.errors import LinkError
from authkit_redis.link.homes import Home, OnFailure
from authkit_redis.link.interface import Script, Tail
from authkit_redis.link.node import Limits, Node
from authkit_redis.link.tail import ChannelTail
from authkit_redis.link.waiting import Call
from authkit_redis.link.wire import Counts, pack

__all__ = ["MultiplexedLink", "NewHome"]

NewHome = Callable[[asyncio.AbstractEventLoop, Counts, OnFailure], Home]


class _Tenancy(NamedTuple):
    """What a link has in one event loop, and what tells it that the loop shuts down."""

    home: Home
    guard: AsyncGenerator[None]


class MultiplexedLink:
    """Calls over one connection per server, event loop and process.

    Args:
        new_home: makes what the link needs in an event loop.
        tail_limits: the limits of a tail's connection.
    """

    def __init__(
        self,
        new_home: NewHome,
        tail_limits: Limits,
    ) -> None:
        self._new_home = new_home
        self._tail_limits = tail_limits
        self._counts = Counts()
        self._homes: dict[asyncio.AbstractEventLoop, _Tenancy] = {}
        self._tails: WeakSet[ChannelTail] = WeakSet()
        self._latest: Home | None = None
        self._entered = 0
        self._repeating: set[asyncio.Task[None]] = set()
        _links.add(self)

    async def __aenter__(self) -> Self:
        self._entered += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered -= 1
        if self._entered == 0:
            tenancy = self._homes.get(asyncio.get_running_loop())
            if tenancy is not None:
                await tenancy.guard.aclose()

    def _home(self) -> Home:
        loop = asyncio.get_running_loop()
        tenancy = self._homes.get(loop)
        if tenancy is None:
            self._forget_closed_loops()
            home = self._new_home(loop, self._counts, self._repeat)
            tenancy = self._homes[loop] = _Tenancy(home, self._guard(home))
            # As far as its `yield`, where it waits for nothing.
            with suppress(StopIteration):
                tenancy.guard.__anext__().send(None)
        self._latest = tenancy.home
        return tenancy.home

    async def _guard(self, home: Home) -> AsyncGenerator[None]:
        """Closes a home when it is closed itself, which an event loop does when it shuts down."""
        try:
            yield
        finally:
            del self._homes[home.loop]
            if self._latest is home:
                self._latest = None
            await home.aclose()

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._homes if loop.is_closed()]:
            for node in self._homes.pop(loop).home.nodes():
                node.forget()

    def leave_to_the_parent(self) -> None:
        """In a forked child: starts afresh, without a word on the connections of the parent."""
        # Freeing them would take them out of the parent's selector, which the two share.
        _of_the_parent.append((self._homes, [tail.leave_to_the_parent() for tail in self._tails]))
        self._homes = {}
        self._latest = None
        self._repeating = set()

    def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes | int],
        *,
        timeout_seconds: float,
        is_repeatable: bool = False,
    ) -> Awaitable[Any]:
        """Runs a script on the node that has the first key; all keys are in one slot."""
        parts = (b"EVALSHA", script.sha1, len(keys), *keys, *args)
        context = (keys[0], parts, script, is_repeatable)
        return self._send(pack(parts), timeout_seconds, context)

    def prepared(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes | int],
        *,
        timeout_seconds: float,
    ) -> Callable[[], Awaitable[Any]]:
        """What runs a script as `run` does, each time it is called, but is packed only once."""
        parts = (b"EVALSHA", script.sha1, len(keys), *keys, *args)
        return partial(self._send, pack(parts), timeout_seconds, (keys[0], parts, script, False))

    def call(
        self, *parts: bytes | int, timeout_seconds: float, key: bytes | None = None
    ) -> Awaitable[Any]:
        """Runs one command that does not block; `key` chooses the node of a cluster."""
        return self._send(pack(parts), timeout_seconds, (key, parts, None, False))

    def _send(self, packed: bytes, timeout_seconds: float, context: Context) -> Awaitable[Any]:
        home = self._latest
        if home is None or home.loop is not get_running_loop():
            home = self._home()
        deadline = home.now() + timeout_seconds
        node = home.only
        try:
            if node is None:
                node = home.node_of(context[0])
            channel = node.channel
            if channel is None or not channel.is_usable:
                channel = node.ready_channel()
            # No coroutine stands between this future and whoever awaits it.
            return channel.send(packed, deadline, context)
        except LinkError as error:
            return Attempts(home, node, context, deadline).after(error)

    def _repeat(
        self,
        home: Home,
        node: Node,
        call: Call,
        error: LinkError,
    ) -> None:
        """Settles a future whose call has failed, after what may be tried again."""
        future, deadline, context = call
        attempts = Attempts(home, node, context, deadline)
        if attempts.is_over(error):
            future.set_exception(error)
            return
        task = home.loop.create_task(attempts.settle(future, error))
        self._repeating.add(task)
        task.add_done_callback(self._repeating.discard)
        future.add_done_callback(lambda _: task.cancel())

    def tail(self, key: bytes) -> Tail:
        """A reader of the stream at a key, on a connection of its own."""
        tail = ChannelTail(self._home, key, self._tail_limits)
        self._tails.add(tail)
        return tail

    def stats(self) -> Mapping[str, float]:
        """Counts since the link was made, over all event loops, and what is in flight."""
        counts = self._counts
        homes = [tenancy.home for tenancy in list(self._homes.values())]
        return {
            "calls_total": counts.calls,
            "connects_total": counts.connects,
            "disconnects_total": counts.disconnects,
            "in_flight": sum(home.in_flight() for home in homes),
            "late_replies_total": counts.late_replies,
            "saturated_total": counts.saturated,
            "timeouts_total": counts.timeouts,
        }


_links: WeakSet[MultiplexedLink] = WeakSet()
_of_the_parent: list[Any] = []


def _after_fork() -> None:
    for link in list(_links):
        link.leave_to_the_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
