"""Rate limiters as several processes have them, and what tests ask of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from authkit.interfaces import LimitDecision, LimitRequest, RateLimit
from authkit_redis import RedisRateLimiter
from authkit_redis.link import open_link
from tests.redis.servers import RedisServer

__all__ = ["PREFIX", "ask", "calls", "counted", "limit", "limiter", "scripts_run", "until_exact"]

PREFIX = "test"


@cache
def limit(
    name: str = "slow", *, burst: int = 5, rate: int = 1, per_seconds: float = 3600.0
) -> RateLimit:
    """A limit; unless told otherwise so slow that nothing comes back during a test.

    The same one each time, as an app has it, which a limiter finds faster.
    """
    return RateLimit(name=name, rate=rate, per_seconds=per_seconds, burst=burst, by="subject")


@asynccontextmanager
async def limiter(url: str, **options: Any) -> AsyncIterator[RedisRateLimiter]:
    """A limiter on a link of its own, as in a process of its own."""
    async with RedisRateLimiter(open_link(url), **{"prefix": PREFIX, **options}) as entered:
        yield entered


async def ask(
    of: RedisRateLimiter, *limits: RateLimit, key: str = "issuer alice", cost: int = 1
) -> LimitDecision:
    """Charges one caller's bucket of each limit."""
    return await of.acquire([LimitRequest(limit=each, key=key, cost=cost) for each in limits])


async def until_exact(of: RedisRateLimiter, *limits: RateLimit, **words: Any) -> float:
    """Asks with cost 0 until Redis decides again; returns how long that took, in seconds."""
    begun = time.monotonic()
    while (await ask(of, *limits, cost=0, **words)).is_degraded:
        assert time.monotonic() - begun < 15, "Redis does not decide again"
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


def calls(server: RedisServer, command: str) -> int:
    """How often a command ran on a server since its statistics were reset."""
    figures = server.info("commandstats").get(f"cmdstat_{command}", "calls=0")
    return int(figures.partition("calls=")[2].partition(",")[0])


def scripts_run(server: RedisServer) -> int:
    """How many scripts."""
    return calls(server, "evalsha") + calls(server, "eval")


def counted(server: RedisServer) -> list[bytes]:
    """The keys of all buckets, without those that a limiter makes for a moment when it begins."""
    keys: list[bytes] = server.command("KEYS", f"{{{PREFIX}:lim:*")
    return [key for key in keys if server.command("PTTL", key) > 10]
