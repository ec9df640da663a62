"""The keys that a fleet shares: how often their provider is asked."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import ExitStack

from benchmarks.measure import Figures
from benchmarks.redis_fleet import (
    ASKED,
    BEGIN,
    FAILED_REQUESTS,
    FETCHERS,
    FETCHING_SECONDS,
    FRESH_SECONDS,
)
from benchmarks.redis_processes import another_process
from tests.redis.servers import RedisServer

__all__ = ["key_figures"]

_REFRESH_AHEAD = 0.2  # the default: a period ends so much before the keys are not fresh any more


async def key_figures(server: RedisServer) -> Figures:
    """On one server, that nobody else writes to meanwhile."""
    return await asyncio.to_thread(_requests, server)


def _requests(server: RedisServer) -> Figures:
    """Requests by the periods that have begun, and those that failed or killed a process."""
    with ExitStack() as stack:
        for _ in range(FETCHERS):
            stack.enter_context(another_process("fetch", server.url, "keys"))
        server.command("XADD", BEGIN, "*", "e", "")
        time.sleep(FETCHING_SECONDS)
    server.command("DEL", BEGIN)
    moments = [float(moment) for moment in server.command("LRANGE", ASKED, "0", "-1")]
    period = FRESH_SECONDS * (1 - _REFRESH_AHEAD)
    periods = math.floor((max(moments) - min(moments)) / period) + 1
    failures = len([number for number in FAILED_REQUESTS if number <= len(moments)])
    if failures < len(FAILED_REQUESTS):
        raise RuntimeError("the provider was hardly asked")
    return Figures(
        amounts={"key requests by periods and failures": len(moments) / (periods + failures)}
    )
