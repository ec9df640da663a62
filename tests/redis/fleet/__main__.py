"""Runs many schedules: `python -m tests.redis.fleet --schedules 1000 --seed 1`."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

from tests.redis.fleet.running import STORE, run_many
from tests.redis.fleet.schedules import TOPOLOGIES

__all__ = ["main"]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.redis.fleet", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100, help="how many")
    parser.add_argument("--seed", type=int, help="of the first one; the next ones count up")
    parser.add_argument("--topology", choices=TOPOLOGIES, default="single")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after these")
    parser.add_argument("--at-once", type=int, default=8, help="how many at the same time")
    parser.add_argument("--store", default=STORE, help="package.module:function that makes stores")
    parser.add_argument("--most-failures", type=int, default=5, help="stop after so many")
    words = parser.parse_args()
    first = random.randrange(1_000_000) if words.seed is None else words.seed
    _say(f"seeds from {first}, topology {words.topology}")
    start = time.monotonic()
    tally = asyncio.run(
        run_many(
            list(range(first, first + words.schedules)),
            topology=words.topology,
            at_once=words.at_once,
            store=words.store,
            seconds=words.seconds,
            most_failures=words.most_failures,
        )
    )
    _say(tally.words())
    took = time.monotonic() - start
    _say(
        f"{tally.schedules} schedules from seed {first} on {words.topology} in {took:.0f} s, "
        f"{len(tally.failed)} failed: {[outcome.schedule.seed for outcome in tally.failed]}"
    )
    return 1 if tally.failed else 0


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
