"""Whole trails as a sink has them, made by hand, so that a producer may have any name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from authkit.audit import chain_event
from authkit.audit.records import AnchorRecord, RequestRecord
from authkit.audit.verification import ChainVerification, VerificationReport
from authkit.event_lines import event_of_line, json_line
from authkit.interfaces import AuditEvent
from tests.unit.audit.sinks import request

__all__ = ["KEY", "anchor", "chained", "line", "lines_of", "rechained", "verify"]

KEY = b"k" * 32


def anchor(previous: str = "", *, is_last: bool = False) -> AnchorRecord:
    """An anchor behind an event of this chain value."""
    record = AnchorRecord(2.0, is_last=is_last)
    record.previous = previous
    return record


def line(event: AuditEvent) -> bytes:
    """The event as a sink writes it."""
    return f"{json_line(event)}\n".encode()


def chained(producer: str, records: Iterable[RequestRecord], key: bytes = KEY) -> list[bytes]:
    """The lines of a trail of these records, each anchor as it must be in its place."""
    lines, chain = [], ""
    for sequence, record in enumerate(records, start=1):
        if isinstance(record, AnchorRecord):
            record.previous = chain
        event = record.event(producer, sequence)
        chain = chain_event(key, chain, event)
        lines.append(line(replace(event, chain=chain)))
    return lines


def lines_of(producer: str = "p", count: int = 6, key: bytes = KEY) -> list[bytes]:
    """The lines of a trail that ended cleanly, of so many events with the last anchor."""
    records = [*(request(n) for n in range(1, count)), anchor(is_last=True)]
    return chained(producer, records, key)


def rechained(lines: Sequence[bytes], key: bytes) -> list[bytes]:
    """The lines of one producer with chain values by another key."""
    again, chain = [], ""
    for one in lines:
        event = event_of_line(one)
        if "previous" in event.data:
            event = replace(event, data={**event.data, "previous": chain})
        chain = chain_event(key, chain, event)
        again.append(line(replace(event, chain=chain)))
    return again


def verify(
    lines: Iterable[bytes],
    key: bytes = KEY,
    *,
    anchors: Sequence[AuditEvent] = (),
    is_trimmed: bool = False,
) -> VerificationReport:
    """What the verification of these lines comes to; raises the first AuditFault."""
    verification = ChainVerification(key, anchors=anchors, is_trimmed=is_trimmed)
    for one in lines:
        verification.feed(one)
    return verification.finish()
