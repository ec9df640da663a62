"""Time, injected: everything that asks for the time asks a Clock."""

from __future__ import annotations

from time import monotonic, time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Tells the time.  Both methods are called on every request: they neither wait nor raise."""

    def time(self) -> float:
        """Seconds since the epoch; may jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        ...


class SystemClock:
    """The machine's clock."""

    __slots__ = ()

    time: staticmethod[[], float] = staticmethod(time)
    monotonic: staticmethod[[], float] = staticmethod(monotonic)


_: Clock = SystemClock()
