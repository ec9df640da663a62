"""Takes turns between contenders, so that a slow moment of the machine hits all of them alike."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Batch", "Contender", "Figures", "measure"]

Batch = Callable[[Sequence[bytes]], Awaitable[None]]

# Shorter than what a scheduler gives a process at once, so that some slices are not interrupted.
_SLICE_SECONDS = 0.0015
_SLICES = 10


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
    """Microseconds for each call, by contender, round after round."""

    rounds: dict[str, list[float]] = field(default_factory=dict)

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
