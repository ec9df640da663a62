"""An AuditSink in the memory of one process, for development and tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from authkit.errors import ConfigurationError
from authkit.interfaces import AuditEvent, StateChange

if TYPE_CHECKING:
    from authkit.interfaces import AuditSink, Observable

__all__ = ["MemoryAuditSink"]


class MemoryAuditSink:
    """Keeps the newest events.

    An event that it was given before, by (producer, sequence), is not written again.  It
    remembers this for twice as many events as it keeps, so a batch of up to `max_events` may
    be given again even when the first writing of it pushed its own head out.

    Args:
        max_events: how many it keeps; the oldest go first, and are counted.

    Raises:
        ConfigurationError: `max_events` is below 1.
    """

    def __init__(self, *, max_events: int = 10_000) -> None:
        if max_events < 1:
            raise ConfigurationError("max_events must be at least 1")
        self._max_events = max_events
        self._events: deque[AuditEvent] = deque()
        self._known: set[tuple[str, int]] = set()
        self._known_in_order: deque[tuple[str, int]] = deque()
        self._written_total = 0
        self._duplicates_total = 0
        self._evicted_total = 0

    @property
    def events(self) -> tuple[AuditEvent, ...]:
        """The newest events, oldest first."""
        return tuple(self._events)

    async def write(self, events: Sequence[AuditEvent]) -> None:
        """Keeps those events that are new to it, in order.  It never fails."""
        for event in events:
            identity = (event.producer, event.sequence)
            if identity in self._known:
                self._duplicates_total += 1
                continue
            self._remember(identity)
            self._written_total += 1
            self._events.append(event)
            if len(self._events) > self._max_events:
                self._events.popleft()
                self._evicted_total += 1

    def _remember(self, identity: tuple[str, int]) -> None:
        self._known.add(identity)
        self._known_in_order.append(identity)
        if len(self._known_in_order) > 2 * self._max_events:
            self._known.remove(self._known_in_order.popleft())

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Never calls `listener`: it is always available."""

    def stats(self) -> Mapping[str, float]:
        """`events` kept, `written_total`, `duplicates_total` skipped, and `evicted_total`."""
        return {
            "events": len(self._events),
            "written_total": self._written_total,
            "duplicates_total": self._duplicates_total,
            "evicted_total": self._evicted_total,
        }


if TYPE_CHECKING:
    _sink: AuditSink = MemoryAuditSink()
    _observable: Observable = MemoryAuditSink()
