"""Lines on the logger `authkit` that never hold up the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

__all__ = ["LogLines", "log_lines"]

# Lines tell of changes of state.  More than these wait only where nothing is read any more.
_MAX_WAITING = 100


class LogLines:
    """Hands lines to a logger in a thread, in order.

    A handler may block, for as long as whoever reads its pipe does not: then lines wait here, and
    beyond a bound the newest are left out.  The thread lives only while there is something to
    write, and does not keep the process from ending.

    Args:
        logger: where the lines go.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], object]] = deque()
        self._thread: threading.Thread | None = None

    def warning(self, message: str, *values: str | float) -> None:
        """Logs as `logging.Logger.warning`, soon."""
        self._log(logging.WARNING, message, values)

    def error(self, message: str, *values: str | float) -> None:
        """Logs as `logging.Logger.error`, soon."""
        self._log(logging.ERROR, message, values)

    async def drain(self, seconds: float) -> None:
        """Waits until the lines so far are written, at most so long."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            # The loop may have been closed since.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

        with self._lock:
            if self._thread is None:
                return
        self._enqueue(tell)
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), seconds)

    def _log(self, level: int, message: str, values: tuple[str | float, ...]) -> None:
        if len(self._waiting) < _MAX_WAITING:
            self._enqueue(lambda: self._logger.log(level, message, *values))

    def _enqueue(self, act: Callable[[], object]) -> None:
        with self._lock:
            self._waiting.append(act)
            # In a process that was forked, the thread of its parent is not alive.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="authkit-audit-log", daemon=True
                )
                try:
                    self._thread.start()
                except RuntimeError:
                    # No thread can be had: the next line tries again.
                    self._thread = None

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                act = self._waiting.popleft()
            # A handler that raises must not cost the lines behind.
            with suppress(Exception):
                act()


log_lines: LogLines = LogLines(logging.getLogger("authkit"))
