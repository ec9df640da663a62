"""The commands of the audit trail, and what they share."""

from __future__ import annotations

__all__: list[str] = []
