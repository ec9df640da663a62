"""The one task that writes the audit trail's backlog to its sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from authkit.audit.backlog import Backlog
from authkit.audit.health import Health
from authkit.audit.log_lines import log_lines
from authkit.interfaces import AuditEvent, AuditSink

__all__ = ["Writer"]

# Events made at once, 1.5 to 4 ms of work; requests have a turn of the event loop in between.
_SLICE = 250
# How long a cancelled write may take to end before the writer stops waiting for it.
_CANCEL_SECONDS = 1.0


class Writer:
    """Writes batch after batch, each until the sink has taken it.

    Args:
        sink: where the batches go.
        backlog: where they come from.
        health: is told of each failure and success.
        batch_size: events in a batch, at most.
        linger_seconds: how long a batch that is not full waits for more events.
        write_timeout_seconds: when a write that has not ended counts as failed.
        retry_seconds: the pause after a first failure; each further one is twice as long.
        retry_max_seconds: the longest pause.
        on_written: called with the number of events after each batch.

    Attributes:
        is_idle: it waits to be woken.
        is_closing: it ends as soon as the backlog is empty.
        errors_total: faults of its own that it survived.
    """

    def __init__(
        self,
        sink: AuditSink,
        backlog: Backlog,
        health: Health,
        *,
        batch_size: int,
        linger_seconds: float,
        write_timeout_seconds: float,
        retry_seconds: float,
        retry_max_seconds: float,
        on_written: Callable[[int], None],
    ) -> None:
        self.is_idle: bool = False
        self.is_closing = False
        self.errors_total: int = 0
        self._sink = sink
        self._backlog = backlog
        self._health = health
        self._batch_size = batch_size
        self._linger_seconds = linger_seconds
        self._write_timeout_seconds = write_timeout_seconds
        self._retry_seconds = retry_seconds
        self._retry_max_seconds = retry_max_seconds
        self._on_written = on_written
        self._batch: tuple[AuditEvent, ...] = ()
        self._write: asyncio.Task[None] | None = None
        self._alarm: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Ends a pause at once; never raises."""
        self.is_idle = False
        if self._alarm is not None and not self._alarm.done():
            # A loop that was closed without ending its tasks cannot be told any more.
            with suppress(RuntimeError):
                self._alarm.set_result(None)

    async def run(self) -> None:
        """Writes until `is_closing` and the backlog is empty; only cancellation ends it earlier."""
        while True:
            try:
                if not self._batch and not await self._has_work():
                    return
                await self._deliver()
            except Exception as error:
                self.errors_total += 1
                if self.errors_total == 1:
                    name = type(error).__name__
                    log_lines.error("audit: the writer goes on after %s; please report it", name)
                await self._pause(self._retry_seconds)

    async def give_up(self) -> None:
        """Cancels a write that is under way and forgets its batch."""
        write, self._write = self._write, None
        self._batch = ()
        if write is not None:
            await self._cancelled(write)

    async def _has_work(self) -> bool:
        """Waits for the next batch to gather; False if there is nothing left to do."""
        while not self._backlog.size:
            if self.is_closing:
                return False
            await self._pause(None)
        if self._backlog.size < self._batch_size and not self.is_closing:
            await self._pause(self._linger_seconds)
        return True

    async def _deliver(self) -> None:
        if not self._batch:
            await self._take()
        pause = self._retry_seconds
        while (error := await self._attempt()) is not None:
            self._health.failed(error)
            # On closing there is no time for long pauses.
            await self._pause(self._retry_seconds if self.is_closing else pause)
            pause = min(2 * pause, self._retry_max_seconds)
        written, self._batch = len(self._batch), ()
        self._backlog.release(written)
        self._health.succeeded()
        self._on_written(written)

    async def _take(self) -> None:
        """Makes the next batch, of all that waits as far as it may be.

        A round costs several turns of the event loop, however small its batch is.  In each turn
        every client may bring an event, so the batch has to grow with the backlog to keep up.
        """
        # What is taken stays in the batch if this is cancelled in between.
        goal = min(self._batch_size, self._backlog.waiting)
        self._batch = self._backlog.take(min(goal, _SLICE))
        while missing := goal - len(self._batch):
            await asyncio.sleep(0)
            self._batch += self._backlog.take(min(missing, _SLICE))

    async def _attempt(self) -> BaseException | None:
        """Gives the batch to the sink and returns why it failed, or None.

        A sink that swallows its cancellation keeps the batch: a second write beside the first could
        mix the order up, so the next attempt waits for the same write, and takes its success.
        """
        if self._write is None:
            self._write = asyncio.create_task(self._write_batch(), name="authkit-audit-write")
        await asyncio.wait({self._write}, timeout=self._write_timeout_seconds)
        if not self._write.done():
            await self._cancelled(self._write)
        write = self._write
        if not write.done():
            return TimeoutError()
        self._write = None
        return TimeoutError() if write.cancelled() else write.exception()

    async def _write_batch(self) -> None:
        await self._sink.write(self._batch)

    async def _cancelled(self, write: asyncio.Task[None]) -> None:
        write.cancel()
        await asyncio.wait({write}, timeout=_CANCEL_SECONDS)

    async def _pause(self, seconds: float | None) -> None:
        """Waits for `wake`, at most so long; None waits as an idle writer."""
        self._alarm = asyncio.get_running_loop().create_future()
        self.is_idle = seconds is None
        try:
            await asyncio.wait({self._alarm}, timeout=seconds)
        finally:
            self.is_idle = False
