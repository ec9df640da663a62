"""A plain connection to a Redis server, for what a test does behind the project's back."""

from __future__ import annotations

import socket
from typing import Any

import hiredis

__all__ = ["REPLY_SECONDS", "Connection"]

REPLY_SECONDS = 5.0
"""How long a reply may take, unless a test says otherwise."""


class Connection:
    """A connection that blocks: one command, one reply.

    Args:
        address: host and port, or the path of a Unix socket.
        password: of the default user.
        timeout_seconds: of the connecting and of each wait for bytes; then `TimeoutError`.
    """

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        password: str | None = None,
        timeout_seconds: float = REPLY_SECONDS,
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._reader = hiredis.Reader()
        try:
            self._socket.settimeout(timeout_seconds)
            self._socket.connect(address)
            if password is not None:
                self.command("AUTH", password)
        except BaseException:
            self._socket.close()
            raise

    def command(self, *words: str | bytes | float) -> Any:
        """The server's reply: bytes, an int, a list or None.

        Raises:
            hiredis.ReplyError: the reply is an error.
            OSError: no reply.
        """
        self._socket.sendall(hiredis.pack_command(words))
        reply = self.reply()
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def reply(self) -> Any:
        """The next reply; an error is returned."""
        while (reply := self._reader.gets()) is False:
            if not (received := self._socket.recv(65_536)):
                raise ConnectionError("the server closed the connection")
            self._reader.feed(received)
        return reply

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
