"""Whether a sink works, told once for each change."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Literal

from authkit.audit.log_lines import log_lines
from authkit.clock import Clock
from authkit.errors import AuthkitError
from authkit.interfaces import StateChange

__all__ = ["Health", "reason_of"]


class Health:
    """The state of one sink.  Each change is one log line, and one StateChange to each listener.

    Attributes:
        name: the sink's.
        state: `ok` or `failing`.
        failures_total: how many writes failed.
        listener_errors_total: how many calls of a listener raised.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.state: Literal["ok", "failing"] = "ok"
        self.failures_total: int = 0
        self.listener_errors_total: int = 0
        self._clock = clock
        self._listeners: list[Callable[[StateChange], None]] = []

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` on each change from now on."""
        self._listeners.append(listener)

    def failed(self, error: BaseException) -> None:
        """Notes a failed write."""
        self.failures_total += 1
        if self.state == "ok":
            log_lines.error("audit: %s fails: %s", self.name, reason_of(error))
            self._change("failing", _code(error))

    def succeeded(self) -> None:
        """Notes a write that succeeded."""
        if self.state == "failing":
            log_lines.warning("audit: %s works again", self.name)
            self._change("ok", None)

    def _change(self, new: Literal["ok", "failing"], code: str | None) -> None:
        old, self.state = self.state, new
        change = StateChange(
            interface="audit", name=self.name, old=old, new=new, code=code, time=self._clock.time()
        )
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except Exception:
                self.listener_errors_total += 1


def _code(error: BaseException) -> str:
    if isinstance(error, AuthkitError):
        return error.code
    return "timed_out" if isinstance(error, TimeoutError) else "failed"


def reason_of(error: BaseException) -> str:
    """Why, without the text of foreign exceptions, which may hold an address with its password."""
    reason = _kind(error)
    if isinstance(error, AuthkitError):
        reason = f"{reason}: {error}"
    cause = error.__cause__
    return reason if cause is None else f"{reason} ({_kind(cause)})"


def _kind(error: BaseException) -> str:
    """The exception's type, and for one of the operating system's the name of its number."""
    kind = type(error)
    # Other libraries' subclasses, such as ssl.SSLError, put numbers of their own there.
    if isinstance(error, OSError) and kind.__module__ == "builtins" and error.errno is not None:
        return f"{kind.__name__} {errno.errorcode.get(error.errno, error.errno)}"
    return kind.__name__
