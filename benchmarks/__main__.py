"""`./scripts/bench`: runs everything and prints the ratios beside what they must reach."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench_verifier import contenders
from benchmarks.measure import Figures, measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A ratio that must be reached.

    Attributes:
        name: what is timed.
        base: what it is divided by.
        bound: the ratio.
        is_most: at most `bound`, or at least.
    """

    name: str
    base: str
    bound: float
    is_most: bool = True

    def is_reached(self, ratio: float) -> bool:
        """Whether a ratio is good enough."""
        return ratio <= self.bound if self.is_most else ratio >= self.bound


GOALS = (
    Goal(name="uncached RS256", base="raw RS256", bound=1.8),
    Goal(name="cache hit", base="dict look-up", bound=14),
    Goal(name="garbage", base="uncached RS256", bound=0.15),
    Goal(name="uncached, 1,000 keys", base="uncached RS256", bound=1.2),
)
# Shown without a bound.
OTHERS = (
    ("uncached ES256", "raw ES256"),
    ("uncached EdDSA", "raw EdDSA"),
    ("uncached HS256", "raw HS256"),
    ("forged", "uncached RS256"),
    ("PyJWT", "uncached RS256"),
    ("joserfc", "uncached RS256"),
    ("PyJWT", "cache hit"),
)


def report(figures: Figures) -> bool:
    """Prints the tables; returns whether every goal is reached."""
    print(f"{'what':26}{'median µs':>12}")
    for name in figures.rounds:
        print(f"{name:26}{figures.median(name):12.2f}")
    print(f"\n{'ratio':48}{'measured':>10}{'goal':>12}")
    reached = True
    for goal in GOALS:
        ratio = figures.ratio(goal.name, goal.base)
        reached &= goal.is_reached(ratio)
        bound = f"{'<=' if goal.is_most else '>='} {goal.bound:g}"
        verdict = "" if goal.is_reached(ratio) else "  MISSED"
        print(f"{goal.name + ' / ' + goal.base:48}{ratio:10.2f}{bound:>12}{verdict}")
    for name, base in OTHERS:
        print(f"{name + ' / ' + base:48}{figures.ratio(name, base):10.2f}")
    return reached


async def run(rounds: int) -> Figures:
    """Measures everything."""
    async with AsyncExitStack() as stack:
        return await measure(await contenders(stack), rounds)


def main() -> int:
    """Returns the exit code: 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="how often each takes its turn")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    figures = asyncio.run(run(options.rounds))
    reached = report(figures)
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.machine()}
        options.json.write_text(json.dumps({**machine, "microseconds": figures.rounds}, indent=1))
    return 0 if reached else 1


raise SystemExit(main())
