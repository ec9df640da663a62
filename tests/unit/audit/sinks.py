"""A sink that a test opens, shuts, slows down and breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType

from authkit.audit import RequestRecord
from authkit.interfaces import AuditEvent, StateChange


class ControlledSink:
    """Keeps what it is given, unless the test has shut it or broken it.

    Attributes:
        batches: what it took, batch by batch.
        attempts: every call of `write`, whether it succeeded or not.
        error: raised by `write` while set.
        is_open: `write` hangs while this event is not set.
        is_stubborn: a hanging `write` swallows its cancellation.
    """

    def __init__(self) -> None:
        self.batches: list[tuple[AuditEvent, ...]] = []
        self.attempts: list[tuple[AuditEvent, ...]] = []
        self.error: BaseException | None = None
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.is_stubborn = False

    @property
    def events(self) -> list[AuditEvent]:
        return [event for batch in self.batches for event in batch]

    @property
    def sequences(self) -> list[int]:
        return [event.sequence for event in self.events]

    @property
    def subjects(self) -> list[str | None]:
        return [event.subject for event in self.events]

    async def write(self, events: Sequence[AuditEvent]) -> None:
        self.attempts.append(tuple(events))
        while not self.is_open.is_set():
            try:
                await self.is_open.wait()
            except asyncio.CancelledError:
                if not self.is_stubborn:
                    raise
        if self.error is not None:
            raise self.error
        self.batches.append(tuple(events))


class EnteredSink(ControlledSink):
    """A sink that is a context manager; `entries` is what happened to it, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[str] = []
        self.entry_error: Exception | None = None
        self.exit_error: Exception | None = None
        self.may_exit = asyncio.Event()
        self.may_exit.set()

    async def __aenter__(self) -> EnteredSink:
        await asyncio.sleep(0)
        self.entries.append("entered")
        if self.entry_error is not None:
            raise self.entry_error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.entries.append(f"left after {len(self.events)}")
        await self.may_exit.wait()
        if self.exit_error is not None:
            raise self.exit_error


class ObservableSink(ControlledSink):
    """A sink with figures of its own, and listeners that the test calls."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Callable[[StateChange], None]] = []

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        self.listeners.append(listener)

    def stats(self) -> dict[str, float]:
        return {"written_total": float(len(self.events)), "connections": 2.0}


def request(subject: str | int = "alice", time: float = 1.0) -> RequestRecord:
    """The record of an accepted token of `subject`."""
    return RequestRecord(
        time, "accepted", None, None, str(subject), None, None, None, None, None, None, None
    )


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Lets the event loop go on until the condition holds.

    Raises:
        TimeoutError: it did not within `seconds`.
    """
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 # what is waited for has no event of its own
            await asyncio.sleep(0.001)
