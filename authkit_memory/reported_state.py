"""Tells listeners when a backend's state changes: the part of Observable that all of them share."""

from __future__ import annotations

import logging
from collections.abc import Callable

from authkit.clock import Clock
from authkit.interfaces import StateChange

__all__ = ["ReportedState"]

_logger = logging.getLogger("authkit")


class ReportedState:
    """Whether a backend is `available` or `full`, and who wants to hear of it.

    Args:
        interface: as in `StateChange`.
        clock: dates the changes.

    Attributes:
        is_full: the present state.
        listener_errors_total: how often a listener raised.
    """

    __slots__ = ("_clock", "_interface", "_listeners", "is_full", "listener_errors_total")

    def __init__(self, interface: str, clock: Clock) -> None:
        self._interface = interface
        self._clock = clock
        self._listeners: list[Callable[[StateChange], None]] = []
        self.is_full: bool = False
        self.listener_errors_total: int = 0

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` on each change from now on; once, however often it was given."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def set_full(self, is_full: bool) -> None:
        """Notes the state, and tells the log and the listeners where it is another than before."""
        if is_full == self.is_full:
            return
        self.is_full = is_full
        old, new = ("available", "full") if is_full else ("full", "available")
        _logger.log(
            logging.ERROR if is_full else logging.INFO,
            "%s in memory: %s, was %s",
            self._interface,
            new,
            old,
        )
        change = StateChange(
            interface=self._interface,
            name="memory",
            old=old,
            new=new,
            code="backend_unavailable" if is_full else None,
            time=self._clock.time(),
        )
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except Exception:
                self.listener_errors_total += 1
