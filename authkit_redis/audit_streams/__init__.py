"""The streams in which Redis keeps audit events: what is where, writing, trimming and reading."""

from __future__ import annotations

__all__: list[str] = []
