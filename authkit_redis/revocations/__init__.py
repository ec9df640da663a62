"""The revocations of a fleet: a log in Redis, and a replica of it in every process."""

from __future__ import annotations

__all__: list[str] = []
