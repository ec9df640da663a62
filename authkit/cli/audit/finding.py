"""What the verification of a trail has found, for people or as one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from authkit.audit.findings import AuditFault, ProducerReport, VerificationReport
from authkit.cli.audit.event_text import shown
from authkit.interfaces import AuditEvent

__all__ = ["fault_line", "reaches", "report_line", "report_text", "unproven_text"]


def reaches(anchors: Sequence[AuditEvent]) -> dict[str, int]:
    """Up to which sequence anchors prove the trail of each producer."""
    furthest: dict[str, int] = {}
    for anchor in anchors:
        furthest[anchor.producer] = max(anchor.sequence, furthest.get(anchor.producer, 0))
    return furthest


def fault_line(fault: AuditFault) -> str:
    """The first fault as one line of JSON in ASCII."""
    return _line(
        fault={
            "kind": fault.kind,
            "line": fault.line,
            "producer": fault.producer,
            "sequence": fault.sequence,
            "message": fault.message,
        }
    )


def report_line(report: VerificationReport, anchored: Mapping[str, int]) -> str:
    """A trail in which nothing is wrong, as one line of JSON in ASCII."""
    return _line(
        lines=report.lines,
        producers=[
            {**asdict(one), "anchored_until": anchored.get(one.producer)}
            for one in report.producers
        ],
        absent=list(report.absent),
        unproven=list(report.unproven),
    )


def _line(
    *,
    fault: Mapping[str, object] | None = None,
    lines: int | None = None,
    producers: Sequence[Mapping[str, object]] | None = None,
    absent: Sequence[str] | None = None,
    unproven: Sequence[str] | None = None,
) -> str:
    finding = {
        "is_intact": fault is None,
        "fault": fault,
        "lines": lines,
        "producers": producers,
        "absent": absent,
        "unproven": unproven,
    }
    return json.dumps(finding)


def report_text(report: VerificationReport, anchored: Mapping[str, int]) -> str:
    """A trail in which nothing is wrong, for people."""
    alone = len(report.unproven)
    events = sum(one.events for one in report.producers) - alone
    rest = f"; nothing proves {alone} more" if alone else ""
    return "\n".join(
        (
            f"nothing is wrong with {_counted(events, 'event')} of "
            f"{_counted(len(report.producers) - alone, 'producer')}{rest}",
            *(_producer_text(one, anchored.get(one.producer)) for one in report.producers),
            *(
                f"  {shown(name)}: no event is left, up to {anchored[name]} and its anchor"
                for name in report.absent
            ),
        )
    )


def unproven_text(report: VerificationReport) -> str:
    """What to think of the producers whose only event nothing proves, of which there are some."""
    return (
        f"of {_counted(len(report.unproven), 'producer')} one event is left, and nothing proves "
        "it: whoever can write to the trail may have made it up"
    )


def _producer_text(found: ProducerReport, anchored: int | None) -> str:
    if found.unproven == found.events:
        return f"  {shown(found.producer)}: event {found.last} alone, which nothing proves"
    facts = [
        f"events {found.first} to {found.last}",
        "ended cleanly" if found.is_ended else "not ended",
        "no anchor" if anchored is None else f"anchored until {anchored}",
    ]
    if found.repeated:
        facts.append(f"{found.repeated} repeated")
    if found.unproven:
        facts.append(f"event {found.first} itself unproven")
    return f"  {shown(found.producer)}: {', '.join(facts)}"


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
