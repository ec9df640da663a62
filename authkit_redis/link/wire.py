"""What a channel stands on: where it writes, how commands are packed, the time, the counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

import hiredis

from authkit.clock import SystemClock

__all__ = ["Counts", "Wire", "clock_of", "pack"]

# hiredis declares its argument as a tuple of one.
pack: Callable[[tuple[bytes | str | int, ...]], bytes] = cast("Any", hiredis.pack_command)


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """The time of an event loop, which is asked for with every call."""
    # asyncio's own does nothing but ask the monotonic clock, at twice the price.
    is_plain = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
    return SystemClock().monotonic if is_plain else loop.time


class Wire(Protocol):
    """Where a channel writes: an asyncio transport, or what stands in for one."""

    def write(self, data: bytes) -> None:
        """Takes data to be sent; it does not wait."""
        ...

    def close(self) -> None:
        """Sends what it has taken, then closes."""
        ...

    def abort(self) -> None:
        """Closes at once."""
        ...

    def forget(self) -> None:
        """Frees what it can after its event loop was closed."""
        ...


class Counts:
    """What the channels of one link have done so far."""

    __slots__ = ("calls", "connects", "disconnects", "late_replies", "saturated", "timeouts")

    def __init__(self) -> None:
        self.calls: int = 0
        self.connects: int = 0
        self.disconnects: int = 0
        self.late_replies: int = 0
        self.saturated: int = 0
        self.timeouts: int = 0
