"""What the verification of a trail comes to: its report, or the first fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["AuditFault", "FaultKind", "ProducerReport", "VerificationReport"]

FaultKind = Literal[
    "not_an_event",
    "no_chain",
    "wrong_key",
    "edited",
    "gap",
    "begins_late",
    "reordered",
    "contradicted",
    "cut_tail",
    "rewritten",
    "bad_anchor",
    "unproven",
]


class AuditFault(Exception):
    """The first thing that is wrong with a trail.

    Attributes:
        kind: what it is.
        line: the number of the line, from 1 on; None where no line is to blame.
        producer: whose event, or None where it is none.
        sequence: which event, or None.
        message: the same in words.
    """

    def __init__(
        self,
        kind: FaultKind,
        message: str,
        *,
        line: int | None = None,
        producer: str | None = None,
        sequence: int | None = None,
    ) -> None:
        self.kind: FaultKind = kind
        self.line = line
        self.producer = producer
        self.sequence = sequence
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerReport:
    """What was found of one producer.

    Attributes:
        producer: its name.
        first: the sequence of its first event.
        last: the sequence of its last one.
        events: how many there are, without repetitions.
        repeated: lines that say again what an earlier one says.
        unproven: 1 if older events were removed and the first one left is no anchor, else 0.
        is_ended: it ends with the anchor of a clean stop.
    """

    producer: str
    first: int
    last: int
    events: int
    repeated: int
    unproven: int
    is_ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """A trail in which nothing is wrong.

    Attributes:
        lines: how many were read.
        producers: what was found of each, in order of first appearance.
        absent: producers that anchors name and the trail does not, where older events were removed.
        unproven: producers of which one event is left, and nothing proves it: anybody who can write
            to the trail could have made it.
    """

    lines: int
    producers: tuple[ProducerReport, ...]
    absent: tuple[str, ...]
    unproven: tuple[str, ...]
