"""A RateLimiter in the memory of one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from authkit.clock import Clock, SystemClock
from authkit.errors import BackendUnavailable
from authkit.gcra import GcraTable
from authkit.interfaces import LimitDecision, LimitRequest, StateChange
from authkit.reported_state import AVAILABLE, ReportedState
from authkit_memory.workers import warn_of_several_workers

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from authkit.interfaces import Observable, RateLimiter

__all__ = ["MemoryRateLimiter"]

_ROOM_AGAIN = 0.9
"""The share of `max_keys` at which a full limiter says that it has room again."""


class MemoryRateLimiter:
    """Counts calls exactly, for the callers of one event loop in one process.

    It is an Observable: its state is `available`, or `full` while it refuses new callers
    because all of the buckets it may hold are live.  It may be used without being entered;
    entering it only warns where several worker processes would each grant the whole limit.

    Two RateLimits of the same name share a caller's bucket, whatever their numbers are.

    Args:
        max_keys: how many callers it knows at a time, about 350 bytes each.  A caller whose
            burst is whole again is forgotten when room is needed, no other one ever.
        clock: its `monotonic` counts, so that setting the machine's clock refills nothing
            and freezes nobody.  None is the machine's.

    Raises:
        ConfigurationError: `max_keys` is below 1.
    """

    def __init__(self, *, max_keys: int = 100_000, clock: Clock | None = None) -> None:
        clock = SystemClock() if clock is None else clock
        self._table = GcraTable(max_keys)
        self._room_again = int(max_keys * _ROOM_AGAIN)
        self._monotonic = clock.monotonic
        self._state = ReportedState("limiter", "memory", clock)

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        """Charges all of the requests, or none of them; see `RateLimiter.acquire`.

        Costs of the same bucket in one call add up.  It never suspends.

        Raises:
            ConfigurationError: a cost below 0, above its limit's burst, or a limit whose
                burst takes centuries to come back; nothing was charged.
            BackendUnavailable: a new caller came while all buckets were live; nothing was
                charged.
        """
        now = self._monotonic()
        try:
            decision = self._table.acquire(requests, now)
        except BackendUnavailable:
            self._state.set("full", code="backend_unavailable")
            raise
        if self._state.current != AVAILABLE:
            self._table.evict(now)
            if len(self._table) <= self._room_again:
                self._state.set(AVAILABLE)
        return decision

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` whenever it becomes full, or has room again."""
        self._state.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """`keys` held, decisions `allowed_total` and `refused_total`, and how it copes.

        `evicted_total` are the buckets that were whole again and made room, `full_total` the
        calls that found no room for a new caller.
        """
        table = self._table
        return {
            "keys": len(table),
            "allowed_total": table.allowed_total,
            "refused_total": table.refused_total,
            "evicted_total": table.evicted_total,
            "full_total": table.full_total,
            "listener_errors_total": self._state.listener_errors_total,
        }

    async def __aenter__(self) -> Self:
        warn_of_several_workers(self, "each of them grants the whole limit")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing: it holds nothing open, and counts on for whoever else has entered it."""


if TYPE_CHECKING:
    _limiter: RateLimiter = MemoryRateLimiter()
    _observable: Observable = MemoryRateLimiter()
    _entered: AbstractAsyncContextManager[MemoryRateLimiter] = MemoryRateLimiter()
