"""Checks a written trail against its key and its anchors: was anything changed, left out or cut?

What the chain proves, by producer: an event is as it was made, and stands behind the one that it
was made behind.  A trail that begins with sequence 1 is proven from its first event on.  Where
older events were removed on purpose (`is_trimmed`) the first event left is proven only if it is an
anchor, which holds the chain value before it; every event behind it is proven in any case.

What the chain cannot prove is where it should end.  An anchor that was kept elsewhere does: the
trail must reach it, and have the same event there.  What was written after the last anchor can
still be cut off unseen, by default the events of one minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from authkit.audit.chain import chain_event
from authkit.audit.findings import AuditFault, FaultKind, ProducerReport, VerificationReport
from authkit.audit.records import ANCHOR_TYPE
from authkit.event_lines import NotAnEvent, event_of_line
from authkit.interfaces import AuditEvent

__all__ = ["ChainVerification", "read_anchors"]

# How many lines may stand between an event and its repetition, or its right place.
_WINDOW: Final = 10_000


class _Producer:
    """What is remembered of one producer."""

    __slots__ = ("chain", "events", "first", "is_ended", "last", "repeated", "unproven")

    def __init__(self, first: int, unproven: int) -> None:
        self.first = first
        self.last = first - 1
        self.chain = ""
        self.events = 0
        self.repeated = 0
        self.unproven = unproven
        self.is_ended = False


def read_anchors(lines: Iterable[bytes | str], key: bytes) -> list[AuditEvent]:
    """The anchors among lines of JSON, each checked with the key; other events are passed over.

    Raises:
        AuditFault: a line is no event (`not_an_event`), or an anchor does not fit the key
            (`bad_anchor`).
    """
    anchors = []
    for number, line in enumerate(lines, start=1):
        try:
            event = event_of_line(line)
        except NotAnEvent as error:
            raise AuditFault(
                "not_an_event", f"line {number} of the anchors: {error}", line=number
            ) from None
        if event.type == ANCHOR_TYPE:
            if not _is_genuine(key, event):
                raise AuditFault(
                    "bad_anchor",
                    f"line {number} of the anchors does not fit the key: it was changed, or this "
                    "is not the right key",
                    line=number,
                    producer=event.producer,
                    sequence=event.sequence,
                )
            anchors.append(event)
    return anchors


class ChainVerification:
    """Takes a trail line by line, and raises at the first fault.

    A line that repeats one of the 10,000 before it is no fault: a sink may write a batch again.
    What is missing counts as missing once the next 10,000 lines do not have it, so that lines in a
    wrong order are told from lines that are not there.

    What it remembers is bounded: the last 10,000 lines, a few numbers by producer, the anchors.

    Args:
        key: the trail's `chain_key`.
        anchors: those that were kept elsewhere, as `read_anchors` gives them.
        is_trimmed: older events were removed on purpose, so a producer may begin late.

    Raises:
        AuditFault: two anchors contradict each other, or one does not fit the key.
        ValueError: the key is not one of 32 to 64 bytes.
    """

    def __init__(
        self, key: bytes, *, anchors: Sequence[AuditEvent] = (), is_trimmed: bool = False
    ) -> None:
        if not 32 <= len(key) <= 64:
            raise ValueError("the key of a chain has 32 to 64 bytes")
        self._key = key
        self._is_trimmed = is_trimmed
        self._lines = 0
        self._producers: dict[str, _Producer] = {}
        # The chain value before each of the last events; the event where that is not known.
        self._recent: dict[tuple[str, int], str | AuditEvent] = {}
        self._anchored: dict[tuple[str, int], AuditEvent] = {}
        # Whether any event has fitted: then the key is the right one.
        self._is_key_proven = bool(anchors)
        # What is wrong unless one of the next lines says otherwise: the fault, and which events of
        # its producer would show that it is one of order.
        self._suspicion: AuditFault | None = None
        self._missing = range(0)
        for anchor in anchors:
            place = (anchor.producer, anchor.sequence)
            known = self._anchored.setdefault(place, anchor)
            if not _is_genuine(key, anchor) or known.chain != anchor.chain:
                raise AuditFault(
                    "bad_anchor",
                    f"the anchor at event {anchor.sequence} of {anchor.producer} does not fit the "
                    "key, or contradicts another one",
                    producer=anchor.producer,
                    sequence=anchor.sequence,
                )

    def feed(self, line: bytes | str) -> None:
        """Takes the next line, which may end in a line break.

        Raises:
            AuditFault: something is wrong.
        """
        self._lines += 1
        try:
            event = event_of_line(line)
        except NotAnEvent as error:
            if self._suspicion is not None:
                raise self._suspicion from None
            is_torn = line[-1:] not in (b"\n", "\n")
            hint = "; it was cut off, as by a crash" if is_torn else ""
            message = f"line {self._lines} is not an audit event: {error}{hint}"
            raise AuditFault("not_an_event", message, line=self._lines) from None
        if self._suspicion is not None:
            self._look_for_missing(event, self._suspicion)
        else:
            self._take(event)

    def finish(self) -> VerificationReport:
        """What was found, now that there are no more lines.

        Raises:
            AuditFault: something is missing at the end.
        """
        if self._suspicion is not None:
            raise self._suspicion
        absent = []
        for name, sequence in sorted(self._anchored, key=lambda place: -place[1]):
            producer = self._producers.get(name)
            if producer is None and self._is_trimmed:
                absent.append(name)
            elif producer is None or producer.last < sequence:
                last = "none of its events" if producer is None else f"event {producer.last}"
                raise AuditFault(
                    "cut_tail",
                    f"an anchor names event {sequence} of {name}, but the trail ends with {last}",
                    producer=name,
                    sequence=sequence,
                )
        reports = [_report(name, found) for name, found in self._producers.items()]
        return VerificationReport(
            lines=self._lines, producers=tuple(reports), absent=tuple(sorted(set(absent)))
        )

    def _take(self, event: AuditEvent) -> None:
        if event.chain is None:
            raise self._fault("no_chain", event, "has no chain value: this trail has no key")
        producer = self._producers.get(event.producer)
        if producer is None:
            producer = self._begin(event)
        elif event.sequence <= producer.last:
            self._repeat(event, producer)
            return
        elif event.sequence > producer.last + 1:
            first, last = producer.last + 1, event.sequence - 1
            self._suspect("gap", event, f"comes, but {_events(first, last)} missing", first)
        if self._suspicion is None and producer is not None:
            self._check(event, producer)

    def _begin(self, event: AuditEvent) -> _Producer | None:
        """A producer that was not seen before."""
        if event.sequence > 1 and not self._is_trimmed:
            words = f"is its first, but {_events(1, event.sequence - 1)} missing"
            self._suspect("begins_late", event, words, 1)
            return None
        is_anchored = (
            event.type == ANCHOR_TYPE or (event.producer, event.sequence) in self._anchored
        )
        is_unproven = event.sequence > 1 and not is_anchored
        producer = _Producer(event.sequence, int(is_unproven))
        self._producers[event.producer] = producer
        return producer

    def _check(self, event: AuditEvent, producer: _Producer) -> None:
        """The next event in order: does it fit the one before it?"""
        previous: str | None = producer.chain
        known = self._anchored.get((event.producer, event.sequence))
        if producer.events == 0 and event.sequence > 1:
            anchor = known or event
            previous = _previous(anchor) if anchor.type == ANCHOR_TYPE else None
        if previous is not None and event.chain != chain_event(self._key, previous, event):
            if self._is_key_proven:
                raise self._fault("edited", event, "does not fit its chain value: it was changed")
            words = "is the first that is checked, and does not fit: is this the right key?"
            raise self._fault("wrong_key", event, words)
        if previous is not None:
            self._is_key_proven = True
            if event.type == ANCHOR_TYPE and _previous(event) != previous:
                raise self._fault("bad_anchor", event, "is an anchor of another place")
        if known is not None and known.chain != event.chain:
            raise self._fault("rewritten", event, "is not the one that an anchor names")
        self._recent[event.producer, event.sequence] = event if previous is None else previous
        if len(self._recent) > _WINDOW:
            del self._recent[next(iter(self._recent))]
        producer.last, producer.chain = event.sequence, event.chain or ""
        producer.events += 1
        producer.is_ended = event.type == ANCHOR_TYPE and event.data.get("is_last") is True

    def _repeat(self, event: AuditEvent, producer: _Producer) -> None:
        """An event that was passed already: again the same, or out of order?"""
        before = self._recent.get((event.producer, event.sequence))
        if before is None:
            raise self._fault("reordered", event, f"comes behind event {producer.last}")
        if isinstance(before, str):
            is_same = event.chain == chain_event(self._key, before, event)
        else:
            is_same = event == before
        if not is_same:
            raise self._fault("contradicted", event, "comes again with another content")
        producer.repeated += 1

    def _suspect(self, kind: FaultKind, event: AuditEvent, words: str, first: int) -> None:
        self._suspicion = self._fault(kind, event, words)
        self._missing = range(first, event.sequence)

    def _look_for_missing(self, event: AuditEvent, fault: AuditFault) -> None:
        if event.producer == fault.producer and event.sequence in self._missing:
            raise self._fault("reordered", event, f"comes behind event {fault.sequence}")
        if fault.line is not None and self._lines - fault.line >= _WINDOW:
            raise fault

    def _fault(self, kind: FaultKind, event: AuditEvent, words: str) -> AuditFault:
        # The producer is whatever the line says; what is printed must be printable.
        name = event.producer if event.producer.isprintable() else ascii(event.producer)
        return AuditFault(
            kind,
            f"line {self._lines}: event {event.sequence} of {name[:100]} {words}",
            line=self._lines,
            producer=event.producer,
            sequence=event.sequence,
        )


def _previous(anchor: AuditEvent) -> str:
    previous = anchor.data.get("previous")
    return previous if isinstance(previous, str) else "none"


def _is_genuine(key: bytes, anchor: AuditEvent) -> bool:
    return anchor.chain is not None and anchor.chain == chain_event(key, _previous(anchor), anchor)


def _events(first: int, last: int) -> str:
    return f"event {first} is" if first == last else f"events {first} to {last} are"


def _report(name: str, found: _Producer) -> ProducerReport:
    return ProducerReport(
        producer=name,
        first=found.first,
        last=found.last,
        events=found.events,
        repeated=found.repeated,
        unproven=found.unproven,
        is_ended=found.is_ended,
    )
