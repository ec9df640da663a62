"""What a Redis server is told to do, as it says itself."""

from __future__ import annotations

import ast
import re
import socket
from threading import Thread
from typing import Self

from tests.redis.servers import RedisServer

__all__ = ["Monitor"]

_SET = re.compile(rb'\+\S+ \[\d+ lua\] "SET" ("[^"]*") ("(?:[^"\\]|\\.)*")', re.IGNORECASE)


class Monitor:
    """Listens to a server from entering to leaving it."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._heard = bytearray()

    def __enter__(self) -> Self:
        self._socket = socket.create_connection(("127.0.0.1", self._server.port))
        self._socket.sendall(b"MONITOR\r\n")
        self._heard += self._socket.recv(5)
        self._thread = Thread(target=self._listen)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # What was done before this command comes before it.
        self._server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        try:
            while data := self._socket.recv(1 << 20):
                self._heard += data
        except ConnectionError:
            pass

    def values_set(self, key: bytes) -> list[bytes]:
        """What scripts have set a key to, in order."""
        named = b'"%s"' % key
        return [
            ast.literal_eval(f"b{value.decode()}")
            for name, value in _SET.findall(self._heard)
            if name == named
        ]
