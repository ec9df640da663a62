"""Tells listeners when a backend's state changes: the part of Observable that all of them share."""

from __future__ import annotations

import logging
from collections.abc import Callable

from authkit.clock import Clock
from authkit.interfaces import StateChange

__all__ = ["AVAILABLE", "ReportedState"]

AVAILABLE = "available"
"""The state in which a backend does all that it promises."""

_logger = logging.getLogger("authkit")


class ReportedState:
    """The state that a backend is in, and who wants to hear of it.

    Args:
        interface: as in `StateChange`.
        name: as in `StateChange`.
        clock: dates the changes.
        state: the first one, which is told to nobody.

    Attributes:
        current: the present state.
        listener_errors_total: how often a listener raised.
    """

    __slots__ = (
        "_clock",
        "_interface",
        "_is_alarmed",
        "_listeners",
        "_name",
        "current",
        "listener_errors_total",
    )

    def __init__(self, interface: str, name: str, clock: Clock, *, state: str = AVAILABLE) -> None:
        self._interface = interface
        self._name = name
        self._is_alarmed = False
        self._clock = clock
        self._listeners: list[Callable[[StateChange], None]] = []
        self.current: str = state
        self.listener_errors_total: int = 0

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` on each change from now on; once, however often it was given."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def set(self, state: str, *, code: str | None = None, why: str = "") -> None:
        """Notes the state, and tells the log and the listeners where it is another than before.

        Args:
            state: the new one.
            code: what is wrong in it, or None where nothing is.
            why: more about it for the log.
        """
        old = self.current
        if state == old:
            return
        self.current = state
        # The end of what was logged as an error is logged as loudly as a default logger shows.
        good = logging.WARNING if self._is_alarmed else logging.INFO
        self._is_alarmed = code is not None
        _logger.log(
            good if code is None else logging.ERROR,
            "%s in %s: %s, was %s%s",
            self._interface,
            self._name,
            state,
            old,
            f" ({why})" if why else "",
        )
        change = StateChange(
            interface=self._interface,
            name=self._name,
            old=old,
            new=state,
            code=code,
            time=self._clock.time(),
        )
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except Exception:
                self.listener_errors_total += 1
