"""How far Redis has taken the events of each producer, as one sink was told."""

from __future__ import annotations

from collections.abc import Sequence

from authkit.interfaces import AuditEvent
from authkit_redis.audit_streams.portions import Portion

__all__ = ["Acknowledged"]

# Of those that wrote last; an AuditTrail is one.
_MOST_PRODUCERS = 1_000


class Acknowledged:
    """Remembers the last sequence of the producers that wrote last.

    So a batch that is given again goes on where it was broken off, however slow each call is.
    """

    __slots__ = ("_reached",)

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}

    def rest(self, events: Sequence[AuditEvent]) -> Sequence[AuditEvent]:
        """The events that are not known to be written, in the same order."""
        reached = self._reached
        return [
            event
            for event in events
            if (last := reached.get(event.producer)) is None or event.sequence > last
        ]

    def of(self, portion: Portion) -> list[bytes | int]:
        """What is known of each producer of a portion, as the script takes it."""
        return [self._reached.get(producer, b"") for producer in portion.producers]

    def add(self, portion: Portion) -> None:
        """Notes that Redis has taken a portion."""
        reached, runs = self._reached, iter(portion.runs)
        for key, first, length in zip(runs, runs, runs, strict=True):
            producer, last = portion.producers[key - 2], first + length - 1
            # Taken out first, so that the one that wrote longest ago is always in front.
            reached[producer] = max(last, reached.pop(producer, last))
        while len(reached) > _MOST_PRODUCERS:
            del reached[next(iter(reached))]

    def forget(self, portion: Portion) -> None:
        """Forgets the producers of a portion, of which Redis has lost something."""
        for producer in portion.producers:
            self._reached.pop(producer, None)
