"""The calls of a channel that wait, and which of them still do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from authkit_redis.link.errors import LinkError

__all__ = ["Call", "OnFailure", "expire", "still_waiting"]

# The future, its deadline, and what `OnFailure` needs to repeat the call.
Call = tuple["asyncio.Future[Any]", float, Any]

OnFailure = Callable[[Call, LinkError], None]


def expire(calls: Iterable[Call], limit: float, why: LinkError) -> tuple[int, float]:
    """Fails the calls whose deadline is not after a moment.

    Returns:
        How many there were, and the earliest deadline of the others.
    """
    earliest, count = inf, 0
    for future, deadline, _ in calls:
        if future.done():
            continue
        if deadline > limit:
            earliest = min(earliest, deadline)
        else:
            count += 1
            future.set_exception(why.copy(None))
    return count, earliest


def still_waiting(calls: list[Call], packed: list[bytes]) -> tuple[list[Call], list[bytes]]:
    """Those that are neither cancelled nor late, with their commands."""
    waiting = [
        (call, command) for call, command in zip(calls, packed, strict=True) if not call[0].done()
    ]
    return [call for call, _ in waiting], [command for _, command in waiting]
