"""What the fetches of one shared key set have in common in a process."""

from __future__ import annotations

import asyncio
import random
import secrets
from contextvars import Context
from typing import Final

from authkit.clock import Clock
from authkit_redis.link import LinkError
from authkit_redis.shared_keys.exchange import Exchange
from authkit_redis.shared_keys.figures import Figures, Said
from authkit_redis.shared_keys.newest import Moment, Newest
from authkit_redis.shared_keys.provider_requests import ProviderRequests
from authkit_redis.shared_keys.seal import Seal
from authkit_redis.shared_keys.terms import Terms

__all__ = ["Fleet"]

_FIRST_PAUSES: Final = (0.02, 0.05)
_LONGEST_PAUSE: Final = 0.1


class Fleet:
    """The fleet as one process sees it.

    Attributes:
        exchange: the calls to Redis.
        seal: of what stands there.
        terms: the times.
        requests: to the provider.
        figures: count.
        said: in the log.
        clock: of this process.
        newest: what this process has seen.
    """

    def __init__(
        self,
        exchange: Exchange,
        seal: Seal,
        terms: Terms,
        requests: ProviderRequests,
        figures: Figures,
        said: Said,
        clock: Clock,
    ) -> None:
        self.exchange = exchange
        self.seal = seal
        self.terms = terms
        self.requests = requests
        self.figures = figures
        self.said = said
        self.clock = clock
        self.newest: Newest = Newest(clock)
        self._ending: set[asyncio.Task[None]] = set()
        self._lost: bytes | None = None

    def moment(self) -> Moment:
        """Now, by the clocks of this process."""
        return Moment(self.clock.time(), self.clock.monotonic())

    def new_attempt(self) -> bytes:
        """A name for an attempt: that of one which may hold the lease unheard, or a new one.

        So a process does not wait for itself, where Redis did not answer for a while and then did
        all that it had been asked to.
        """
        attempt, self._lost = self._lost, None
        return secrets.token_bytes(16) if attempt is None else attempt

    async def wait_for(self, attempt: bytes, ends_at: float) -> None:
        """Waits until another process's attempt is over, by looking only.

        Args:
            attempt: its name.
            ends_at: the longest wait, by the event loop's clock.

        Raises:
            LinkError: the server did not answer.
        """
        self.figures.waited_total += 1
        loop = asyncio.get_running_loop()
        # Jitter, so that a fleet does not ask at once; nothing is secured by it.
        pause = random.uniform(*_FIRST_PAUSES)  # noqa: S311
        while (left := ends_at - loop.time()) > 0:
            await asyncio.sleep(min(pause, left))
            state = await self.exchange.look(attempt)
            if state <= 0:
                self.figures.lease_lapsed_total += state < 0
                return
            pause = min(pause * 1.3, _LONGEST_PAUSE)

    def let_go(self, attempt: bytes) -> None:
        """Ends an attempt beside whatever goes on, so that others need not wait it out."""
        task = asyncio.get_running_loop().create_task(self._end(attempt), context=Context())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def wait_until_let_go(self) -> None:
        """Waits until all of this event loop are ended; each call to Redis is bounded."""
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._ending if task.get_loop() is loop]
        if tasks:
            await asyncio.wait(tasks)

    async def _end(self, attempt: bytes) -> None:
        try:
            await self.exchange.end(attempt)
        except LinkError:
            self._lost = attempt
