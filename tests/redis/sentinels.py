"""A Redis master with a replica, and three Sentinels that watch them, on loopback."""

from __future__ import annotations

from pathlib import Path

from tests.redis.pristine import Pristine
from tests.redis.servers import RedisServer
from tests.redis.topology import Topology, eventually

__all__ = ["SERVICE", "Sentinel", "SentinelTopology"]

SERVICE = "authkit"
"""What the Sentinels call the master they watch."""

_SENTINELS = 3
_SECONDS = 20.0
_SETTINGS = {
    "down-after-milliseconds": 800,
    "failover-timeout": 3_000,
    "parallel-syncs": 1,
}
# Sentinels look, and tell each other, every few seconds, which no test should wait for.  The period
# of their pings stays: a replica counts as lost after five of them, and then nobody is promoted.
_PERIODS = {"info-period": 200, "publish-period": 200}


class Sentinel(RedisServer):
    """One Sentinel.

    Args:
        binary: the server's program; Sentinel is one of its modes.
        master: what it watches; running.
    """

    def __init__(self, binary: Path | None, master: RedisServer) -> None:
        super().__init__(binary)
        self.forget_all_but(master)

    def forget_all_but(self, master: RedisServer) -> None:
        """What it starts from next time: this master, and no knowledge of anybody else."""
        lines = [f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} 2"]
        if master.password:
            lines.append(f"sentinel auth-pass {SERVICE} {master.password}")
        lines += [f"sentinel {name} {SERVICE} {value}" for name, value in _SETTINGS.items()]
        self._configuration.write_text("\n".join(lines) + "\n", encoding="ascii")

    def start(self) -> None:
        super().start()
        for name, milliseconds in _PERIODS.items():
            self.command("SENTINEL", "DEBUG", name, milliseconds)

    def master_port(self) -> int:
        """Where it sends clients of the service."""
        reply = self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE, timeout_seconds=1.0)
        return int(reply[1])

    def about(self, what: str) -> list[dict[str, str]]:
        """What it knows of the service's `MASTER`, its `REPLICAS` or its other `SENTINELS`."""
        reply = self.command("SENTINEL", what, SERVICE, timeout_seconds=1.0)
        found = [reply] if what == "MASTER" else reply
        texts = [[word.decode() for word in words] for words in found]
        return [dict(zip(words[::2], words[1::2], strict=True)) for words in texts]

    @property
    def _configuration(self) -> Path:
        return self.folder / "sentinel.conf"

    def _command_line(self) -> list[str]:
        options = super()._command_line()
        return [str(self._configuration), "--sentinel", *options]


class SentinelTopology(Topology):
    """A master, its replica, and three Sentinels that agree that both are well.

    Args:
        binary: the servers' program; by default that of the fast tier.
        password: what the master and the replica ask for; the Sentinels ask for nothing.
    """

    def __init__(self, binary: Path | None = None, *, password: str | None = None) -> None:
        self._binary = binary
        self._password = password
        self._pristine: list[Pristine] = []
        self.pair: list[RedisServer] = []
        """The two servers, whoever is the master."""
        self.sentinels: list[Sentinel] = []

    @property
    def servers(self) -> list[RedisServer]:
        return [*self.pair, *self.sentinels]

    @property
    def url(self) -> str:
        """`redis+sentinel://` with all Sentinels, and the service."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        userinfo = f":{self._password}@" if self._password else ""
        return f"redis+sentinel://{userinfo}{hosts}/{SERVICE}"

    @property
    def master(self) -> RedisServer:
        """The master that the Sentinels which run agree on.

        Raises:
            ServerError: they do not agree in time.
        """
        return eventually("an agreed master", self._agreed_master, timeout_seconds=_SECONDS)

    @property
    def replica(self) -> RedisServer:
        """The other one."""
        return self._other(self.master)

    def kill_master(self) -> RedisServer:
        """Kills the master, and returns it; nothing is promoted yet."""
        master = self.master
        master.kill()
        return master

    def wait_for_new_master(
        self, old: RedisServer, *, timeout_seconds: float = _SECONDS
    ) -> RedisServer:
        """The promoted replica of a master that was killed or frozen.

        Returns:
            The new master, once it is one, and all Sentinels that run send clients there.

        Raises:
            ServerError: it takes longer.
        """
        replica = self._other(old)

        def promoted() -> bool:
            return self._agreed_master() is replica and replica.command("ROLE")[0] == b"master"

        eventually("a promoted replica", promoted, timeout_seconds=timeout_seconds)
        return replica

    def failover(self) -> RedisServer:
        """Swaps the roles with nobody killed (SENTINEL FAILOVER).

        Returns:
            The new master.
        """
        old = self.master
        self.sentinels[0].command("SENTINEL", "FAILOVER", SERVICE)
        return self.wait_for_new_master(old)

    def wait_until_ok(self, *, timeout_seconds: float = _SECONDS) -> None:
        """Returns once all run, the replica is in step, and the Sentinels know it all.

        Raises:
            ServerError: it takes longer.
        """
        eventually("a service that is well", self._is_well, timeout_seconds=timeout_seconds)

    def build(self) -> None:
        options = ("--repl-diskless-sync-delay", "0", "--masterauth", self._password or "")
        self.pair = [RedisServer(self._binary, *options, password=self._password) for _ in range(2)]
        master, replica = self.pair
        self.sentinels = []
        for server in self.pair:
            server.start()
        self._pristine = [Pristine(server, keeps_role=True) for server in self.pair]
        replica.command("REPLICAOF", "127.0.0.1", master.port)
        for _ in range(_SENTINELS):
            self.sentinels.append(Sentinel(self._binary, master))
            self.sentinels[-1].start()
        self.wait_until_ok()

    def mend(self) -> None:
        if not self._is_well():
            self._begin_again()
        for server in self._pristine:
            server.clean()
        self.wait_until_ok(timeout_seconds=self.patience_seconds)

    def _begin_again(self) -> None:
        """Says who is the master, and has Sentinels without memories find the others out."""
        for sentinel in self.sentinels:
            sentinel.kill()
        masters = [server for server in self.pair if server.command("ROLE")[0] == b"master"]
        master = masters[0] if masters else self.pair[0]
        master.command("REPLICAOF", "NO", "ONE")
        self._other(master).command("REPLICAOF", "127.0.0.1", master.port)
        for sentinel in self.sentinels:
            sentinel.forget_all_but(master)
            sentinel.start()
        self.wait_until_ok(timeout_seconds=self.patience_seconds)

    def _other(self, server: RedisServer) -> RedisServer:
        first, second = self.pair
        return second if server is first else first

    def _agreed_master(self) -> RedisServer | None:
        ports = {sentinel.master_port() for sentinel in self.sentinels if sentinel in self.running}
        found = [server for server in self.pair if {server.port} == ports]
        return found[0] if found else None

    def _is_well(self) -> bool:
        master = self._agreed_master()
        if master is None or len(self.running) != len(self.servers):
            return False
        role, offset, _ = master.command("ROLE")
        replica_role = self._other(master).command("ROLE")
        return (
            role == b"master"
            and replica_role[0] == b"slave"
            and replica_role[1:] == [b"127.0.0.1", master.port, b"connected", offset]
            and all(self._knows_all(sentinel, master) for sentinel in self.sentinels)
        )

    def _knows_all(self, sentinel: Sentinel, master: RedisServer) -> bool:
        (watched,) = sentinel.about("MASTER")
        replicas, others = sentinel.about("REPLICAS"), sentinel.about("SENTINELS")
        return (
            watched["flags"] == "master"
            and [(replica["flags"], replica["port"]) for replica in replicas]
            == [("slave", str(self._other(master).port))]
            and replicas[0]["master-link-status"] == "ok"
            and [other["flags"] for other in others] == ["sentinel"] * (_SENTINELS - 1)
        )
