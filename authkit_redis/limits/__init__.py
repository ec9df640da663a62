"""How limits are counted in Redis, and in this process while Redis does not answer."""

from __future__ import annotations

__all__: list[str] = []
