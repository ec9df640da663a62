"""JOSE: strict parsing, keys and signatures; the only door to joserfc."""

from __future__ import annotations

__all__: list[str] = []
