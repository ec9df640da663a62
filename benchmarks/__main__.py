"""`./scripts/bench`: runs everything and prints the ratios beside what they must reach."""

from __future__ import annotations

import argparse
import asyncio
import logging
from contextlib import AsyncExitStack
from typing import NamedTuple

from benchmarks.bench_fastapi import route_contenders
from benchmarks.bench_parts import part_contenders
from benchmarks.bench_redis_audit import MOST_LOST, audit_figures
from benchmarks.bench_redis_keys import key_figures
from benchmarks.bench_redis_limiter import limiter_figures
from benchmarks.bench_redis_link import link_figures
from benchmarks.bench_redis_propagation import propagation_figures
from benchmarks.bench_redis_revocations import revocation_figures
from benchmarks.bench_redis_verify import whole_figures
from benchmarks.bench_verifier import verifier_contenders
from benchmarks.measure import Figures, measure
from benchmarks.redis_fleet import LEASE, PROCESSES
from tests.redis.servers import RedisServer, redis_server_binaries


class Ratio(NamedTuple):
    """Two times by each other, `floor` taken from both first, and what it must reach.

    That is at most `goal`; at least, where the first one is a peer that is to be outdone.
    """

    name: str
    base: str
    goal: float | None = None
    floor: str | None = None
    is_peer: bool = False

    @property
    def title(self) -> str:
        """What stands in the table."""
        return f"{self.name} / {self.base}{', added' if self.floor else ''}"


class Amount(NamedTuple):
    """What is measured by itself, and what it may be at most, or has to be at least."""

    name: str
    goal: float | None = None
    is_least: bool = False


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
    Ratio("link", "bare connection", 1.25),
    Ratio("link, script", "bare connection, script", 1.25),
    Ratio("redis-py", "link", 12, is_peer=True),
    Ratio("RedisCluster", "link, cluster", 9, is_peer=True),
    Ratio("check, seen before", "dict miss, 1,000,000", 25),
    Ratio("check, first sight", "dict miss, 1,000,000", 200),
    Ratio("EXISTS, redis-py", "check, 100 tasks", 50, is_peer=True),
    Ratio("revoke, heard", "publish, heard", 2),
    Ratio("revoke, heard", "bare publish, heard"),
    Ratio("snapshot", "bare snapshot", 2.5),
    Ratio("acquire, exact", "link, its script", 1.3),
    Ratio("limits, fixed window", "acquire, exact", 8, is_peer=True),
    Ratio("limits, moving window", "acquire, exact", 8, is_peer=True),
    Ratio("limits, sliding window", "acquire, exact", 8, is_peer=True),
    Ratio("throttled-py, GCRA", "acquire, exact", 8, is_peer=True),
    Ratio("acquire, exact", "acquire, leased by 100", 5, is_peer=True),
    Ratio("acquire, exact", "leased, one caller"),
    Ratio("XADD, redis-py", "audit sink", is_peer=True),
    Ratio("pipeline, redis-py", "audit sink", is_peer=True),
    Ratio("PyJWT, EXISTS, limits", "verify, all in Redis", 30, is_peer=True),
)

AMOUNTS = (
    Amount("Redis commands of 100,000 checks", 0),
    Amount("revoke, heard after it returned, p99 ms", 5),
    Amount("longest stall in a snapshot, ms", 5),
    Amount("a revocation in Python, bytes", 110),
    Amount("a revocation in Redis, bytes", 200),
    Amount("granted above the limit by a fleet, exact", 0),
    Amount("granted above the limit by a fleet, leased", PROCESSES * LEASE),
    Amount("allowed by the limit and not granted, %"),
    Amount("key requests by periods and failures", 1),
    Amount("audit events in a second", 100_000, is_least=True),
    Amount("audit sink without its JSON, µs", 3),
    Amount("audit events doubled or missing after retries", 0),
    Amount("audit events lost by kill -9, the most", MOST_LOST),
    Amount("Redis round trips of a verification", 1),
    Amount("Redis round trips behind a verification"),
)


def report(figures: Figures) -> bool:
    """Prints the tables; returns whether every goal is reached."""
    print(f"{'what':24}{'median µs':>12}")
    for name in figures.rounds:
        print(f"{name:24}{figures.median(name):12.2f}")
    print(f"\n{'ratio':52}{'measured':>9}{'goal':>9}")
    reached = [
        _compare(ratio.title, figures.ratio(*ratio[:2], ratio.floor), ratio.goal, ratio.is_peer)
        for ratio in RATIOS
        if {ratio.name, ratio.base} <= figures.rounds.keys()  # not a peer that is not installed
    ]
    if figures.amounts:
        print(f"\n{'amount':52}{'measured':>9}{'goal':>9}")
    reached += [
        _compare(amount.name, figures.amounts[amount.name], amount.goal, amount.is_least)
        for amount in AMOUNTS
        if amount.name in figures.amounts
    ]
    return all(reached)


def _compare(title: str, measured: float, goal: float | None, is_least: bool = False) -> bool:
    """Prints a line; returns whether its goal is reached."""
    sign = ">=" if is_least else "<="
    is_reached = goal is None or (measured >= goal if is_least else measured <= goal)
    text = "" if goal is None else f"{sign} {goal:g}"
    print(f"{title:52}{measured:9.2f}{text:>9}{'' if is_reached else '  MISSED'}".rstrip())
    return is_reached


async def run(rounds: int) -> Figures:
    """Measures everything that needs no server."""
    async with AsyncExitStack() as stack:
        verifiers = await verifier_contenders(stack)
        routes = await route_contenders(stack)
        return await measure([*verifiers, *await part_contenders(), *routes], rounds)


async def run_redis(rounds: int) -> Figures:
    """Measures what needs Redis, on a server of its own that is as good as empty."""
    figures = Figures()
    with RedisServer() as server:
        figures.update(await link_figures(server))
        figures.update(await propagation_figures(server))
    with RedisServer() as server:
        figures.update(await revocation_figures(server, rounds))
    for measured in (limiter_figures, key_figures, audit_figures, whole_figures):
        with RedisServer() as server:
            figures.update(await measured(server))
    return figures


def main() -> int:
    """Returns the exit code: 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31, help="how often each takes its turn")
    parser.add_argument("--only", choices=("process", "redis"), help="one half of them")
    arguments = parser.parse_args()
    # Dropped audit events, failures that are made on purpose and the like are no news here.
    logging.getLogger("authkit").setLevel(logging.CRITICAL)
    figures = Figures()
    if arguments.only != "redis":
        figures.update(asyncio.run(run(arguments.rounds)))
    if arguments.only != "process":
        if not redis_server_binaries():
            print("no Redis server here (REDIS_SERVER, PATH): what needs one is left out\n")
        else:
            figures.update(asyncio.run(run_redis(arguments.rounds)))
    return 0 if report(figures) else 1


raise SystemExit(main())
