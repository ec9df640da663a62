"""The limiter in Redis: what a decision costs, and whether a fleet stays within its limit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from itertools import chain, cycle
from struct import unpack

from authkit.interfaces import LimitRequest, RateLimit
from authkit_redis import RedisRateLimiter
from authkit_redis.limits.plans import Plans
from authkit_redis.limits.scripts import TAKE_ONE
from authkit_redis.link import open_link
from benchmarks.measure import Figures, Load, measure_loads
from benchmarks.redis_fleet import BEGIN, CALLER, HOT, LEASE, PROCESSES
from benchmarks.redis_monitor import Monitor
from benchmarks.redis_peers import MANY, limiters
from benchmarks.redis_processes import another_process, figures_of
from tests.redis.servers import RedisServer

__all__ = ["limiter_figures"]

_ROUNDS = 21
_SECONDS = 5.0
_CALLERS = 10


async def limiter_figures(server: RedisServer) -> Figures:
    """On one server."""
    figures = await _decisions(server)
    figures.amounts.update(await asyncio.to_thread(_a_fleet, server))
    return figures


# --- what a decision costs


async def _decisions(server: RedisServer) -> Figures:
    limit = RateLimit(name="api", rate=MANY, per_seconds=1, burst=MANY, by="subject")
    requests = (LimitRequest(limit=limit, key=CALLER),)
    several = cycle(
        [(LimitRequest(limit=limit, key=f"{CALLER}{number}"),) for number in range(_CALLERS)]
    )
    plan = Plans("bare", None).of(limit)
    keys = (plan.key(CALLER),)
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(open_link(server.url))
        exact = RedisRateLimiter(link, prefix="exact")
        leased = RedisRateLimiter(link, prefix="leased", leases={"api": LEASE})
        await stack.enter_async_context(exact)
        await stack.enter_async_context(leased)
        loads = {
            "link, its script": lambda: link.run(
                TAKE_ONE, keys, plan.one, timeout_seconds=_SECONDS
            ),
            "acquire, exact": lambda: exact.acquire(requests),
            "acquire, leased by 100": lambda: leased.acquire(next(several)),
            "leased, one caller": lambda: leased.acquire(requests),
            **limiters(server.url, CALLER, stack),
        }
        figures = await measure_loads(
            [Load(name=name, call=call) for name, call in loads.items()], _ROUNDS
        )
        for limiter in (exact, leased):
            if limiter.stats()["degraded_total"] or limiter.stats()["refused_total"]:
                raise RuntimeError("not all calls were counted and granted")
    return figures


# --- whether a fleet stays within its limit


def _a_fleet(server: RedisServer) -> dict[str, float]:
    """How many calls more than the limit allows are granted, in the worst of all intervals."""
    key = Plans("exact", None).of(HOT).key(CALLER)
    with Monitor(server) as monitor:
        exact = _granted(server, "exact")
    taken = [_moment(value) for value in monitor.values_set(key)]
    if len(taken) != len(exact):
        raise RuntimeError("what the processes were granted is not what Redis has counted")
    leased = _granted(server, "leased")
    allowed = HOT.burst + HOT.rate * (max(taken) - min(taken)) / 1e6
    return {
        "granted above the limit by a fleet, exact": _excess(taken),
        "granted above the limit by a fleet, leased": _excess(leased),
        "allowed by the limit and not granted, %": 100 * (1 - len(taken) / allowed),
    }


def _granted(server: RedisServer, how: str) -> list[int]:
    """When a call was granted, in microseconds of the machine's clock, by the fleet's processes."""
    with ExitStack() as stack:
        outputs = [
            stack.enter_context(another_process("charge", server.url, how))
            for _ in range(PROCESSES)
        ]
        server.command("XADD", BEGIN, "*", "e", "")
        moments = list(chain.from_iterable([figures_of(output) for output in outputs]))
    server.command("DEL", BEGIN)
    return moments


def _moment(bucket: bytes) -> int:
    """When it was charged, in microseconds of the server's clock."""
    return int(unpack(">ddd", bucket)[0])


def _excess(moments: Sequence[int]) -> float:
    """By how many calls the fullest interval is above what the limit allows in it."""
    # In millionths of a call, so that all numbers are whole.
    excess = 0
    lowest = -(10**30)
    for count, moment in enumerate(sorted(moments)):
        lowest = max(lowest, HOT.rate * moment - count * 10**6)
        excess = max(excess, (count + 1 - HOT.burst) * 10**6 - HOT.rate * moment + lowest)
    return excess / 10**6
