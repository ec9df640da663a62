"""Writes docs/reference/audit-events.md from the catalogue of audit events."""

from __future__ import annotations

from pathlib import Path

from authkit.audit.catalogue import CATALOGUE, EventType

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "audit-events.md"

_HEAD = """# Audit events

Every type of events that authkit writes to the audit trail, of schema 1. They are the same in every
sink, such as `LoggingAuditSink` and `FileAuditSink`. `scripts/audit_events.py` writes this page
from `authkit.audit.catalogue`; what all events have in common is in
[Read the audit trail](../how-to/read-the-audit-trail.md).
"""


def page() -> str:
    """The page as it should be."""
    return "\n".join([_HEAD, *map(_section, CATALOGUE.values())])


def _section(event: EventType) -> str:
    lines = [
        f"## `{event.name}`",
        "",
        f"{event.meaning} Since schema {event.since}.",
        "",
        f"* outcome: {', '.join(f'`{outcome}`' for outcome in event.outcomes)}",
        f"* code: {event.code}",
        "",
    ]
    if not event.data:
        return "\n".join([*lines, "`data` is empty.", ""])
    lines += ["| `data` | type | meaning |", "|---|---|---|"]
    for field in event.data:
        kind = field.kind + (" or null" if field.is_nullable else "")
        kind += "" if field.is_always_there else ", not always there"
        lines.append(f"| `{field.name}` | {kind} | {field.meaning} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
