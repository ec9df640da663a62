"""The processes of the fleet, seen from the one that gives them orders."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from tests.redis.fleet.history import Check, History, Interval, Life

__all__ = ["ANSWER_SECONDS", "Fleet", "Worker", "WorkerLost"]

_LAG_SECONDS = 0.1
ANSWER_SECONDS = 15.0


class WorkerLost(Exception):
    """The process ended, or hung up."""


class Worker:
    """A process of the fleet, seen from here."""

    def __init__(self, name: str, pid: int, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self.life = Life(name, time.monotonic())
        self.history: History | None = None
        self.is_frozen = False
        self.is_usable = True
        self._pidfd = os.pidfd_open(pid)
        self._writer = writer
        self._calls = itertools.count()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def ask(self, what: str, **words: Any) -> dict[str, Any]:
        """The answer to an order.

        Raises:
            WorkerLost: there will be none.
        """
        call = next(self._calls)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[call] = answer
        if not self.is_usable:
            raise WorkerLost
        self._writer.write(json.dumps({"do": what, "call": call, **words}).encode() + b"\n")
        return await answer

    def hear(self, message: dict[str, Any]) -> None:
        """Takes a line of the process: a report, an answer, or both."""
        if self.history is not None:
            life, history = self.life, self.history
            if "lags" in message:
                history.checks += [Check(life.name, *check) for check in message["checks"]]
                life.lags += [Interval(start, end, "did not run") for start, end in message["lags"]]
                if message["fresh_at"] is not None:
                    life.fresh_at.append(message["fresh_at"])
            history.errors += message.get("errors", ())
        answer = self._answers.pop(message.get("call", -1), None)
        if answer is not None and not answer.done():
            answer.set_result(message)

    def hung_up(self) -> None:
        self.is_usable = False
        if self.history is not None and self.life.died > time.monotonic():
            self.history.errors.append(f"{self.name} ended of itself")
            self.life.died = time.monotonic()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(WorkerLost())
                answer.exception()  # nobody may be waiting
        with contextlib.suppress(OSError):
            os.close(self._pidfd)
            self._pidfd = -1

    def kill(self) -> None:
        """Ends the process at once."""
        self.life.died = time.monotonic()
        self.is_usable = False
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        self.is_frozen = True
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.is_frozen = False
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)


class Fleet:
    """The processes, which schedules borrow one after the other; an async context manager.

    Args:
        factory: the function that makes a process's store, as `package.module:function`.
    """

    def __init__(self, factory: str) -> None:
        self._factory = factory
        self._folder = Path(tempfile.mkdtemp(prefix="fleet-"))
        self._names = itertools.count()
        self._idle: list[Worker] = []
        self._coming: dict[str, asyncio.Future[Worker]] = {}
        self.outages: list[Interval] = []

    async def __aenter__(self) -> Self:
        path = str(self._folder / "controller")
        self._server = await asyncio.start_unix_server(self._welcome, path, limit=1 << 24)
        self._nursery = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.redis.fleet.nursery", path, self._factory),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._watch = asyncio.create_task(self._watch_itself())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        await self._nursery.wait()
        self._server.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def borrow(self) -> Worker:
        """A process that is in no schedule."""
        while self._idle:
            worker = self._idle.pop()
            if worker.is_usable:
                return worker
        name = f"w{next(self._names)}"
        coming = self._coming[name] = asyncio.get_running_loop().create_future()
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(f"{name}\n".encode())
        return await asyncio.wait_for(coming, ANSWER_SECONDS)

    def give_back(self, worker: Worker) -> None:
        """Takes a process back from a schedule."""
        worker.history = None
        if worker.is_usable:
            self._idle.append(worker)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = json.loads(await reader.readline())
        worker = Worker(hello["name"], hello["pid"], writer)
        self._coming.pop(worker.name).set_result(worker)
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if line.endswith(b"\n"):
                    worker.hear(json.loads(line))
        worker.hung_up()
        writer.close()

    async def _watch_itself(self) -> None:
        """While the controller does not run, no network of its forwards anything."""
        while True:
            due = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            if (now := time.monotonic()) - due > _LAG_SECONDS:
                self.outages.append(Interval(due, now, "the controller did not run"))
