"""Makes a server that a test has used as if it were just started, within milliseconds."""

from __future__ import annotations

import hiredis

from tests.redis.connection import Connection
from tests.redis.servers import RedisServer

__all__ = ["Pristine"]

_EVERYWHERE = (
    ("SCRIPT", "FLUSH", "SYNC"),
    ("SLOWLOG", "RESET"),
    ("ACL", "LOG", "RESET"),
    ("CONFIG", "RESETSTAT"),
)
_ON_MASTERS = (("FLUSHALL", "SYNC"), ("FUNCTION", "FLUSH", "SYNC"))
_OF_THE_ROLE = {b"replicaof", b"slaveof"}


class Pristine:
    """Remembers what a running server is like, and makes it so again.

    Args:
        server: running, and not used yet.
        keeps_role: whether it may have become a replica, or a master, and stays what it is.
    """

    def __init__(self, server: RedisServer, *, keeps_role: bool = False) -> None:
        self.server = server
        self._keeps_role = keeps_role
        with server.connect() as connection:
            self._settings = _settings(connection)
            self._users = connection.command("ACL", "LIST")

    def restore(self) -> None:
        """Takes back what was done to the server; one that does not play along is restarted."""
        self.server.thaw()
        if self.server.is_running:
            try:
                self.clean()
            except (OSError, hiredis.ReplyError):
                pass
            else:
                return
        self.server.restart()

    def clean(self) -> None:
        """Takes back what was done to a server that still answers.

        Raises:
            OSError: it does not.
            hiredis.ReplyError: it refuses.
        """
        with self.server.connect(timeout_seconds=0.5) as connection:
            connection.command("CLIENT", "UNPAUSE")
            is_master = connection.command("ROLE")[0] == b"master"
            if not is_master and not self._keeps_role:
                connection.command("REPLICAOF", "NO", "ONE")
                is_master = True
            self._restore_users(connection)
            for name, value in _settings(connection).items():
                if value != self._settings[name] and name not in _OF_THE_ROLE:
                    connection.command("CONFIG", "SET", name, self._settings[name])
            _hang_up(connection)
            for words in (*_EVERYWHERE, *(_ON_MASTERS if is_master else ())):
                connection.command(*words)

    def _restore_users(self, connection: Connection) -> None:
        now = connection.command("ACL", "LIST")
        if now == self._users:
            return
        known = {_name_of(user) for user in self._users}
        for user in now:
            if _name_of(user) not in known:
                connection.command("ACL", "DELUSER", _name_of(user))
        for user in self._users:
            # "user NAME RULE RULE ...": what ACL LIST writes, ACL SETUSER reads.
            connection.command("ACL", "SETUSER", _name_of(user), "reset", *user.split()[2:])


def _name_of(user: bytes) -> bytes:
    return user.split()[1]


def _hang_up(connection: Connection) -> None:
    """Closes every client's connection, but not those of replicas, of Sentinels, and this one."""
    own_id = connection.command("CLIENT", "ID")
    for kind in ("normal", "pubsub"):
        for line in connection.command("CLIENT", "LIST", "TYPE", kind).decode().splitlines():
            client = dict(word.partition("=")[::2] for word in line.split())
            if int(client["id"]) != own_id and not client["name"].startswith("sentinel-"):
                connection.command("CLIENT", "KILL", "ID", client["id"])


def _settings(connection: Connection) -> dict[bytes, bytes]:
    reply = connection.command("CONFIG", "GET", "*")
    return dict(zip(reply[::2], reply[1::2], strict=True))
