"""A Redis Cluster as one event loop sees it: the slot map, and a node for each master."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial

from redis.crc import key_slot

from authkit_redis.link.channel import Channel
from authkit_redis.link.dialling import Dialler
from authkit_redis.link.errors import LinkError, NotSent, Redirected
from authkit_redis.link.first_answer import Address
from authkit_redis.link.homes import OnFailure, close_all, open_ones
from authkit_redis.link.node import Limits, Node
from authkit_redis.link.slot_map import Remap, SlotMap, ask_for_slots
from authkit_redis.link.wire import Counts, Wire, clock_of

__all__ = ["ClusterHome"]

_BETWEEN_REFRESHES_SECONDS = 0.1

_UNKNOWN = NotSent("no node of the Redis cluster is known to have a key")


class ClusterHome:
    """The masters of a cluster, each with a channel of its own.

    The slot map is asked for when it is needed first, when a node says that a slot has moved
    and when a connection is lost; one question at a time.  Meanwhile the old map serves.
    """

    def __init__(
        self,
        dialler: Dialler,
        hosts: list[Address],
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        counts: Counts,
        on_failure: OnFailure,
        remap: Remap | None = None,
    ) -> None:
        self.loop = loop
        self.now: Callable[[], float] = clock_of(loop)
        self.only: Node | None = None
        self._dialler = dialler
        self._hosts = hosts
        self._limits = limits
        self._counts = counts
        self._on_failure = partial(on_failure, self)
        self._remap = remap
        self._nodes: dict[Address, Node] = {}
        self._by_slot: dict[int, Node] = {}
        self._of_tails: list[Node] = []
        # Those that have left while a call was in flight on them.
        self._gone: list[Node] = []
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = -_BETWEEN_REFRESHES_SECONDS
        self._why: LinkError = _UNKNOWN
        self._is_closed = False

    def node_of(self, key: bytes | None) -> Node:
        """The master that has a key; of no key, any."""
        if key is None:
            node = next(iter(self._nodes.values()), None)
        else:
            node = self._by_slot.get(key_slot(key))
        if node is None:
            raise _UNKNOWN.copy(None)
        return node

    async def located(self, key: bytes | None, deadline: float) -> Node:
        """The master that has a key, after a refresh where one is due or under way.

        Raises:
            LinkError: none is known to; if nobody could be asked, it says why.
        """
        try:
            node = self.node_of(key)
        except NotSent:
            self._refresh_soon()
        else:
            if self._refreshing is None:
                return node
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing], timeout=max(0.0, deadline - self.now()))
        with suppress(NotSent):
            return self.node_of(key)
        raise self._why.copy(self._why.__cause__)

    def redirected(self, error: Redirected, node: Node | None) -> Node:
        """The node that another one has named."""
        host = error.host
        if not host and node is not None:
            host = next((at[0] for at, each in self._nodes.items() if each is node), "")
        if not host:
            raise error
        address = (host, error.port)
        named = self._node_at(self._remap(address) if self._remap else address)
        if error.code == "MOVED":
            self._by_slot[error.slot] = named
            self._refresh_soon()
        return named

    def demoted(self, node: Node) -> None:
        """A node takes no writes any more: another one has its slots by now."""
        node.retire()
        self._refresh_soon()

    def new_node(self, node: Node) -> Node:
        """Another node object for the same server."""
        address = next((at for at, each in self._nodes.items() if each is node), None)
        if address is None:
            raise NotSent("a node of the Redis cluster is gone")
        other = self._make(address, endless=True)
        self._of_tails = [*open_ones(self._of_tails), other]
        return other

    def in_flight(self) -> int:
        """How many calls wait."""
        channels = [node.channel for node in self._nodes.values()]
        return sum(channel.in_flight for channel in channels if channel is not None)

    def nodes(self) -> list[Node]:
        """All that have, or may have, a connection."""
        return [*self._nodes.values(), *self._of_tails, *self._gone]

    async def aclose(self) -> None:
        """Closes all channels in good order, for good."""
        self._is_closed = True
        refreshing = self._refreshing
        if refreshing is not None:
            refreshing.cancel()
        await close_all(self.nodes())
        if refreshing is not None:
            await asyncio.wait([refreshing])

    def _node_at(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._make(address)
        return node

    def _make(self, address: Address, *, endless: bool = False) -> Node:
        host, port = address

        async def dial(channel: Channel) -> Wire:
            return await self._dialler.dial(channel, host=host, port=port)

        node = Node(
            dial,
            self.loop,
            self._limits.for_blocking() if endless else self._limits,
            self._counts,
            on_failure=None if endless else self._on_failure,
            on_lost=self._refresh_soon,
        )
        if self._is_closed:
            node.close()  # who asks has waited while the link was closed
        return node

    def _refresh_soon(self) -> None:
        if not self._is_closed and self._refreshing is None:
            self._refreshing = self.loop.create_task(self._refresh(), context=Context())

    async def _refresh(self) -> None:
        try:
            await asyncio.sleep(self._refreshed_at + _BETWEEN_REFRESHES_SECONDS - self.now())
            known = [address for address in self._nodes if address not in self._hosts]
            hosts = [*self._hosts, *known]
            self._apply(await ask_for_slots(self._dialler, hosts, self._remap))
            self._why = _UNKNOWN
        except LinkError as error:
            self._why = error  # the old map stays, and whoever misses a slot in it says so
        except Exception as error:
            self._why = NotSent(f"asking the Redis cluster failed: {type(error).__name__}")
        finally:
            self._refreshed_at = self.now()
            self._refreshing = None

    def _apply(self, slots: SlotMap) -> None:
        masters = set(slots.values())
        for address in [address for address in self._nodes if address not in masters]:
            gone = self._nodes.pop(address)
            gone.retire()
            self._gone.append(gone)
        self._gone = [gone for gone in self._gone if gone.has_connections]
        self._by_slot = {slot: self._node_at(address) for slot, address in slots.items()}
