"""Takes turns between contenders, so that a slow moment of the machine hits all of them alike."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Contender", "Figures", "measure"]

Batch = Callable[[Sequence[bytes]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Something to be timed.

    Attributes:
        name: stands in the table.
        batch: handles each of the given tokens once, making a string of it first, as is done
            with every header that comes in: so each string is a fresh one without a hash yet.
        token: what it is given.
        calls: how many at once.
    """

    name: str
    batch: Batch
    token: str
    calls: int = 200


@dataclass(slots=True)
class Figures:
    """Microseconds for each call, by contender, round after round."""

    rounds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """The median time of a contender."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, base: str) -> float:
        """The median of the quotients of one round each, in which the machine was the same."""
        pairs = zip(self.rounds[name], self.rounds[base], strict=True)
        return statistics.median(mine / other for mine, other in pairs)


async def measure(contenders: Sequence[Contender], rounds: int) -> Figures:
    """Times every contender once a round, in random order.

    What runs behind the calls, such as the writer of the audit trail, has its turn between
    the batches and is not counted.
    """
    figures = Figures({contender.name: [] for contender in contenders})
    for number in range(rounds + 1):
        for contender in random.sample(contenders, len(contenders)):
            tokens = [contender.token.encode()] * contender.calls
            gc.collect()
            started = time.perf_counter()
            await contender.batch(tokens)
            spent = time.perf_counter() - started
            if number:  # The first round warms up.
                figures.rounds[contender.name].append(spent / contender.calls * 1e6)
            await asyncio.sleep(0.005)
    return figures
