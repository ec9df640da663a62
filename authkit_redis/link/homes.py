"""What a link has in one event loop: which node a key belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from authkit_redis.link.errors import LinkError, Redirected
from authkit_redis.link.node import Dial, Limits, Node
from authkit_redis.link.waiting import Call
from authkit_redis.link.wire import Counts, clock_of

__all__ = ["Home", "OnFailure", "SingleHome", "close_all", "open_ones"]

OnFailure = Callable[["Home", Node, Call, LinkError], None]


class Home(Protocol):
    """The nodes of a link as one event loop sees them.

    Attributes:
        now: the time of its clock.
        only: the node of every key, where there is but one.
    """

    loop: asyncio.AbstractEventLoop
    now: Callable[[], float]
    only: Node | None

    def node_of(self, key: bytes | None) -> Node:
        """The node that has a key.

        Raises:
            NotSent: it is not known yet, or not any more: `located` finds it out.
        """
        ...

    async def located(self, key: bytes | None, deadline: float) -> Node:
        """The node that has a key, asked for anew if need be.

        Raises:
            NotSent: it could not be found out in time.
        """
        ...

    def redirected(self, error: Redirected, node: Node | None) -> Node:
        """The node that another one has named."""
        ...

    def demoted(self, node: Node) -> None:
        """A node has answered that it takes no writes."""
        ...

    def new_node(self, node: Node) -> Node:
        """Another node object for the same server, for a connection that blocks."""
        ...

    def in_flight(self) -> int:
        """How many calls wait."""
        ...

    def nodes(self) -> list[Node]:
        """All that have, or may have, a connection."""
        ...

    async def aclose(self) -> None:
        """Closes all channels in good order."""
        ...


class SingleHome:
    """One server, or the one that the Sentinels name at the moment: every key is its own."""

    def __init__(
        self,
        dial: Dial,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        counts: Counts,
        on_failure: OnFailure,
    ) -> None:
        self.loop = loop
        self.now: Callable[[], float] = clock_of(loop)
        self._dial = dial
        self._limits = limits
        self._counts = counts
        self._of_tails: list[Node] = []
        self._node = Node(dial, loop, limits, counts, on_failure=partial(on_failure, self))
        self.only: Node | None = self._node

    def node_of(self, key: bytes | None) -> Node:
        """The only one."""
        return self._node

    async def located(self, key: bytes | None, deadline: float) -> Node:
        """The only one."""
        return self._node

    def redirected(self, error: Redirected, node: Node | None) -> Node:
        """A single server redirects when it is part of a cluster, which this link is not for."""
        raise error

    def demoted(self, node: Node) -> None:
        """Later calls connect anew, to the master of then."""
        node.retire()

    def new_node(self, node: Node) -> Node:
        """Another node object for the same server."""
        other = Node(self._dial, self.loop, self._limits.for_blocking(), self._counts)
        self._of_tails = [*open_ones(self._of_tails), other]
        if self._node.is_closed:
            other.close()  # who asks has waited while the link was closed
        return other

    def in_flight(self) -> int:
        """How many calls wait."""
        channel = self._node.channel
        return channel.in_flight if channel is not None else 0

    def nodes(self) -> list[Node]:
        """The one for calls, and those of tails."""
        return [self._node, *self._of_tails]

    async def aclose(self) -> None:
        """Closes all channels in good order, for good."""
        await close_all(self.nodes())


def open_ones(nodes: Sequence[Node]) -> list[Node]:
    """Those that are not closed: their owners may have forgotten them, the link must not."""
    return [node for node in nodes if not node.is_closed]


async def close_all(nodes: Sequence[Node]) -> None:
    """Closes nodes in good order; whoever is cancelled while it waits has begun to close each."""
    for node in nodes:
        node.close()
    for node in nodes:
        await node.aclose()
