"""What is to be done for the streams from time to time: trimming them, and making them known."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Set
from typing import Any

from authkit_redis.audit_streams.keys import MOST_STREAMS, AuditKeys
from authkit_redis.audit_streams.scripts import REGISTER, TRIM
from authkit_redis.link import Link, LinkError, ReplyError
from authkit_redis.server_policy import drops_keys

__all__ = ["Retention", "Upkeep", "counts_of"]

_TRIMMED_EVERY_SECONDS = 1.0
_REGISTERED_EVERY_SECONDS = 30.0
# For how long an owner that leaves waits for what is under way.
_GRACE_SECONDS = 0.25
# What one trimming may remove; it takes Redis 1.5 ms.
_MOST_REMOVED = 10_000


class Retention:
    """How much of a stream stays.

    Args:
        max_events: how many events, about; None for all.
        retention_seconds: for how long, about; None for ever.

    Attributes:
        is_limited: whether anything ever goes.
        arguments: of the script that trims.
    """

    __slots__ = ("arguments", "is_limited")

    def __init__(self, max_events: int | None, retention_seconds: float | None) -> None:
        self.is_limited: bool = not (max_events is None and retention_seconds is None)
        self.arguments: tuple[bytes | int, ...] = (
            b"" if max_events is None else max_events,
            b"" if retention_seconds is None else max(1, round(retention_seconds * 1000)),
            _MOST_REMOVED,
        )


class Upkeep:
    """Looks after the streams that one sink writes to.

    Args:
        link: to the servers.
        keys: where the streams are.
        streams: how many there are.
        retention: how much of each stays.
        monotonic: tells when something is due.
        timeout_seconds: of each call.
        on_done: called after each run, which may have learnt something.

    Attributes:
        drops_keys: whether the server drops keys when its memory is full.
        trimmed_total: events removed.
        failures_total: calls that failed; they are made again when they are due next.
    """

    def __init__(
        self,
        link: Link,
        keys: AuditKeys,
        streams: int,
        retention: Retention,
        monotonic: Callable[[], float],
        timeout_seconds: float,
        on_done: Callable[[], None],
    ) -> None:
        self.drops_keys: bool = False
        self.trimmed_total: int = 0
        self.failures_total: int = 0
        self._link = link
        self._keys = keys
        self._streams = streams
        self._retention = retention
        self._monotonic = monotonic
        self._timeout_seconds = timeout_seconds
        self._on_done = on_done
        self._task: asyncio.Task[None] | None = None
        self._registered_at = -math.inf
        self._trimmed_at: dict[int, float] = {}
        self._lengths: dict[int, int] = {}
        self._held: set[int] = set()

    @property
    def length(self) -> int:
        """Entries in the streams that were written to, as last seen."""
        return sum(self._lengths.values())

    @property
    def is_held(self) -> bool:
        """Whether a consumer group keeps more of a stream than is to stay."""
        return bool(self._held)

    def saw(self, stream: int, length: int) -> None:
        """Notes how long a stream is."""
        self._lengths[stream] = length

    def start(self, streams: Set[int]) -> None:
        """Does what is due in a task of its own, so that no batch waits for it.

        There is one at a time: while one is at it, the streams come up with their next batch.
        """
        loop, task = asyncio.get_running_loop(), self._task
        # What another event loop has left undone is nobody's any more.
        is_busy = task is not None and task.get_loop() is loop and not task.done()
        if not is_busy and (self._is_register_due() or self._to_trim(streams)):
            self._task = loop.create_task(self.run(streams), name="authkit-audit-upkeep")

    async def stop(self) -> None:
        """Ends what is under way; where Redis is quick, it is done before."""
        task, self._task = self._task, None
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            return
        try:
            await asyncio.wait({task}, timeout=_GRACE_SECONDS)
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def run(self, streams: Set[int]) -> None:
        """Does what is due; never raises a LinkError, because the events are written."""
        try:
            if self._is_register_due():
                self._registered_at = self._monotonic()
                await self.register()
            for stream in self._to_trim(streams):
                self._trimmed_at[stream] = self._monotonic()
                await self._trim(stream)
        except LinkError:
            self.failures_total += 1
        self._on_done()

    async def register(self) -> None:
        """Tells readers how many streams there are, and learns whether the server drops keys.

        Raises:
            LinkError: the server did not do it.
        """
        memory = await self._link.run(
            REGISTER,
            (self._keys.registry,),
            (self._streams, MOST_STREAMS),
            timeout_seconds=self._timeout_seconds,
            is_repeatable=True,
        )
        self.drops_keys = drops_keys(memory)
        self._registered_at = self._monotonic()

    def _is_register_due(self) -> bool:
        return self._monotonic() - self._registered_at >= _REGISTERED_EVERY_SECONDS

    def _to_trim(self, streams: Set[int]) -> list[int]:
        if not self._retention.is_limited:
            return []
        since = self._monotonic() - _TRIMMED_EVERY_SECONDS
        return [each for each in streams if self._trimmed_at.get(each, -math.inf) <= since]

    async def _trim(self, stream: int) -> None:
        reply: Any = await self._link.run(
            TRIM,
            (self._keys.log(stream),),
            self._retention.arguments,
            timeout_seconds=self._timeout_seconds,
            is_repeatable=True,
        )
        removed, length, is_held = counts_of(reply, 3)
        self.trimmed_total += removed
        if 2 * removed >= _MOST_REMOVED:  # there is more to remove, with the next batch already
            del self._trimmed_at[stream]
        self._lengths[stream] = length
        (self._held.add if is_held else self._held.discard)(stream)


def counts_of(reply: Any, how_many: int) -> list[int]:
    """The numbers of a reply that has only these.

    Raises:
        ReplyError: with the code UNREADABLE, where it is another one.
    """
    if (
        isinstance(reply, list)
        and len(reply) == how_many
        and all(type(number) is int and number >= 0 for number in reply)
    ):
        return reply
    raise ReplyError("UNREADABLE")
