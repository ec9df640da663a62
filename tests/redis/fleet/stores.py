"""The store that a process of the fleet holds."""

from __future__ import annotations

from typing import Any

from authkit_redis import RedisRevocationStore
from authkit_redis.link import open_link

__all__ = ["redis_store"]


def redis_store(options: dict[str, Any]) -> RedisRevocationStore:
    """The real one, on a link of its own."""
    return RedisRevocationStore(
        open_link(options["url"]),
        prefix=options["prefix"],
        secret=bytes.fromhex(options["secret"]),
        max_staleness_seconds=options["max_staleness_seconds"],
        timeout_seconds=options["timeout_seconds"],
    )
