"""An audit event as one line of JSON, the form in which every sink keeps it."""

from __future__ import annotations

import json
from dataclasses import fields

from authkit.interfaces import AuditEvent

__all__ = ["json_line"]

_NAMES = tuple(field.name for field in fields(AuditEvent) if field.name != "data")


def json_line(event: AuditEvent) -> str:
    """The event as JSON on one line, in printable ASCII: nothing in it can end or forge a line."""
    members = {name: getattr(event, name) for name in _NAMES}
    members["data"] = dict(event.data)
    # json escapes the other control characters and everything beyond ASCII, but not DEL.
    return json.dumps(members, separators=(",", ":")).replace("\x7f", "\\u007f")
