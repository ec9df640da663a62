"""Takes turns between contenders, so that a slow moment of the machine hits all of them alike."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Batch", "Contender", "Figures", "Load", "measure", "measure_loads"]

Batch = Callable[[Sequence[bytes]], Awaitable[None]]

# Shorter than what a scheduler gives a process at once, so that some slices are not interrupted.
_SLICE_SECONDS = 0.0015
_SLICES = 10

# Long enough for 100 tasks to find into step, where they share what a tick costs.
_TURN_SECONDS = 0.05
_TASKS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Something to be timed.

    Attributes:
        name: stands in the table.
        batch: handles each of the given tokens once, making a string of it first, as is done
            with every header that comes in: so each string is a fresh one without a hash yet.
        token: what it is given.
    """

    name: str
    batch: Batch
    token: str


@dataclass(slots=True)
class Figures:
    """What came out, by name.

    Attributes:
        rounds: microseconds, for each contender and round.
        amounts: what is no time to be compared with another, in the unit that the name says.
    """

    rounds: dict[str, list[float]] = field(default_factory=dict)
    amounts: dict[str, float] = field(default_factory=dict)

    def update(self, other: Figures) -> None:
        """Takes in what else was measured."""
        self.rounds.update(other.rounds)
        self.amounts.update(other.amounts)

    def median(self, name: str) -> float:
        """The median time of a contender."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, base: str, floor: str | None = None) -> float:
        """The median of the quotients of one round each, in which the machine was the same."""
        floors = self.rounds[floor] if floor else [0.0] * len(self.rounds[name])
        rounds = zip(self.rounds[name], self.rounds[base], floors, strict=True)
        return statistics.median((mine - low) / (other - low) for mine, other, low in rounds)


async def measure(contenders: Sequence[Contender], rounds: int) -> Figures:
    """Times every contender once a round, in random order, by the best of several short slices.

    The best one, because whatever else the machine does can only add to it.  What runs behind
    the calls, such as the writer of the audit trail, has its turn in between and is not counted.
    """
    calls: dict[str, int] = {}
    for contender in contenders:
        spent = min([await _slice(contender, 50) for _ in range(_SLICES)])
        calls[contender.name] = max(10, int(_SLICE_SECONDS / spent))
    figures = Figures({contender.name: [] for contender in contenders})
    for _ in range(rounds):
        for contender in random.sample(contenders, len(contenders)):
            gc.collect()
            slices = [await _slice(contender, calls[contender.name]) for _ in range(_SLICES)]
            figures.rounds[contender.name].append(min(slices) * 1e6)
    return figures


async def _slice(contender: Contender, calls: int) -> float:
    """Seconds for each call."""
    tokens = [contender.token.encode()] * calls
    started = time.perf_counter()
    await contender.batch(tokens)
    spent = time.perf_counter() - started
    await asyncio.sleep(0.002)
    return spent / calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Something that many tasks do at once, whose price is processor time.

    Attributes:
        name: stands in the table.
        call: what each task awaits again and again.
    """

    name: str
    call: Callable[[], Awaitable[object]]


async def measure_loads(loads: Sequence[Load], rounds: int) -> Figures:
    """The processor time of this process for each call, made by 100 tasks at once.

    Not the time that passes: the servers, and whatever else the machine does, take from it.
    """
    calls: dict[str, int] = {}
    for load in loads:
        await _turn(load, 2)
        calls[load.name] = max(2, int(_TURN_SECONDS / await _turn(load, 5) / _TASKS))
    figures = Figures({load.name: [] for load in loads})
    for _ in range(rounds):
        for load in random.sample(loads, len(loads)):
            gc.collect()
            figures.rounds[load.name].append(await _turn(load, calls[load.name]) * 1e6)
    return figures


async def _turn(load: Load, calls: int) -> float:
    """Seconds of the processor for each call, where each task makes so many."""

    async def task() -> None:
        for _ in range(calls):
            await load.call()

    started = time.process_time()
    await asyncio.gather(*[task() for _ in range(_TASKS)])
    return (time.process_time() - started) / (calls * _TASKS)
