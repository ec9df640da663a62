"""Many calls at once, and calls that are cancelled half way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import pytest

__all__ = ["CANCEL_AFTER", "cancelled_among", "ending_within", "together"]

T = TypeVar("T")

CANCEL_AFTER = (0, 1, 2, 3, 4, 5, 8, 13, 21, 34, 55)
"""After how many turns of the event loop to cancel: all of a quick call, some of a slow one."""


async def ending_within(seconds: float, call: Awaitable[T]) -> T:
    """The result of the call, which fails the test if it takes longer than `seconds`."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await call
    except TimeoutError:
        if not limit.expired():
            raise  # it is the backend's own, and not one of ours
    pytest.fail(f"a call did not end within {seconds} s, the backend's timeout_seconds")


async def together(seconds: float, calls: Iterable[Awaitable[T]]) -> list[T]:
    """The results of calls that all run at the same time."""
    return await ending_within(seconds, asyncio.gather(*calls))


async def cancelled_among(
    seconds: float,
    victim: Callable[[], Coroutine[Any, Any, object]],
    neighbour: Callable[[], Coroutine[Any, Any, T]],
) -> list[T]:
    """Cancels a call half way, at every point in turn, between two others that go on.

    Returns:
        The results of all neighbours, two for each entry of `CANCEL_AFTER`.
    """
    results: list[T] = []
    for turns in CANCEL_AFTER:
        before = asyncio.create_task(neighbour())
        cancelled = asyncio.create_task(victim())
        after = asyncio.create_task(neighbour())
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled.cancel()
        tasks = (before, cancelled, after)
        try:
            await ending_within(seconds, asyncio.wait(tasks))
        finally:
            for task in tasks:
                task.cancel()
        for task in (before, after):
            if task.cancelled():
                pytest.fail("a call was cancelled because another one was")
            results.append(task.result())
        if not cancelled.cancelled():
            cancelled.result()  # it had ended already, or made something else of the cancellation
    return results
