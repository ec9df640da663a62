"""One process of the fleet: it holds a store, checks without a pause, and does what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from authkit.errors import BackendUnavailable
from authkit.interfaces import Revocation, RevocationScope, TokenFacts

__all__ = ["FOUND", "NONE", "OTHER_ERROR", "UNAVAILABLE", "StoreFactory", "serve"]

NONE, FOUND, UNAVAILABLE, OTHER_ERROR = range(4)

TICK_SECONDS = 0.02
FINDS_PER_TICK = 4
REPORT_SECONDS = 0.1
LAG_SECONDS = 0.08
"""A tick that comes so much too late is reported: the process did not run meanwhile."""

MAX_ROUNDS = 60
"""Rounds of checks at a time; while the server does not answer they pile up."""

StoreFactory = Callable[[dict[str, Any]], AbstractAsyncContextManager[Any]]
"""Makes a store of the options of a schedule: url, prefix, max_staleness_seconds, ..."""


class _Part:
    """What a process does in one schedule."""

    def __init__(self, store: AbstractAsyncContextManager[Any], order: dict[str, Any]) -> None:
        self.tokens = [TokenFacts(**facts) for facts in order["tokens"]]
        self.store: Any = store
        self.is_entered = False
        self.checks: list[tuple[int, float, float, int]] = []
        self.lags: list[tuple[float, float]] = []
        self.errors: list[str] = []
        self._random = random.Random(order["seed"])
        self._rounds: set[asyncio.Task[None]] = set()
        self._main = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self.is_entered:
            try:
                await self.store.__aenter__()
                self.is_entered = True
            except BackendUnavailable:
                await asyncio.sleep(TICK_SECONDS)
        due = time.monotonic()
        while True:
            now = time.monotonic()
            if now - due > LAG_SECONDS:
                self.lags.append((due, now))
            if len(self._rounds) < MAX_ROUNDS:
                chosen = self._random.choices(range(len(self.tokens)), k=FINDS_PER_TICK)
                task = asyncio.create_task(self._round(chosen))
                self._rounds.add(task)
                task.add_done_callback(self._rounds.discard)
            due = time.monotonic() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)

    async def _round(self, chosen: list[int]) -> None:
        for index in chosen:
            self.checks.append(await self.find(index))

    async def find(self, index: int) -> tuple[int, float, float, int]:
        """Token, start, end and answer of one check."""
        start = time.monotonic()
        try:
            found = await self.store.find(self.tokens[index])
            answer = NONE if found is None else FOUND
        except BackendUnavailable:
            answer = UNAVAILABLE
        except Exception:
            answer = OTHER_ERROR
            self.errors.append(traceback.format_exc())
        return index, start, time.monotonic(), answer

    async def change(self, order: dict[str, Any]) -> dict[str, Any]:
        """Start, end and outcome of a revoke or a lift."""
        words = dict(order["revocation"])
        revocation = Revocation(**{**words, "scope": RevocationScope(words["scope"])})
        method = self.store.revoke if order["do"] == "revoke" else self.store.lift
        start = time.monotonic()
        outcome, ahead = "done", 0.0
        try:
            if not self.is_entered:
                raise BackendUnavailable("revocations", "not entered yet")
            receipt = await method(revocation)
            ahead = receipt.effective_at - time.time()
        except BackendUnavailable:
            outcome = "unavailable"
        except Exception:
            outcome = "error"
            self.errors.append(traceback.format_exc())
        end = time.monotonic()
        return {"start": start, "end": end, "outcome": outcome, "effective_in": ahead}

    async def sweep(self) -> dict[str, Any]:
        """One check of every token, and whether the store calls itself fresh."""
        if not self.is_entered:
            return {"checks": [], "fresh": False}
        checks = [await self.find(index) for index in range(len(self.tokens))]
        return {"checks": checks, "fresh": bool(self.store.is_fresh)}

    def report(self) -> dict[str, Any]:
        """What has happened since the last report."""
        fresh_at = time.monotonic()
        is_fresh = self.is_entered and bool(self.store.is_fresh)
        report = {
            "checks": self.checks,
            "lags": self.lags,
            "errors": self.errors,
            "fresh_at": fresh_at if is_fresh else None,
        }
        self.checks, self.lags, self.errors = [], [], []
        return report

    async def aclose(self) -> None:
        """Leaves the store."""
        for task in (self._main, *self._rounds):
            task.cancel()
        await asyncio.gather(self._main, *self._rounds, return_exceptions=True)
        if self.is_entered:
            self.is_entered = False
            await self.store.__aexit__(None, None, None)


class _Faults(logging.Handler):
    """What the library logs with a traceback is a fault of its own, and is reported."""

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._report(self.format(record))


class _Worker:
    """Takes orders, a JSON object a line, and answers each by its number."""

    def __init__(self, factory: StoreFactory, writer: asyncio.StreamWriter) -> None:
        self._factory = factory
        self._writer = writer
        self._part: _Part | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        logging.getLogger("authkit").addHandler(_Faults(self._fault))

    def _fault(self, words: str) -> None:
        if self._part:
            self._part.errors.append(words)

    def send(self, message: dict[str, Any]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    def take(self, order: dict[str, Any]) -> None:
        task = asyncio.create_task(self._obey(order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _obey(self, order: dict[str, Any]) -> None:
        try:
            answer = await self._do(order)
        except Exception:
            answer = {"outcome": "error", "errors": [traceback.format_exc()]}
        self.send({"call": order["call"], **answer})

    async def _do(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["do"]:
            case "begin":
                self._part = _Part(self._factory(order), order)
                return {}
            case "end":
                part, self._part = self._part, None
                if part:
                    await asyncio.wait_for(part.aclose(), order["within_seconds"])
                    return part.report()
                return {}
        assert self._part is not None
        if order["do"] == "sweep":
            return await self._part.sweep()
        return await self._part.change(order)

    async def report(self) -> None:
        while True:
            if self._part:
                self.send(self._part.report())
            await asyncio.sleep(REPORT_SECONDS)


async def serve(path: str, name: str, factory: StoreFactory) -> None:
    """Serves the controller that listens at `path` until it hangs up."""
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 24)
    worker = _Worker(factory, writer)
    worker.send({"name": name, "pid": os.getpid()})
    reporting = asyncio.create_task(worker.report())
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            worker.take(json.loads(line))
    reporting.cancel()
