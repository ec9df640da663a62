"""A fleet on Sentinels, and on a cluster: real failovers."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Generic, TypeVar

from tests.redis.cluster import RedisCluster
from tests.redis.fleet.history import History, Interval, Loss
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer
from tests.redis.topology import Topology, eventually

__all__ = ["ClusterGround", "SentinelGround"]

_NEVER = float("-inf")
_SHORT_FREEZE_SECONDS = 0.4
"""Not long enough to be taken for dead: two masters at once are not what the promise is about."""

_T = TypeVar("_T", bound=Topology)


class _TopologyGround(ABC, Generic[_T]):
    """One topology, which is brought back to health after each schedule.

    Args:
        binary: the servers' program; by default that of the fast tier.
    """

    def __init__(self, binary: Path | None = None) -> None:
        self._binary = binary
        self._topology: _T | None = None
        self._history: History
        self._prefix = ""

    @property
    def topology(self) -> _T:
        assert self._topology is not None
        return self._topology

    async def begin(self, history: History, steps: set[str], prefix: str) -> None:
        """A topology that is well, and empty."""
        self._history, self._prefix = history, prefix
        if self._topology is None:
            self._topology = self._new()
            await asyncio.to_thread(self._topology.build)
        else:
            await asyncio.to_thread(self._topology.restore)

    async def url_for(self, worker: str) -> str:
        """The same for all."""
        return self._url()

    async def end(self) -> None:
        """The next schedule finds it restored."""

    async def close(self) -> None:
        """Ends the topology."""
        if self._topology is not None:
            await asyncio.to_thread(self._topology.close)

    # Faults ---------------------------------------------------------------------------------------

    async def fail_over(self) -> None:
        """The master dies, its replica is promoted, and the dead one comes back as its replica."""
        await asyncio.to_thread(self._wait_until_ok)
        master = await asyncio.to_thread(self._master)
        kept_until = await asyncio.to_thread(self._in_step, master)
        start = time.monotonic()
        await asyncio.to_thread(master.kill)
        end = time.monotonic()
        await asyncio.to_thread(self._wait_for_new_master, master)
        reachable = time.monotonic()
        self._history.outages.append(Interval(start, reachable - 0.001, "failing over"))
        self._history.losses.append(Loss("failed over", kept_until, start, end, start, reachable))
        await asyncio.to_thread(master.start)

    async def flush(self) -> None:
        """Somebody empties the master."""
        master = await asyncio.to_thread(self._master)
        start = time.monotonic()
        await asyncio.to_thread(master.command, "FLUSHALL")
        end = time.monotonic()
        self._history.losses.append(Loss("flushed", _NEVER, start, end, end, end))

    async def freeze_server(self, *, seconds: float) -> None:
        """The master answers nothing for a moment."""
        master = await asyncio.to_thread(self._master)
        start = time.monotonic()
        master.freeze()
        await asyncio.sleep(min(seconds, _SHORT_FREEZE_SECONDS))
        master.thaw()
        self._history.outages.append(Interval(start, time.monotonic(), "frozen"))

    async def kill_connections(self) -> None:
        """Every connection of a client to the master breaks."""
        await self._on_master("CLIENT", "KILL", "TYPE", "normal")

    async def flush_scripts(self) -> None:
        """The master forgets its scripts."""
        await self._on_master("SCRIPT", "FLUSH")

    # Its own means --------------------------------------------------------------------------------

    async def _on_master(self, *words: Any) -> None:
        master = await asyncio.to_thread(self._master)
        await asyncio.to_thread(master.command, *words)

    def _in_step(self, master: RedisServer) -> float:
        """Waits until the replica has all that the master had at some moment, and tells which."""
        replica = self._replica_of(master)
        moment = time.monotonic()
        offset = int(master.info("replication")["master_repl_offset"])

        def has_it() -> bool:
            return int(replica.info("replication").get("slave_repl_offset", -1)) >= offset

        eventually("a replica in step", has_it, timeout_seconds=5)
        return moment

    @abstractmethod
    def _new(self) -> _T: ...

    @abstractmethod
    def _url(self) -> str: ...

    @abstractmethod
    def _master(self) -> RedisServer: ...

    @abstractmethod
    def _replica_of(self, master: RedisServer) -> RedisServer: ...

    @abstractmethod
    def _wait_until_ok(self) -> None: ...

    @abstractmethod
    def _wait_for_new_master(self, old: RedisServer) -> None: ...


class SentinelGround(_TopologyGround[SentinelTopology]):
    """A master, its replica and three Sentinels."""

    def _new(self) -> SentinelTopology:
        return SentinelTopology(self._binary)

    def _url(self) -> str:
        return self.topology.url

    def _master(self) -> RedisServer:
        return self.topology.master

    def _replica_of(self, master: RedisServer) -> RedisServer:
        return next(server for server in self.topology.pair if server is not master)

    def _wait_until_ok(self) -> None:
        self.topology.wait_until_ok()

    def _wait_for_new_master(self, old: RedisServer) -> None:
        self.topology.wait_for_new_master(old)


class ClusterGround(_TopologyGround[RedisCluster]):
    """Three masters with a replica each; what happens, happens to the shard of the fleet's keys."""

    def _new(self) -> RedisCluster:
        return RedisCluster(self._binary)

    def _url(self) -> str:
        return self.topology.url

    def _master(self) -> RedisServer:
        return self.topology.master_of(self._key())

    def _key(self) -> bytes:
        """One of the fleet's keys, as all of them are in one slot."""
        for node in self.topology.running:
            for key in node.command("KEYS", f"*{self._prefix}*"):
                assert isinstance(key, bytes)
                return key
        return self._prefix.encode()

    def _replica_of(self, master: RedisServer) -> RedisServer:
        return self.topology.replica_of(master)

    def _wait_until_ok(self) -> None:
        self.topology.wait_until_ok()

    def _wait_for_new_master(self, old: RedisServer) -> None:
        self.topology.wait_for_new_master(old)
