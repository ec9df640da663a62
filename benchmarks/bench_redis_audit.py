"""The audit trail in Redis: what an event costs, and what is lost or doubled when things break."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from redis.asyncio import Redis

from authkit.audit import AuditTrail
from authkit.errors import BackendUnavailable
from authkit.event_lines import event_of_line, json_line
from authkit.interfaces import AuditEvent
from authkit_redis import RedisAuditSink
from authkit_redis.audit_streams.keys import AuditKeys
from authkit_redis.link import open_link
from benchmarks.measure import Figures
from benchmarks.redis_fleet import EVENT, EVENTS_PER_SECOND, recorded_so_far
from benchmarks.redis_processes import another_process
from tests.redis.servers import RedisServer

__all__ = ["MOST_LOST", "audit_figures"]

MOST_LOST = EVENTS_PER_SECOND * 0.005 + 1_000
"""The events of the time that an AuditTrail waits for more, and one batch."""

_ROUNDS = 15
_BATCHES, _BATCH = 5, 1_000  # an AuditTrail gives its sink so many at once, if they are there
_PIPELINE, _TASKS = 500, 100
_RETRIED = 10_000
_KILLS = 5
_KILLED_AFTER_SECONDS = (0.5, 1.5)

Write = Callable[[Sequence[AuditEvent]], Awaitable[object]]


async def audit_figures(server: RedisServer) -> Figures:
    """On one server."""
    figures = await _prices(server)
    figures.amounts["audit events doubled or missing after retries"] = await _amiss(server)
    figures.amounts["audit events lost by kill -9, the most"] = await asyncio.to_thread(
        _lost, server
    )
    return figures


# --- what an event costs


class _Turn(NamedTuple):
    """Seconds for each event: of the processor, and of the clock on the wall."""

    cpu: float
    wall: float


async def _prices(server: RedisServer) -> Figures:
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(open_link(server.url))
        sink = await stack.enter_async_context(RedisAuditSink(link, prefix="prices"))
        client = await stack.enter_async_context(Redis.from_url(server.url))
        line = json_line(EVENT).encode()
        writers: dict[str, Write] = {
            "audit sink": sink.write,
            "audit sink, its JSON": _encode,
            "XADD, redis-py": lambda events: _add_each(client, line, len(events)),
            "pipeline, redis-py": lambda events: _add_in_pipelines(client, line, len(events)),
        }
        turns: dict[str, list[_Turn]] = {name: [] for name in writers}
        for number in range(_ROUNDS):
            for name in random.sample(list(writers), len(writers)):
                turns[name].append(await _turn(writers[name], number))
    figures = Figures({name: [turn.cpu * 1e6 for turn in turns[name]] for name in writers})
    price, json = figures.rounds["audit sink"], figures.rounds["audit sink, its JSON"]
    figures.amounts["audit sink without its JSON, µs"] = statistics.median(
        [whole - part for whole, part in zip(price, json, strict=True)]
    )
    # The most: whatever else the machine does can only make it fewer.
    figures.amounts["audit events in a second"] = 1 / min(turn.wall for turn in turns["audit sink"])
    return figures


async def _turn(write: Write, number: int) -> _Turn:
    first = number * _BATCHES * _BATCH + 1
    batches = [
        [replace(EVENT, sequence=sequence) for sequence in range(start, start + _BATCH)]
        for start in range(first, first + _BATCHES * _BATCH, _BATCH)
    ]
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    for batch in batches:
        await write(batch)
    seconds = time.process_time() - cpu, time.perf_counter() - wall
    return _Turn(*[each / (_BATCHES * _BATCH) for each in seconds])


async def _encode(events: Sequence[AuditEvent]) -> None:
    for event in events:
        json_line(event).encode()


async def _add_each(client: Redis, line: bytes, count: int) -> None:
    """An XADD for each event, 100 tasks at once; the JSON is there already."""

    async def task() -> None:
        for _ in range(count // _TASKS):
            await client.xadd("peer", {"e": line})

    await asyncio.gather(*[task() for _ in range(_TASKS)])


async def _add_in_pipelines(client: Redis, line: bytes, count: int) -> None:
    """The same, with 500 in a pipeline."""
    for _ in range(count // _PIPELINE):
        async with client.pipeline(transaction=False) as pipeline:
            for _ in repeat(None, _PIPELINE):
                pipeline.xadd("peer", {"e": line})
            await pipeline.execute()


# --- what is doubled


class _LosingAnswers:
    """A sink whose every other answer is lost: what it says has failed was written."""

    def __init__(self, sink: RedisAuditSink) -> None:
        self._sink = sink
        self._is_lost = False

    async def write(self, events: Sequence[AuditEvent]) -> None:
        await self._sink.write(events)
        self._is_lost = not self._is_lost
        if self._is_lost:
            raise BackendUnavailable("audit", "the answer is lost")


async def _amiss(server: RedisServer) -> int:
    """How many events stand in the stream twice, or not, though each batch was given twice."""
    async with (
        open_link(server.url) as link,
        RedisAuditSink(link, prefix="retried") as sink,
        AuditTrail(_LosingAnswers(sink), retry_seconds=0.001) as trail,
    ):
        for number in range(_RETRIED):
            await trail.append_control("benchmark.event", data={"number": number})
    if sink.stats()["skipped_total"] < _RETRIED:
        raise RuntimeError("not every batch was written again")
    entries = server.command("XRANGE", AuditKeys("retried").log(0), "-", "+")
    sequences = [event_of_line(fields[1]).sequence for _, fields in entries]
    missing = set(range(1, _RETRIED + 1)) - set(sequences)
    return len(sequences) - len(set(sequences)) + len(missing)


# --- what is lost


def _lost(server: RedisServer) -> int:
    """How many events a process that is killed had admitted and not written; the most of some."""
    lost = []
    for number in range(_KILLS):
        prefix = f"killed-{number}"
        with tempfile.NamedTemporaryFile() as file:
            path = Path(file.name)
            with another_process("record", server.url, f"{prefix} {path}"):
                time.sleep(random.uniform(*_KILLED_AFTER_SECONDS))
            written = int(server.command("XLEN", AuditKeys(prefix).log(0)))
            lost.append(recorded_so_far(path) - written)
    return max(lost)
