"""What the verification of a trail remembers of one producer."""

from __future__ import annotations

from authkit.audit.findings import ProducerReport
from authkit.audit.records import ANCHOR_TYPE
from authkit.interfaces import AuditEvent

__all__ = ["SeenProducer"]


class SeenProducer:
    """The events of a producer so far, in order and without repetitions.

    Attributes:
        last: the sequence of the last one.
        chain: its chain value.
        events: how many there are.
        unproven: 1 if the first one is not proven, else 0.
        repeated: lines that said again what an earlier one says.
    """

    __slots__ = ("_first", "_is_ended", "chain", "events", "last", "repeated", "unproven")

    def __init__(self, first: int) -> None:
        self._first = first
        self._is_ended = False
        self.last: int = first - 1
        self.chain: str = ""
        self.events: int = 0
        self.unproven: int = 0
        self.repeated: int = 0

    @property
    def is_proven(self) -> bool:
        """Whether the key has proven any of the events, and so the last one."""
        return self.events > self.unproven

    def take(self, event: AuditEvent, *, is_proven: bool) -> None:
        """The next event, with which nothing is wrong."""
        self.last, self.chain = event.sequence, event.chain or ""
        self.events += 1
        self.unproven += not is_proven
        self._is_ended = event.type == ANCHOR_TYPE and event.data.get("is_last") is True

    def end(self) -> str:
        """With what it ends, in words."""
        return f"event {self.last}{'' if self.is_proven else ', which nothing proves'}"

    def report(self, name: str) -> ProducerReport:
        """What was found."""
        return ProducerReport(
            producer=name,
            first=self._first,
            last=self.last,
            events=self.events,
            repeated=self.repeated,
            unproven=self.unproven,
            is_ended=self._is_ended,
        )
