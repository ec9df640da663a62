"""One fetch that many callers wait for, each for as long as it likes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

__all__ = ["Flight"]


class Flight:
    """A fetch in a task of its own, and those who wait for it.

    A caller waits on a plain future of its own: cancelling it touches neither the fetch nor
    another caller, and costs less than shielding the fetch from each of them.

    Args:
        work: the fetch, which says whether it succeeded.
        landed: called when it is over, however it ended.
    """

    __slots__ = ("_landed", "_loop", "_task", "_waiters")

    def __init__(self, work: Coroutine[Any, Any, bool], landed: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiters: set[asyncio.Future[bool]] = set()
        self._landed = landed
        # It outlives the request that it began with, so it carries none of its context variables.
        self._task = self._loop.create_task(work, context=Context())
        self._task.add_done_callback(self._land)

    @property
    def is_over(self) -> bool:
        """Whether nobody can wait for it any more; so it is when its event loop has gone."""
        return self._task.done() or self._loop.is_closed()

    async def wait(self, timeout_seconds: float) -> bool:
        """Whether the fetch succeeded; False too if it has not ended in time."""
        waiter: asyncio.Future[bool] = self._loop.create_future()
        timer = self._loop.call_later(timeout_seconds, _settle, waiter, False)
        self._waiters.add(waiter)
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)
            timer.cancel()

    async def stop(self, timeout_seconds: float) -> None:
        """Cancels the fetch and waits until it has gone."""
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=timeout_seconds)

    def _land(self, task: asyncio.Task[bool]) -> None:
        has_ended = not task.cancelled() and task.exception() is None
        for waiter in self._waiters:
            _settle(waiter, has_ended and task.result())
        self._landed()


def _settle(waiter: asyncio.Future[bool], succeeded: bool) -> None:
    if not waiter.done():
        waiter.set_result(succeeded)
