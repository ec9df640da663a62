"""The Redis backends of authkit."""

from __future__ import annotations

__all__: list[str] = []
