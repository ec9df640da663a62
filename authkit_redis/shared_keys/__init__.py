"""A key set that the processes of a fleet fetch once, and share by way of Redis."""

from __future__ import annotations

__all__: list[str] = []
