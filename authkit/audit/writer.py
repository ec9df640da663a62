"""The one task that writes the audit trail's backlog to its sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from authkit.audit.health import Health
from authkit.audit.log_lines import log_lines
from authkit.interfaces import AuditEvent, AuditSink

__all__ = ["EventQueue", "Patience", "Writer"]

# Events made at once, 1.5 to 4 ms of work; requests have a turn of the event loop in between.
_SLICE = 250
# How long a cancelled write may take to end before the writer stops waiting for it.
_CANCEL_SECONDS = 1.0


class EventQueue(Protocol):
    """What a Writer empties.

    Attributes:
        size: events that wait or are being written.
    """

    size: int

    @property
    def waiting(self) -> int:
        """Events that were not taken yet."""
        ...

    def take(self, limit: int) -> tuple[AuditEvent, ...]:
        """The next events, at most `limit`; they count until they are released."""
        ...

    def release(self, count: int) -> None:
        """Forgets as many events, now that they are written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a Writer waits for its sink.

    Attributes:
        timeout_seconds: when a write that has not ended counts as failed.
        retry_seconds: the pause after a first failure; each further one is twice as long.
        retry_max_seconds: the longest pause.
    """

    timeout_seconds: float
    retry_seconds: float
    retry_max_seconds: float


class Writer:
    """Writes batch after batch, each until the sink has taken it.

    Args:
        sink: where the batches go.
        backlog: where they come from.
        health: is told of each failure and success.
        patience: how long it waits for the sink.
        batch_size: events in a batch, at most.
        linger_seconds: how long a batch that is not full waits for more events.
        on_written: called with each batch that the sink has taken.
        on_empty: called where the backlog is empty, with whether the writer is about to end; may
            add to the backlog, and returns for how long it has nothing to add, None for ever.

    Attributes:
        is_idle: it waits to be woken.
        is_closing: it ends as soon as the backlog is empty.
        errors_total: faults of its own that it survived.
    """

    def __init__(
        self,
        sink: AuditSink,
        backlog: EventQueue,
        health: Health,
        patience: Patience,
        *,
        batch_size: int,
        linger_seconds: float,
        on_written: Callable[[tuple[AuditEvent, ...]], None] | None = None,
        on_empty: Callable[[bool], float | None] | None = None,
    ) -> None:
        self.is_idle: bool = False
        self.is_closing: bool = False
        self.errors_total: int = 0
        self._sink = sink
        self._backlog = backlog
        self._health = health
        self._batch_size = batch_size
        self._linger_seconds = linger_seconds
        self._patience = patience
        self._on_written = on_written
        self._on_empty = on_empty
        self._batch: tuple[AuditEvent, ...] = ()
        self._write: asyncio.Task[None] | None = None
        self._alarm: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the task."""
        self.is_closing = False
        self._task = asyncio.create_task(self.run(), name="authkit-audit-writer")

    async def stop(self, seconds: float) -> None:
        """Writes what is left, for so long at most, and ends the task; then gives the batch up."""
        self.is_closing = True
        self.wake()
        task = self._task
        if task is None or task.done():
            # Somebody cancelled every task of the loop; there is still what they left to write.
            task = asyncio.create_task(self.run(), name="authkit-audit-writer")
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            task.cancel()
            await asyncio.wait({task})
            await self._give_up()

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
                await self._pause(self._patience.retry_seconds)

    async def _give_up(self) -> None:
        """Cancels a write that is under way and forgets its batch."""
        write, self._write = self._write, None
        self._batch = ()
        if write is not None:
            await self._cancelled(write)

    async def _has_work(self) -> bool:
        """Waits for the next batch to gather; False if there is nothing left to do."""
        while not self._backlog.size:
            seconds = None if self._on_empty is None else self._on_empty(self.is_closing)
            if self._backlog.size:
                break
            if self.is_closing:
                return False
            await self._pause(seconds, is_idle=True)
        if self._backlog.size < self._batch_size and not self.is_closing:
            await self._pause(self._linger_seconds)
        return True

    async def _deliver(self) -> None:
        if not self._batch:
            await self._take()
        patience = self._patience
        pause = patience.retry_seconds
        while (error := await self._attempt()) is not None:
            self._health.failed(error)
            # On closing there is no time for long pauses.
            await self._pause(patience.retry_seconds if self.is_closing else pause)
            pause = min(2 * pause, patience.retry_max_seconds)
        written, self._batch = self._batch, ()
        self._backlog.release(len(written))
        self._health.succeeded()
        if self._on_written is not None:
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
        await asyncio.wait({self._write}, timeout=self._patience.timeout_seconds)
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

    async def _pause(self, seconds: float | None, *, is_idle: bool = False) -> None:
        """Waits for `wake`, at most so long; None waits for ever."""
        self._alarm = asyncio.get_running_loop().create_future()
        self.is_idle = is_idle
        try:
            await asyncio.wait({self._alarm}, timeout=seconds)
        finally:
            self.is_idle = False
