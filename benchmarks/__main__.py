"""`./scripts/bench`: runs everything and prints the ratios beside what they must reach."""

from __future__ import annotations

import argparse
import asyncio
import logging
from contextlib import AsyncExitStack
from typing import NamedTuple

from benchmarks.bench_fastapi import route_contenders
from benchmarks.bench_parts import part_contenders
from benchmarks.bench_verifier import verifier_contenders
from benchmarks.measure import Figures, measure


class Ratio(NamedTuple):
    """Two times by each other, `floor` taken from both first, and what it may be at most."""

    name: str
    base: str
    goal: float | None = None
    floor: str | None = None


RATIOS = (
    Ratio("uncached RS256", "raw RS256", 1.8),
    Ratio("cache hit", "dict look-up", 14),
    Ratio("garbage", "uncached RS256", 0.15),
    Ratio("uncached, 1,000 keys", "uncached RS256", 1.2),
    Ratio("forged", "uncached RS256"),
    Ratio("uncached ES256", "raw ES256"),
    Ratio("uncached EdDSA", "raw EdDSA"),
    Ratio("uncached HS256", "raw HS256"),
    Ratio("bearer_credential", "dict look-up"),
    Ratio("limiter.acquire", "dict look-up"),
    Ratio("revocations.find", "dict look-up"),
    Ratio("Depends(auth)", "empty dependency", floor="open route"),
    Ratio("Depends(auth)", "open route"),
    Ratio("PyJWT", "uncached RS256"),
    Ratio("joserfc", "uncached RS256"),
    Ratio("Authlib", "uncached RS256"),
    Ratio("PyJWT", "cache hit"),
)


def report(figures: Figures) -> bool:
    """Prints the tables; returns whether every goal is reached."""
    print(f"{'what':24}{'median µs':>10}")
    for name in figures.rounds:
        print(f"{name:24}{figures.median(name):10.2f}")
    print(f"\n{'ratio':52}{'measured':>9}{'goal':>9}")
    reached = True
    for ratio in RATIOS:
        if ratio.name not in figures.rounds:  # a peer that is not installed
            continue
        measured = figures.ratio(ratio.name, ratio.base, ratio.floor)
        title = f"{ratio.name} / {ratio.base}{', added' if ratio.floor else ''}"
        goal = "" if ratio.goal is None else f"<= {ratio.goal:g}"
        is_missed = ratio.goal is not None and measured > ratio.goal
        reached &= not is_missed
        print(f"{title:52}{measured:9.2f}{goal:>9}{'  MISSED' if is_missed else ''}".rstrip())
    return reached


async def run(rounds: int) -> Figures:
    """Measures everything."""
    async with AsyncExitStack() as stack:
        verifiers = await verifier_contenders(stack)
        routes = await route_contenders(stack)
        return await measure([*verifiers, *await part_contenders(), *routes], rounds)


def main() -> int:
    """Returns the exit code: 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="how often each takes its turn")
    # Dropped audit events and the like are no news here.
    logging.getLogger("authkit").setLevel(logging.ERROR)
    return 0 if report(asyncio.run(run(parser.parse_args().rounds))) else 1


raise SystemExit(main())
