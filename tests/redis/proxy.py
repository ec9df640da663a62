"""A network between a store and its server that holds replies back, in whole or in part."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]


class Proxy:
    """Forwards connections to a port of loopback, and mistreats what comes back from there.

    Attributes:
        delay_seconds: how late each piece of a reply is handed on, in order.
        is_silent: whether nothing is handed on; what the server says then is lost.
        halves: how many pieces are cut in half, after which the connection is silent for good.
        target: the port; connections that are open stay where they lead.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_seconds = 0.0
        self.is_silent = False
        self.halves = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    def hang_up(self) -> None:
        """Breaks every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The server's callback is a task of the stream's own: ours are kept to be ended.
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(back)
        replies = asyncio.create_task(self._hand_back(there, writer))
        try:
            while data := await reader.read(65_536):
                back.write(data)
        except OSError:
            pass
        finally:
            replies.cancel()
            for each in (writer, back):
                each.transport.abort()
                self._writers.discard(each)

    async def _hand_back(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        is_cut = False
        due = 0.0
        try:
            while data := await there.read(65_536):
                if is_cut or self.is_silent:
                    continue
                if self.halves > 0:
                    self.halves -= 1
                    is_cut, data = True, data[: len(data) // 2]
                due = max(due, loop.time() + self.delay_seconds)
                loop.call_at(due, writer.write, data)
        except OSError:
            pass
        writer.transport.abort()
