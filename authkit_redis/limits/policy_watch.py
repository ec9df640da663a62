"""Whether Redis lets its user count calls, and may drop what was counted: asked now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from authkit.errors import ConfigurationError
from authkit_redis.limits.scripts import CHECK
from authkit_redis.link import Link, LinkError
from authkit_redis.server_policy import admission

__all__ = ["PolicyWatch"]

_EVERY_SECONDS = 30.0


class PolicyWatch:
    """Asks at the start, and every half a minute from then on.

    Args:
        link: to the servers.
        key: of a bucket to try the commands on.
        timeout_seconds: of each of two calls.
        learnt: is told whether the server drops keys when it is full.
    """

    def __init__(
        self, link: Link, key: bytes, timeout_seconds: float, learnt: Callable[[bool], None]
    ) -> None:
        self._link = link
        self._key = key
        self._timeout_seconds = timeout_seconds
        self._learnt = learnt
        self._task: asyncio.Task[None] | None = None

    async def look(self) -> None:
        """Asks now.

        Raises:
            ConfigurationError: Redis does not let this user in, or not do what is needed.
            LinkError: it did not answer.
        """
        self._learnt(
            await admission(
                self._link,
                "limiter",
                CHECK,
                (self._key,),
                (),
                timeout_seconds=self._timeout_seconds,
            )
        )

    def start(self) -> None:
        """Goes on asking, in this event loop."""
        self._task = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """Ends that."""
        task, self._task = self._task, None
        if task is None:
            return
        loop = task.get_loop()
        if loop is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])
        elif not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            with suppress(ConfigurationError, LinkError):  # the calls themselves tell of it
                await self.look()
