"""Checks a written trail against its key and its anchors: was anything changed, left out or cut?

What the chain proves, by producer: an event is as it was made, and stands behind the one that it
was made behind.  A trail that begins with sequence 1 is proven from its first event on.  Where
older events were removed on purpose (`is_trimmed`) the first event left is proven only if it is an
anchor, which holds the chain value before it; every event behind it is proven in any case.  So a
producer with one event left may be one that never was, and is named in the report.

What the chain cannot prove is where it should end.  An anchor that was kept elsewhere does: the
trail must reach it with events that are proven, and have the same event there.  What was written
after the last anchor can still be cut off unseen, by default the events of one minute.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from authkit.audit.chain import canonical_json, chain_event
from authkit.audit.findings import AuditFault, FaultKind, VerificationReport
from authkit.audit.fitting import fit_name
from authkit.audit.records import ANCHOR_TYPE
from authkit.audit.seen_producer import SeenProducer
from authkit.event_lines import NotAnEvent, event_of_line
from authkit.interfaces import AuditEvent

__all__ = ["ChainVerification", "read_anchors"]

# How many lines may stand between an event and its repetition, or its right place.
_WINDOW: Final = 10_000
# How many producers may wait for a second event, the first being unproven: anybody can make those.
_MAX_UNPROVEN: Final = 100_000
_is_chain_value = re.compile(r"[0-9a-f]{64}").fullmatch


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

    What it remembers is bounded: hashes of the last 10,000 lines, a few numbers by producer, the
    anchors.  No more than 100,000 producers may have nothing but one event that is not proven.

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
        self._producers: dict[str, SeenProducer] = {}
        # How many of them have only one event, which is not proven.
        self._unproven = 0
        # The chain value before each of the last events; where that is not known, the line's hash.
        self._recent: dict[tuple[str, int], str | bytes] = {}
        self._anchored: dict[tuple[str, int], AuditEvent] = {}
        # Whether any event has fitted: then the key is the right one.
        self._is_key_proven = bool(anchors)
        # What is wrong unless one of the next lines says otherwise: the fault, and which events of
        # its producer would show that it is one of order.
        self._suspicion: AuditFault | None = None
        self._missing = range(0)
        for anchor in anchors:
            place = _place(anchor)
            known = self._anchored.setdefault(place, anchor)
            if not _is_genuine(key, anchor) or known.chain != anchor.chain:
                raise AuditFault(
                    "bad_anchor",
                    f"the anchor at event {anchor.sequence} of {_printable(anchor.producer)} does "
                    "not fit the key, or contradicts another one",
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
        absent = set()
        for name, sequence in sorted(self._anchored, key=lambda place: -place[1]):
            producer = self._producers.get(name)
            if producer is None and self._is_trimmed:
                absent.add(name)
            elif producer is None or not producer.is_proven or producer.last < sequence:
                raise AuditFault(
                    "cut_tail",
                    f"an anchor names event {sequence} of {_printable(name)}, but the trail ends "
                    f"with {'none of its events' if producer is None else producer.end()}",
                    producer=name,
                    sequence=sequence,
                )
        return VerificationReport(
            lines=self._lines,
            producers=tuple([found.report(name) for name, found in self._producers.items()]),
            absent=tuple(sorted(absent)),
            unproven=tuple([name for name, one in self._producers.items() if not one.is_proven]),
        )

    def _take(self, event: AuditEvent) -> None:
        if event.chain is None:
            raise self._fault("no_chain", event, "has no chain value: this trail has no key")
        producer = self._producers.get(_place(event)[0])
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

    def _begin(self, event: AuditEvent) -> SeenProducer | None:
        """A producer that was not seen before."""
        if event.sequence > 1 and not self._is_trimmed:
            words = f"is its first, but {_events(1, event.sequence - 1)} missing"
            self._suspect("begins_late", event, words, 1)
            return None
        producer = self._producers[_place(event)[0]] = SeenProducer(event.sequence)
        return producer

    def _check(self, event: AuditEvent, producer: SeenProducer) -> None:
        """The next event in order: does it fit the one before it?"""
        place = _place(event)
        known = self._anchored.get(place)
        if producer.events == 0 and event.sequence > 1:
            anchor = known or event
            if anchor.type != ANCHOR_TYPE:
                self._take_unproven(event, producer)
                return
            previous = _previous(anchor)
        else:
            previous = producer.chain
        if event.chain != chain_event(self._key, previous, event):
            if self._is_key_proven:
                raise self._fault("edited", event, "does not fit its chain value: it was changed")
            words = "is the first that is checked, and does not fit: is this the right key?"
            raise self._fault("wrong_key", event, words)
        self._is_key_proven = True
        if event.type == ANCHOR_TYPE and _previous(event) != previous:
            raise self._fault("bad_anchor", event, "is an anchor of another place")
        if known is not None and known.chain != event.chain:
            raise self._fault("rewritten", event, "is not the one that an anchor names")
        if producer.events and not producer.is_proven:
            self._unproven -= 1
        producer.take(event, is_proven=True)
        self._remember(place, previous)

    def _take_unproven(self, event: AuditEvent, producer: SeenProducer) -> None:
        """The first event left where older ones were removed: only the next one can be checked."""
        if not _is_chain_value(event.chain or ""):
            raise self._fault("edited", event, "has a chain value that is none: it was changed")
        self._unproven += 1
        if self._unproven > _MAX_UNPROVEN:
            words = f"is one of {self._unproven} that stand alone, and that nothing proves"
            raise self._fault("unproven", event, words)
        producer.take(event, is_proven=False)
        self._remember(_place(event), _digest(event))

    def _remember(self, place: tuple[str, int], mark: str | bytes) -> None:
        self._recent[place] = mark
        if len(self._recent) > _WINDOW:
            del self._recent[next(iter(self._recent))]

    def _repeat(self, event: AuditEvent, producer: SeenProducer) -> None:
        """An event that was passed already: again the same, or out of order?"""
        before = self._recent.get(_place(event))
        if before is None:
            raise self._fault("reordered", event, f"comes behind event {producer.last}")
        if isinstance(before, str):
            is_same = event.chain == chain_event(self._key, before, event)
        else:
            is_same = _digest(event) == before
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
        return AuditFault(
            kind,
            f"line {self._lines}: event {event.sequence} of {_printable(event.producer)} {words}",
            line=self._lines,
            producer=event.producer,
            sequence=event.sequence,
        )


def _place(event: AuditEvent) -> tuple[str, int]:
    """Its producer, of which no name is too long to be remembered, and its sequence."""
    return fit_name(event.producer), event.sequence


def _printable(name: str) -> str:
    """A producer's name, which is whatever a line says, fit to be printed."""
    return (name if name.isprintable() else ascii(name))[:100]


def _digest(event: AuditEvent) -> bytes:
    return sha256(canonical_json(event) + (event.chain or "").encode()).digest()


def _previous(anchor: AuditEvent) -> str:
    previous = anchor.data.get("previous")
    return previous if isinstance(previous, str) else "none"


def _is_genuine(key: bytes, anchor: AuditEvent) -> bool:
    return anchor.chain is not None and anchor.chain == chain_event(key, _previous(anchor), anchor)


def _events(first: int, last: int) -> str:
    return f"event {first} is" if first == last else f"events {first} to {last} are"
