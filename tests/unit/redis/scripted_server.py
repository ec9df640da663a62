"""A server on loopback that says what a test has it say, where a real Redis would not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import hiredis

__all__ = ["Answer", "Peer", "ScriptedServer", "bulk"]

HELLO = b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n"


def bulk(text: bytes) -> bytes:
    """A string as RESP writes it."""
    return b"$%d\r\n%s\r\n" % (len(text), text)


class Peer:
    """One connection, as the server has it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    def say(self, data: bytes) -> None:
        """Sends at once."""
        if not self.writer.is_closing():
            self.writer.write(data)

    def reset(self) -> None:
        """Ends the connection without ceremony."""
        self.writer.transport.abort()


# What to send for a command, if anything.
Answer = Callable[[list[Any], Peer], bytes | None]


class ScriptedServer:
    """Answers handshakes by itself, and everything else as it is told."""

    def __init__(self, answer: Answer, *, hello: bytes | None = HELLO) -> None:
        self.answer = answer
        self.hello = hello
        self.commands: list[list[Any]] = []
        self.peers: list[Peer] = []

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for peer in self.peers:
            peer.reset()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(writer)
        self.peers.append(peer)
        parser = hiredis.Reader()
        try:
            while data := await reader.read(65536):
                parser.feed(data)
                while (command := parser.gets()) is not False:
                    self._answer(command, peer)
        except OSError:
            pass
        finally:
            writer.close()

    def _answer(self, command: list[Any], peer: Peer) -> None:
        if command[0] == b"HELLO":
            if self.hello is not None:
                peer.say(self.hello)
        elif command[0] == b"CLIENT":
            peer.say(b"+OK\r\n")
        else:
            self.commands.append(command)
            said = self.answer(command, peer)
            if said is not None:
                peer.say(said)
