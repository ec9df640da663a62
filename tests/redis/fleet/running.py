"""Runs many schedules, several at once, and counts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.redis.fleet.controller import Outcome, run_schedule
from tests.redis.fleet.ground import Ground, SingleGround
from tests.redis.fleet.oracle import Promise
from tests.redis.fleet.processes import Fleet
from tests.redis.fleet.schedules import make_schedule
from tests.redis.fleet.topology_grounds import ClusterGround, SentinelGround

__all__ = ["STORE", "Tally", "run_many"]

STORE = "tests.redis.fleet.stores:redis_store"
GROUNDS: dict[str, Callable[[Path | None], Ground]] = {
    "single": SingleGround,
    "sentinel": SentinelGround,
    "cluster": ClusterGround,
}
PROMISE = Promise(max_staleness_seconds=1.0, timeout_seconds=1.0)


@dataclass(slots=True)
class Tally:
    """What came of many schedules."""

    schedules: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.schedules += 1
        self.counts += outcome.verdict.counts
        for step in outcome.schedule.steps:
            self.counts[f"step: {step.what}"] += 1
        if outcome.verdict.violations:
            self.failed.append(outcome)

    def words(self) -> str:
        """How often what happened, and all that is wrong."""
        lines = [f"{count:10}  {name}" for name, count in sorted(self.counts.items())]
        for outcome in self.failed:
            lines += ["", f"FAILED: seed {outcome.schedule.seed}", *outcome.verdict.violations]
            lines.append(outcome.trace())
        return "\n".join(lines)


async def run_many(
    seeds: list[int],
    *,
    topology: str = "single",
    at_once: int = 8,
    store: str = STORE,
    seconds: float = float("inf"),
    most_failures: int = 5,
    binary: Path | None = None,
) -> Tally:
    """Runs the schedules of these seeds, several at once.

    Args:
        seeds: which.
        topology: on what.
        at_once: how many at the same time.
        store: the function that makes a process's store.
        seconds: no schedule begins later than this.
        most_failures: no schedule begins after so many have failed.
        binary: the servers' program; by default that of the fast tier.
    """
    tally, waiting = Tally(), iter(seeds)
    base, until = time.time() - 3_600.0, time.monotonic() + seconds

    async def work(fleet: Fleet) -> None:
        ground = GROUNDS[topology](binary)
        try:
            for seed in waiting:
                if time.monotonic() > until or len(tally.failed) >= most_failures:
                    return
                schedule = make_schedule(seed, topology, base)
                try:
                    tally.add(await run_schedule(fleet, ground, schedule, PROMISE))
                except Exception as error:
                    error.add_note(f"in the schedule of seed {seed} on {topology}")
                    raise
        finally:
            await ground.close()

    async with Fleet(store) as fleet:
        await asyncio.gather(*(work(fleet) for _ in range(min(at_once, len(seeds)))))
    return tally
