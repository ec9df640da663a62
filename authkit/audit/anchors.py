"""Anchors: events of the trail by which a reader knows how far it must reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from authkit.audit.anchor_copies import AnchorCopier
from authkit.audit.backlog import Backlog
from authkit.audit.records import ANCHOR_TYPE, AnchorRecord
from authkit.clock import Clock
from authkit.interfaces import AuditEvent, StateChange

__all__ = ["Anchors"]


class Anchors:
    """Puts an anchor into the backlog when one is due, and follows which events have one behind.

    An anchor is put where the sink has just taken a batch, or has nothing to do: so there is room
    for it, whatever the capacity, and there is never more than one under way.

    Args:
        backlog: gets them.
        clock: tells when they are due, and dates them.
        seconds: how long an event that is written may be without an anchor behind it.  Before the
            first anchor it may not be at all: a trail without any can vanish unnoticed.
        copier: gets a copy of each anchor that is written, or None.
    """

    __slots__ = (
        "_backlog",
        "_clock",
        "_copier",
        "_is_ended",
        "_is_under_way",
        "_seconds",
        "_since",
        "_total",
    )

    def __init__(
        self, backlog: Backlog, clock: Clock, seconds: float, copier: AnchorCopier | None
    ) -> None:
        self._copier = copier
        self._total = 0
        self._backlog = backlog
        self._clock = clock
        self._seconds = seconds
        # When the first event was written that has no anchor behind it yet.
        self._since: float | None = None
        self._is_under_way = False
        self._is_ended = True

    def written(self, events: Sequence[AuditEvent], *, is_closing: bool) -> None:
        """Notes that the sink has these events; on closing the last anchor is the only one due."""
        last = events[-1]
        self._is_ended = last.type == ANCHOR_TYPE and last.data.get("is_last") is True
        anchor = None
        if self._is_under_way:
            anchor = next((event for event in events if event.type == ANCHOR_TYPE), None)
        if anchor is not None:
            self._total += 1
            self._is_under_way = False
            self._since = None
            if self._copier is not None:
                self._copier.append(anchor)
        if last is not anchor and self._since is None:
            self._since = self._clock.monotonic()
        if not is_closing and self._seconds_left() == 0.0:
            self._append(is_last=False)

    def on_empty(self, is_closing: bool) -> float | None:
        """As a Writer asks it: adds the anchor that is due, and says when the next one will be."""
        seconds = self._seconds_left()
        if is_closing and not self._is_ended:
            self._append(is_last=True)
        elif seconds == 0.0:
            self._append(is_last=False)
        return seconds

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Tells `listener` when the copies begin to fail and when they work again."""
        if self._copier is not None:
            self._copier.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """Figures of the anchors, and of their copies where there are any."""
        copies = {} if self._copier is None else self._copier.stats()
        return {"anchors_total": self._total, **copies}

    async def enter(self, stack: AsyncExitStack) -> None:
        """Enters where the copies go; the stack leaves it."""
        if self._copier is not None:
            await self._copier.enter(stack)

    def start(self) -> None:
        """Starts copying."""
        if self._copier is not None:
            self._copier.start()

    async def stop(self, seconds: float) -> None:
        """Ends copying, within so long; what the backlog held is written or lost by now."""
        self._is_under_way = False
        if self._copier is not None:
            await self._copier.stop(seconds)

    def _seconds_left(self) -> float | None:
        """Until an anchor is due; None while every event has one."""
        if self._since is None or self._is_under_way:
            return None
        if not self._total:
            return 0.0
        return max(self._since + self._seconds - self._clock.monotonic(), 0.0)

    def _append(self, *, is_last: bool) -> None:
        self._is_under_way = True
        self._backlog.append(AnchorRecord(self._clock.time(), is_last=is_last))
