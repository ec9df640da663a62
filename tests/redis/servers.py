"""Real Redis servers on loopback, each in a folder of its own, and gone when its test is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import hiredis

from tests.redis.certificates import Certificates
from tests.redis.connection import REPLY_SECONDS, Connection
from tests.redis.machine import ServerError, free_port, redis_server_binaries
from tests.redis.reaper import reaper

__all__ = ["RedisServer", "ServerError", "free_port", "redis_server_binaries"]

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.005


class RedisServer:
    """One server: a process that can be stopped, killed, frozen, and started again on its port.

    A context manager: starts on entry, and on exit is gone with its folder.

    Args:
        binary: the server's program; by default that of the fast tier.
        arguments: more of the command line, as `"--maxmemory", "2mb"`.
        port: where to listen; by default a free port, chosen at the first start.
        password: what `requirepass` asks for.
        certificates: with them the server speaks TLS on a port of its own, if it can.
    """

    def __init__(
        self,
        binary: Path | None = None,
        *arguments: str,
        port: int | None = None,
        password: str | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self.binary = binary or next(iter(redis_server_binaries().values()))
        self.arguments = [*arguments]
        self.password = password
        self.certificates = certificates
        self.is_frozen = False
        self.folder = reaper.new_folder()
        self._port = port
        self._tls_port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        assert self._port is not None, "the server was never started"
        return self._port

    @property
    def pid(self) -> int:
        """Of the process, or of the last one."""
        assert self._process is not None, "the server was never started"
        return self._process.pid

    @property
    def url(self) -> str:
        """Its `redis://` URL, with the password."""
        return f"redis://{self._userinfo}127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """Its `unix://` URL, with the password."""
        return f"unix://{self._userinfo}{self.socket_path}?db=0"

    @property
    def tls_port(self) -> int:
        """Where it speaks TLS on 127.0.0.1."""
        assert self._tls_port is not None, "the server was not given certificates"
        return self._tls_port

    @property
    def tls_url(self) -> str:
        """Its `rediss://` URL, with the password; `certificates.ca_path` is what to trust."""
        return f"rediss://{self._userinfo}127.0.0.1:{self.tls_port}/0"

    @property
    def socket_path(self) -> Path:
        """The Unix socket it listens on too."""
        return self.folder / "socket"

    @property
    def is_running(self) -> bool:
        """Whether there is a process; a frozen one is."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has written so far."""
        path = self.folder / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Starts the server, and returns once it answers."""
        assert not self.is_running, "the server is running already"
        self.folder.mkdir(exist_ok=True)
        may_choose = self._port is None
        for _ in range(5):
            self._port = self._port or free_port()
            self._process = self._launch()
            reaper.watch(self._process.pid)
            if self._answers():
                return
            self.kill()
            if not (may_choose and "Address already in use" in self.log):
                break
            self._port = self._tls_port = None
        raise ServerError(f"{self.binary} did not start:\n{self.log}")

    def stop(self) -> None:
        """Ends the server in an orderly way; nothing happens if it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server at once: clients see their connections reset or closed."""
        self._end(signal.SIGKILL)

    def restart(self, *, empty: bool = True) -> None:
        """Starts anew on the same port: without data and without scripts, or with its data.

        Args:
            empty: whether the data is lost, else the server saves it first.
        """
        if not empty:
            self.command("SAVE")
        self.kill()
        if empty:
            (self.folder / "dump.rdb").unlink(missing_ok=True)
        self.start()

    def freeze(self) -> None:
        """Stops the process: connections are still accepted by the system, and nothing answers."""
        assert self.is_running, "the server is not running"
        os.kill(self.pid, signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        """Lets a frozen server go on; harmless for one that is not."""
        if self.is_running:
            os.kill(self.pid, signal.SIGCONT)
        self.is_frozen = False

    def connect(self, *, timeout_seconds: float = REPLY_SECONDS) -> Connection:
        """A connection as the default user."""
        return Connection(
            ("127.0.0.1", self.port), password=self.password, timeout_seconds=timeout_seconds
        )

    def command(self, *words: str | bytes | float, timeout_seconds: float = REPLY_SECONDS) -> Any:
        """The reply to one command, on a connection of its own.

        Raises:
            hiredis.ReplyError: the reply is an error.
            OSError: no reply; `TimeoutError` after `timeout_seconds`.
        """
        with self.connect(timeout_seconds=timeout_seconds) as connection:
            return connection.command(*words)

    def info(self, section: str) -> dict[str, str]:
        """One section of INFO."""
        text = self.command("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def add_user(self, name: str, *rules: str, password: str) -> str:
        """Adds a user with these ACL rules (`"~authkit:*", "+@read"`), and returns their URL."""
        self.command("ACL", "SETUSER", name, "reset", "on", f">{password}", *rules)
        return f"redis://{name}:{password}@127.0.0.1:{self.port}/0"

    def close(self) -> None:
        """Ends the server, and removes its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        if not self.is_running:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _userinfo(self) -> str:
        return f":{self.password}@" if self.password else ""

    def _launch(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self.binary), *self._command_line(), *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _command_line(self) -> list[str]:
        options: dict[str, object] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "logfile": self.folder / "log",
            "unixsocket": self.socket_path,
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        if self.password:
            options["requirepass"] = self.password
        if self.certificates:
            self._tls_port = self._tls_port or free_port()
            options |= {
                "tls-port": self._tls_port,
                "tls-cert-file": self.certificates.certificate_path,
                "tls-key-file": self.certificates.key_path,
                "tls-ca-cert-file": self.certificates.ca_path,
                "tls-auth-clients": "no",
            }
        return [str(word) for name, value in options.items() for word in (f"--{name}", value)]

    def _answers(self) -> bool:
        """Waits until this very process answers on the port; False if it does not come to that."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.is_running:
            try:
                if self.info("server").get("process_id") == str(self.pid):
                    return True
            except (OSError, hiredis.ReplyError):
                pass
            time.sleep(_POLL_SECONDS)
        return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)  # a frozen process ends by SIGKILL only
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.is_frozen = False
        reaper.forget(self._process.pid)
