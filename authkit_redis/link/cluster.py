"""A Redis Cluster as one event loop sees it: the slot map, and a node for each master."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any
from weakref import WeakSet

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from authkit_redis.link.channel import Channel
from authkit_redis.link.dialling import Dialler
from authkit_redis.link.errors import AccessRefused, LinkError, NotSent, Redirected, ReplyError
from authkit_redis.link.homes import OnFailure
from authkit_redis.link.node import Limits, Node
from authkit_redis.link.redis_py import translated
from authkit_redis.link.wire import Counts, Wire, clock_of

__all__ = ["ClusterHome", "SlotMap", "ask_for_slots"]

_BETWEEN_REFRESHES_SECONDS = 0.1

_UNKNOWN = NotSent("no node of the Redis cluster is known to have a key")

Address = tuple[str, int]
SlotMap = dict[int, Address]


async def ask_for_slots(hosts: list[Address], settings: Mapping[str, Any]) -> SlotMap:
    """The master of each slot, as the first host to answer tells it.

    Raises:
        AccessRefused: the user may not ask.
        NotSent: none did; the text says why.
    """
    nodes = [ClusterNode(host, port) for host, port in hosts]
    # Made for each question, so that nothing of it belongs to an event loop.
    cluster = RedisCluster(startup_nodes=nodes, require_full_coverage=False, **settings)
    manager = cluster.nodes_manager
    try:
        await manager.initialize()
        masters = {slot: nodes[0] for slot, nodes in manager.slots_cache.items()}
        return {slot: (node.host, int(node.port)) for slot, node in masters.items()}
    except Exception as error:
        problem = _unanswered(error, is_tls="ssl" in settings)
    finally:
        await manager.aclose()
        await manager.aclose("startup_nodes")
    # Out of the block: the server's words may quote the password, and would hang on to it.
    raise problem


def _unanswered(error: Exception, *, is_tls: bool) -> LinkError:
    problem = translated(error, was_sent=False, is_tls=is_tls)
    if not isinstance(problem, ReplyError) or isinstance(problem, AccessRefused):
        return problem
    if problem.code == "ERR":
        return NotSent("the Redis server is no cluster: redis:// or rediss:// is for a single one")
    return NotSent(f"the Redis cluster has not told who has a key: {problem}")


class ClusterHome:
    """The masters of a cluster, each with a channel of its own.

    The slot map is asked for when it is needed first, when a node says that a slot has moved
    and when a connection is lost; one question at a time.  Meanwhile the old map serves.
    """

    def __init__(
        self,
        dialler: Dialler,
        ask: Callable[[list[Address]], Awaitable[SlotMap]],
        hosts: list[Address],
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        counts: Counts,
        on_failure: OnFailure,
        remap: Callable[[Address], Address] | None = None,
    ) -> None:
        self.loop = loop
        self.now: Callable[[], float] = clock_of(loop)
        self.only: Node | None = None
        self._dialler = dialler
        self._ask = ask
        self._hosts = hosts
        self._limits = limits
        self._counts = counts
        self._on_failure = partial(on_failure, self)
        self._remap = remap
        self._nodes: dict[Address, Node] = {}
        self._by_slot: dict[int, Node] = {}
        # Those of tails, and those that have left while a call was in flight on them.
        self._others: WeakSet[Node] = WeakSet()
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
        self._others.add(other)
        return other

    def in_flight(self) -> int:
        """How many calls wait."""
        channels = [node.channel for node in self._nodes.values()]
        return sum(channel.in_flight for channel in channels if channel is not None)

    def nodes(self) -> list[Node]:
        """All that have, or may have, a connection."""
        return [*self._nodes.values(), *self._others]

    async def aclose(self) -> None:
        """Closes all channels in good order, for good."""
        self._is_closed = True
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
        for node in self.nodes():
            await node.aclose()

    def _node_at(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._make(address)
        return node

    def _make(self, address: Address, *, endless: bool = False) -> Node:
        host, port = address

        async def dial(channel: Channel) -> Wire:
            return await self._dialler.dial(channel, host=host, port=port)

        return Node(
            dial,
            self.loop,
            self._limits.for_blocking() if endless else self._limits,
            self._counts,
            on_failure=None if endless else self._on_failure,
            on_lost=self._refresh_soon,
        )

    def _refresh_soon(self) -> None:
        if not self._is_closed and self._refreshing is None:
            self._refreshing = self.loop.create_task(self._refresh(), context=Context())

    async def _refresh(self) -> None:
        try:
            await asyncio.sleep(self._refreshed_at + _BETWEEN_REFRESHES_SECONDS - self.now())
            known = [address for address in self._nodes if address not in self._hosts]
            self._apply(await self._ask([*self._hosts, *known]))
            self._why = _UNKNOWN
        except LinkError as error:
            self._why = error  # the old map stays, and whoever misses a slot in it says so
        finally:
            self._refreshed_at = self.now()
            self._refreshing = None

    def _apply(self, slots: SlotMap) -> None:
        masters = set(slots.values())
        for address in [address for address in self._nodes if address not in masters]:
            gone = self._nodes.pop(address)
            gone.retire()
            self._others.add(gone)
        self._by_slot = {slot: self._node_at(address) for slot, address in slots.items()}
