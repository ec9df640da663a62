"""What the fleet stands on: the servers, and what can happen to them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any, Protocol

import hiredis

from tests.redis.fleet.forwarder import Forwarder
from tests.redis.fleet.history import History, Interval, Life, Loss
from tests.redis.servers import RedisServer

__all__ = ["Ground", "SingleGround"]

_NEVER = float("-inf")


class Ground(Protocol):
    """Servers for one schedule after the other.

    Each fault is a method, named as in the schedule, which enters itself in the history.
    """

    async def begin(self, history: History, steps: set[str], prefix: str) -> None:
        """Makes ready for a schedule: servers that are well, and empty."""
        ...

    async def url_for(self, worker: str) -> str:
        """Where this process finds the server."""
        ...

    async def end(self) -> None:
        """The schedule is over."""
        ...

    async def close(self) -> None:
        """Ends all servers."""
        ...


class SingleGround:
    """One server of the schedule's own, and at need a replica; each process has its own network.

    Args:
        binary: the servers' program; by default that of the fast tier.
    """

    def __init__(self, binary: Path | None = None) -> None:
        self._binary = binary
        self._networks: dict[str, Forwarder] = {}
        self._replica: RedisServer | None = None
        self._server: RedisServer
        self._history: History

    async def begin(self, history: History, steps: set[str], prefix: str) -> None:
        """Starts what these steps need."""
        self._history = history
        self._networks = {}
        self._replica = None
        options = ["--repl-diskless-sync-delay", "0"]
        if "restart_kept" in steps:
            options += ["--appendonly", "yes", "--appendfsync", "always"]
        self._server = RedisServer(self._binary, *options)
        await asyncio.to_thread(self._server.start)
        if "promote" in steps:
            self._replica = RedisServer(self._binary, *options)
            await asyncio.to_thread(self._replica.start)
            await self._on(self._replica, "REPLICAOF", "127.0.0.1", self._server.port)

    async def url_for(self, worker: str) -> str:
        """Where this process finds the server."""
        network = self._networks[worker] = Forwarder(self._server.port)
        await network.start()
        return f"redis://127.0.0.1:{network.port}/0"

    async def end(self) -> None:
        """Ends all of it."""
        for network in self._networks.values():
            network.close()
        for server in (self._server, self._replica):
            if server is not None:
                await asyncio.to_thread(server.close)

    async def close(self) -> None:
        """Nothing: it is over with each schedule."""

    # Faults ---------------------------------------------------------------------------------------

    async def restart_empty(self, *, seconds: float) -> None:
        """The server dies, and comes back later without anything."""
        start = time.monotonic()
        await asyncio.to_thread(self._server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._empty)
        await asyncio.to_thread(self._server.start)
        await self._replicate()
        self._out(start, "restarted empty")
        self._lost("restarted empty", _NEVER, start)

    async def restart_kept(self, *, seconds: float) -> None:
        """The server dies, and comes back with all that it had acknowledged."""
        start = time.monotonic()
        await asyncio.to_thread(self._server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._server.start)
        self._out(start, "restarted")

    async def restart_older(self, *, lag: float, seconds: float) -> None:
        """The server dies, and comes back with what it had written to its disk some time ago."""
        kept_until = await self._save()
        await asyncio.sleep(lag)
        start = time.monotonic()
        await asyncio.to_thread(self._server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._server.start)
        self._out(start, "restarted from its disk")
        if "--appendonly" not in self._server.arguments:
            self._lost("restarted from its disk", kept_until, start)

    async def flush(self) -> None:
        """Somebody empties the server."""
        start = time.monotonic()
        await self._on(self._server, "FLUSHALL")
        self._lost("flushed", _NEVER, start)

    async def delete_log(self) -> None:
        """Somebody deletes the log, and nothing else."""
        keys = await self._on(self._server, "KEYS", "*")
        start = time.monotonic()
        for key in keys:
            if await self._on(self._server, "TYPE", key) == b"stream":
                await self._on(self._server, "DEL", key)
        self._lost("log deleted", _NEVER, start)

    async def freeze_server(self, *, seconds: float) -> None:
        """The server answers nothing for a while, and then all of it."""
        start = time.monotonic()
        self._server.freeze()
        await asyncio.sleep(seconds)
        self._server.thaw()
        self._out(start, "frozen")

    async def kill_connections(self) -> None:
        """Every connection breaks, at the server's end."""
        await self._on(self._server, "CLIENT", "KILL", "TYPE", "normal")

    async def flush_scripts(self) -> None:
        """The server forgets its scripts."""
        await self._on(self._server, "SCRIPT", "FLUSH")

    async def step_clock(self) -> None:
        """The server's clock is set back by a minute: the log's ids are ahead of it from now on."""
        now, _ = await self._on(self._server, "TIME")
        for key in await self._on(self._server, "KEYS", "*"):
            if await self._on(self._server, "TYPE", key) == b"stream":
                ahead = f"{(int(now) + 60) * 1000}-0"
                with contextlib.suppress(hiredis.ReplyError):  # it is further ahead already
                    await self._on(self._server, "XSETID", key, ahead)

    async def fork(self, *, lag: float, is_whole: bool) -> None:
        """What was there a moment ago is there again: of everything, or of the log alone."""
        kept_until = time.monotonic()
        source = await self._on(self._server, "EVAL", _DUMP, 0, "" if is_whole else "stream")
        await asyncio.sleep(lag)
        start = time.monotonic()
        await self._on(self._server, "EVAL", _RESTORE, 0, "" if is_whole else "stream", *source)
        self._lost("put back to an older state", kept_until, start)

    async def promote(self, *, lag: float) -> None:
        """The replica, which lags, takes the place of the server, which dies."""
        assert self._replica is not None
        kept_until = await self._in_step()
        await self._on(self._replica, "REPLICAOF", "NO", "ONE")
        await asyncio.sleep(lag)
        start = time.monotonic()
        for network in self._networks.values():
            network.target = None
            network.drop()
        await asyncio.to_thread(self._server.kill)
        self._server, self._replica = self._replica, self._server
        for network in self._networks.values():
            network.target = self._server.port
        self._out(start, "a replica promoted")
        self._lost("a replica promoted", kept_until, start)
        await asyncio.to_thread(self._empty, self._replica)
        await asyncio.to_thread(self._replica.start)
        await self._replicate()

    async def cut_off(self, life: Life, *, seconds: float, is_broken: bool) -> None:
        """One process reaches the server no more, and then again."""
        network = self._networks[life.name]
        start = time.monotonic()
        network.stall()
        await asyncio.sleep(seconds)
        network.resume()
        if is_broken:
            network.drop()
        # It takes its calls' timeouts to notice that an old connection is dead.
        life.gaps.append(Interval(start, time.monotonic() + 1.2, "cut off"))

    # Its own means --------------------------------------------------------------------------------

    async def _on(self, server: RedisServer, *words: Any) -> Any:
        while True:
            try:
                return await asyncio.to_thread(server.command, *words)
            except hiredis.ReplyError as error:
                if not str(error).startswith("LOADING"):
                    raise
            await asyncio.sleep(0.01)

    def _empty(self, server: RedisServer | None = None) -> None:
        folder = (server or self._server).folder
        for pattern in ("dump.rdb", "*.aof", "*.manifest"):
            for file in folder.rglob(pattern):
                file.unlink()

    async def _replicate(self) -> None:
        if self._replica is not None:
            await self._on(self._replica, "REPLICAOF", "127.0.0.1", self._server.port)

    async def _save(self) -> float:
        """Writes everything to the disk, and tells as of when."""
        while True:
            moment = time.monotonic()
            try:
                await self._on(self._server, "SAVE")
            except hiredis.ReplyError:  # a save for the replica is under way
                await asyncio.sleep(0.02)
            else:
                return moment

    async def _in_step(self) -> float:
        """Waits until the replica has all that the server had at some moment, and tells which."""
        assert self._replica is not None
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            moment = time.monotonic()
            server = await asyncio.to_thread(self._server.info, "replication")
            replica = await asyncio.to_thread(self._replica.info, "replication")
            is_linked = replica.get("master_link_status") == "up"
            has = int(replica.get("slave_repl_offset", -1))
            if is_linked and has >= int(server["master_repl_offset"]):
                return moment
            await asyncio.sleep(0.02)
        return _NEVER

    def _lost(self, what: str, kept_until: float, start: float) -> None:
        end = time.monotonic()
        self._history.losses.append(Loss(what, kept_until, start, end, end, end))

    def _out(self, start: float, what: str) -> None:
        self._history.outages.append(Interval(start, time.monotonic(), what))


_DUMP = """
local dump = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if ARGV[1] == '' or redis.call('TYPE', key).ok == ARGV[1] then
    dump[#dump + 1] = key
    dump[#dump + 1] = redis.call('DUMP', key)
    dump[#dump + 1] = redis.call('PEXPIRETIME', key)
  end
end
return dump
"""

_RESTORE = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  if ARGV[1] == '' or redis.call('TYPE', key).ok == ARGV[1] then redis.call('DEL', key) end
end
for i = 2, #ARGV, 3 do
  local key, dump, expires_at = ARGV[i], ARGV[i + 1], math.max(0, ARGV[i + 2])
  redis.call('RESTORE', key, string.format('%.0f', expires_at), dump, 'ABSTTL')
end
"""
