"""A Redis Cluster of three masters, each with a replica, on loopback."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from tests.redis.cluster_member import Member
from tests.redis.machine import ServerError, free_port
from tests.redis.pristine import Pristine
from tests.redis.servers import RedisServer
from tests.redis.topology import Topology, eventually

__all__ = ["RedisCluster"]

_SHARDS = 3
_SLOTS = 16_384
_NODE_TIMEOUT_MILLISECONDS = 1_000
_SECONDS = 20.0


class RedisCluster(Topology):
    """Three masters and three replicas, which agree that the cluster is well.

    Args:
        binary: the servers' program; by default that of the fast tier.
        password: what all nodes ask for, each other too.
    """

    def __init__(self, binary: Path | None = None, *, password: str | None = None) -> None:
        self._binary = binary
        self._password = password
        self._pristine: list[Pristine] = []
        self.nodes: list[RedisServer] = []
        """The first three were the masters at first, node i + 3 was the replica of node i."""

    @property
    def servers(self) -> list[RedisServer]:
        return self.nodes

    @property
    def url(self) -> str:
        """`redis+cluster://` with all nodes, as somebody who configures a service would give it."""
        userinfo = f":{self._password}@" if self._password else ""
        return f"redis+cluster://{userinfo}" + ",".join(
            f"127.0.0.1:{node.port}" for node in self.nodes
        )

    def slot_of(self, key: str | bytes) -> int:
        """The hash slot of a key."""
        return int(self.running[0].command("CLUSTER", "KEYSLOT", key))

    def master_of(self, key: str | bytes) -> RedisServer:
        """The master of the key's slot, as the nodes that run see it.

        Raises:
            ServerError: they do not agree in time.
        """
        slot = self.slot_of(key)
        return eventually(
            f"an agreed master of slot {slot}", lambda: self._owner(slot), timeout_seconds=_SECONDS
        )

    def replica_of(self, master: RedisServer) -> RedisServer:
        """The other node of a master's shard."""
        index = self.nodes.index(master)
        return self.nodes[(index + _SHARDS) % len(self.nodes)]

    def kill_master_of(self, key: str | bytes) -> RedisServer:
        """Kills the master of the key's slot, and returns it; nothing is promoted yet."""
        master = self.master_of(key)
        master.kill()
        return master

    def wait_for_new_master(
        self, old: RedisServer, *, timeout_seconds: float = _SECONDS
    ) -> RedisServer:
        """The promoted replica of a master that was killed or frozen.

        Returns:
            The new master, once all nodes that run send clients there, and the cluster is well.

        Raises:
            ServerError: it takes longer.
        """
        replica = self.replica_of(old)

        def promoted() -> bool:
            views = [self._view(node) for node in self.running]
            owners = {member.port for view in views for member in view if member.owned}
            return (
                old.port not in owners
                and all(self._is_owner(replica, view) for view in views)
                and replica.command("ROLE")[0] == b"master"
                and self._all_say_ok()
            )

        eventually("a promoted replica", promoted, timeout_seconds=timeout_seconds)
        return replica

    def failover(self, key: str | bytes) -> RedisServer:
        """Swaps the roles in the key's shard with nobody killed (CLUSTER FAILOVER).

        Returns:
            The new master.
        """
        old = self.master_of(key)
        self.replica_of(old).command("CLUSTER", "FAILOVER")
        return self.wait_for_new_master(old)

    def begin_move(self, key: str | bytes) -> RedisServer:
        """Begins to move the key's slot: clients get ASK for keys that are not there (any more).

        Returns:
            The master that the slot is to have.
        """
        slot, source = self.slot_of(key), self.master_of(key)
        masters = [self.nodes[index] for index in range(len(self.nodes)) if self._is_master(index)]
        target = masters[(masters.index(source) + 1) % len(masters)]
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", _id_of(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", _id_of(target))
        return target

    def finish_move(self, key: str | bytes, target: RedisServer) -> None:
        """Moves the keys of the slot, and then the slot: clients get MOVED."""
        self._hand_over(self.slot_of(key), self.master_of(key), target)

    def wait_until_ok(self, *, timeout_seconds: float = _SECONDS) -> None:
        """Returns once all six nodes run, agree on who is who, and the replicas are in step.

        Raises:
            ServerError: it takes longer.
        """
        eventually("a cluster that is well", self._is_well, timeout_seconds=timeout_seconds)

    def build(self) -> None:
        self.nodes = [
            RedisServer(self._binary, *_arguments(self._password), password=self._password)
            for _ in range(2 * _SHARDS)
        ]
        for index, node in enumerate(self.nodes):
            node.start()
            node.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        first = self.nodes[0]
        for index, slots in enumerate(_shares()):
            self.nodes[index].command("CLUSTER", "ADDSLOTSRANGE", slots[0], slots[-1])
        for node in self.nodes[1:]:
            bus = node.command("CONFIG", "GET", "cluster-port")[1]
            first.command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        eventually("a cluster that has met", self._have_met, timeout_seconds=_SECONDS)
        for master, replica in zip(self.nodes[:_SHARDS], self.nodes[_SHARDS:], strict=True):
            replica.command("CLUSTER", "REPLICATE", _id_of(master))
        self.wait_until_ok()
        self._pristine = [Pristine(node, keeps_role=True) for node in self.nodes]

    def mend(self) -> None:
        eventually(
            "nodes that all know each other",
            self._all_sound,
            timeout_seconds=self.patience_seconds,
        )
        for node in self._pristine:
            node.clean()
        self._return_slots()
        self.wait_until_ok(timeout_seconds=self.patience_seconds)

    def _view(self, node: RedisServer) -> list[Member]:
        text = node.command("CLUSTER", "NODES", timeout_seconds=1.0).decode()
        return [Member.parse(line) for line in text.splitlines()]

    def _owner(self, slot: int) -> RedisServer | None:
        views = [self._view(node) for node in self.running]
        ports = {member.port for view in views for member in view if slot in member.owned}
        owners = [node for node in self.running if {node.port} == ports]
        return owners[0] if owners else None

    def _is_owner(self, node: RedisServer, view: Iterable[Member]) -> bool:
        return any(member.port == node.port and member.owned for member in view)

    def _is_master(self, index: int) -> bool:
        return bool(self.nodes[index].command("ROLE")[0] == b"master")

    def _all_say_ok(self) -> bool:
        return all(
            b"cluster_state:ok" in node.command("CLUSTER", "INFO", timeout_seconds=1.0)
            for node in self.running
        )

    def _have_met(self) -> bool:
        return all(
            len(view) == len(self.nodes) and all(member.is_sound for member in view)
            for view in map(self._view, self.nodes)
        )

    def _all_sound(self) -> bool:
        return self._have_met() and self._all_say_ok() and self._is_replicated()

    def _is_replicated(self) -> bool:
        """Whether each shard has one master, and a replica that has all its data."""
        for pair in zip(self.nodes[:_SHARDS], self.nodes[_SHARDS:], strict=True):
            roles = {role[0]: role for role in (node.command("ROLE") for node in pair)}
            if roles.keys() != {b"master", b"slave"} or roles[b"slave"][3] != b"connected":
                return False
            if roles[b"master"][1] != roles[b"slave"][4]:
                return False
        return True

    def _is_well(self) -> bool:
        views = [
            {(m.port, m.flags, m.master_id, m.slots) for m in self._view(n)} for n in self.nodes
        ]
        return self._all_sound() and all(view == views[0] for view in views)

    def _return_slots(self) -> None:
        """Gives slots that a test has moved, or begun to, back to their shards."""
        for node in self.nodes:
            for member in self._view(node):
                for text in member.slots:
                    if text.startswith("["):
                        slot = int(text[1:].partition("-")[0])
                        node.command("CLUSTER", "SETSLOT", slot, "STABLE")
        for index, share in enumerate(_shares()):
            home = self.nodes[index if self._is_master(index) else index + _SHARDS]
            (owned,) = (m.owned for m in self._view(home) if m.port == home.port)
            for slot in set(share) - owned:
                owner = self._owner(slot)
                if owner is None:
                    raise ServerError(f"slot {slot} is nobody's")
                self._hand_over(slot, owner, home)

    def _hand_over(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", _id_of(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", _id_of(target))
        auth = ("AUTH", self._password) if self._password else ()
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, *auth, "KEYS", *keys)
        for node in (target, source):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", _id_of(target))
        eventually(
            f"slot {slot} moved", lambda: self._owner(slot) is target, timeout_seconds=_SECONDS
        )


def _id_of(node: RedisServer) -> bytes:
    node_id = node.command("CLUSTER", "MYID")
    assert isinstance(node_id, bytes)
    return node_id


def _shares() -> list[range]:
    """The slots of each shard, as redis-cli deals them out."""
    bounds = [round(index * _SLOTS / _SHARDS) for index in range(_SHARDS + 1)]
    return [range(first, last) for first, last in pairwise(bounds)]


def _arguments(password: str | None) -> list[str]:
    options = {
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-node-timeout": _NODE_TIMEOUT_MILLISECONDS,
        "cluster-port": free_port(),
        "cluster-announce-ip": "127.0.0.1",
        # A shard is its two nodes: a replica neither moves elsewhere nor is too stale to follow.
        "cluster-allow-replica-migration": "no",
        "cluster-replica-validity-factor": 0,
        "repl-diskless-sync-delay": 0,
        "masterauth": password or "",
    }
    return [str(word) for name, value in options.items() for word in (f"--{name}", value)]
