"""Many calls at once, and calls that are cancelled half way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import pytest

__all__ = [
    "CANCEL_AFTER",
    "EACH_MOMENT",
    "Moment",
    "cancelled_among",
    "cancelled_with",
    "ending_within",
    "together",
]

T = TypeVar("T")

Moment = int | float
"""When to cancel: an int is so many turns of the event loop, a float so many seconds."""

CANCEL_AFTER: tuple[Moment, ...] = (0, 1, 2, 3, 4, 5, 8, 13, 21, 34, 55, 0.0005, 0.002, 0.008, 0.03)
"""Turns find every await of a call that waits for nothing, seconds those of one on a network."""

EACH_MOMENT = pytest.mark.parametrize("moment", CANCEL_AFTER, ids=str)
"""Runs a test with `moment`, each time with a new backend."""


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
    for moment in CANCEL_AFTER:
        results += await cancelled_with(seconds, victim, neighbour, moment)
    return results


async def cancelled_with(
    seconds: float,
    victim: Callable[[], Coroutine[Any, Any, object]],
    neighbour: Callable[[], Coroutine[Any, Any, T]],
    moment: Moment,
    *,
    is_first: bool = False,
) -> list[T]:
    """Cancels a call at one moment, among two others that go on.

    Args:
        seconds: within which all of them end after that.
        victim: makes the call that is cancelled.
        neighbour: makes each of the others.
        moment: when.
        is_first: the cancelled call begins first, so the others wait for what it has begun;
            otherwise between the two.

    Returns:
        The results of both neighbours.
    """
    tasks = [] if is_first else [asyncio.create_task(neighbour())]
    cancelled = asyncio.create_task(victim())
    tasks += [asyncio.create_task(neighbour()) for _ in range(2 - len(tasks))]
    if isinstance(moment, float):
        await asyncio.sleep(moment)
    else:
        for _ in range(moment):
            await asyncio.sleep(0)
    cancelled.cancel()
    try:
        await ending_within(seconds, asyncio.wait([cancelled, *tasks]))
    finally:
        for task in (cancelled, *tasks):
            task.cancel()
    if any(task.cancelled() for task in tasks):
        pytest.fail("a call was cancelled because another one was")
    if not cancelled.cancelled():
        cancelled.result()  # it had ended already, or made something else of the cancellation
    return [task.result() for task in tasks]
