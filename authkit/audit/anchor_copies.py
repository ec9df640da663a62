"""Copies of the anchors in a place of their own, with which a trail can be compared later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

from authkit.audit.health import Health
from authkit.audit.lifetime import enter_sink
from authkit.audit.writer import Patience, Writer
from authkit.clock import Clock
from authkit.interfaces import AuditEvent, AuditSink, Observable, StateChange

__all__ = ["AnchorCopier", "AnchorCopies"]

# The newest anchor covers all that the older ones do, so few need to wait for a sink that is down.
_MAX_COPIES: Final = 100
_LINGER_SECONDS: Final = 0.005


class AnchorCopies:
    """Anchors that stand in the trail and wait for the sink of their own; the oldest give way.

    Attributes:
        size: anchors that wait or are being written.
        dropped_total: those that gave way.
    """

    __slots__ = ("_waiting", "dropped_total", "size")

    def __init__(self) -> None:
        self.size: int = 0
        self.dropped_total: int = 0
        self._waiting: deque[AuditEvent] = deque()

    @property
    def waiting(self) -> int:
        """Anchors that were not taken yet."""
        return len(self._waiting)

    def append(self, anchor: AuditEvent) -> None:
        """Admits an anchor."""
        if len(self._waiting) == _MAX_COPIES:
            self._waiting.popleft()
            self.size -= 1
            self.dropped_total += 1
        self._waiting.append(anchor)
        self.size += 1

    def take(self, limit: int) -> tuple[AuditEvent, ...]:
        """The next anchors, at most `limit`; they count until they are released."""
        return tuple([self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))])

    def release(self, count: int) -> None:
        """Forgets as many anchors, now that they are written."""
        self.size -= count

    def clear(self) -> None:
        """Gives everything up."""
        self.dropped_total += self.size
        self.size = 0
        self._waiting.clear()


class AnchorCopier:
    """Has copies of the anchors written by a task of its own, for which nobody ever waits.

    Args:
        sink: where they go.
        clock: dates changes of state.
        patience: how long to wait for the sink.
    """

    def __init__(self, sink: AuditSink, clock: Clock, patience: Patience) -> None:
        self._sink = sink
        self._copies = AnchorCopies()
        self._health = Health(f"{type(sink).__name__} (anchors)", clock)
        self._writer = Writer(
            sink,
            self._copies,
            self._health,
            patience,
            batch_size=_MAX_COPIES,
            linger_seconds=_LINGER_SECONDS,
        )

    def append(self, anchor: AuditEvent) -> None:
        """Admits an anchor that stands in the trail; never waits nor raises."""
        self._copies.append(anchor)
        self._writer.wake()

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Tells `listener` when the sink begins to fail and when it works again."""
        self._health.observe(listener)
        if isinstance(self._sink, Observable):
            self._sink.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """Figures of the copies."""
        return {
            "anchor_failures_total": self._health.failures_total,
            "anchors_dropped_total": self._copies.dropped_total,
        }

    async def enter(self, stack: AsyncExitStack) -> None:
        """Enters the sink; the stack leaves it."""
        await enter_sink(stack, self._sink)

    def start(self) -> None:
        """Starts the task."""
        self._writer.start()

    async def stop(self, seconds: float) -> None:
        """Writes what is left, for so long at most; the rest counts as dropped."""
        await self._writer.stop(seconds)
        self._copies.clear()
