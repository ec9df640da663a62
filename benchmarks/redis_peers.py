"""What others use over redis-py to do what a Redis backend does, as their documentation shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    SlidingWindowCounterRateLimiter,
)
from throttled.asyncio import RateLimiterType, RedisStore, Throttled, rate_limiter

__all__ = ["MANY", "TASKS", "limiters"]

MANY = 10**6
"""Calls in a second: so many that all are counted and none refused."""

TASKS = 100
"""For as many at once `limits` is given connections; its default, 100, raises with one more."""

Charge = Callable[[], Awaitable[object]]


def limiters(url: str, caller: str, stack: AsyncExitStack) -> dict[str, Charge]:
    """What charges one call of a caller, by the name of the library and its way of counting."""
    storage: Any = RedisStorage(f"async+{url}", implementation="redispy", max_connections=2 * TASKS)
    stack.push_async_callback(storage.bridge.storage.aclose)
    item = RateLimitItemPerSecond(MANY)
    fixed, moving = FixedWindowRateLimiter(storage), MovingWindowRateLimiter(storage)
    sliding = SlidingWindowCounterRateLimiter(storage)
    store: Any = RedisStore(server=url)
    stack.push_async_callback(store._backend.get_client().aclose)
    throttled = Throttled(
        key=caller,
        using=RateLimiterType.GCRA.value,
        quota=rate_limiter.per_sec(MANY, burst=MANY),
        store=store,
    )
    return {
        "limits, fixed window": lambda: fixed.hit(item, "fixed", caller),
        "limits, moving window": lambda: moving.hit(item, "moving", caller),
        "limits, sliding window": lambda: sliding.hit(item, "sliding", caller),
        "throttled-py, GCRA": throttled.limit,
    }
