"""Learning of the errors that log handlers keep to themselves."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator

__all__ = ["HandlerErrors", "handlers_of"]


class _Watch(threading.local):
    """What one thread is handing to its handlers, and which of them failed."""

    record: logging.LogRecord | None = None
    errors: dict[logging.Handler, BaseException | None]


_watch = _Watch()


class _Hook:
    """Stands before a handler's `handleError`: keeps the errors of the record that is watched.

    It stays in place, for taking it away while another thread is in it would lose that one's error.
    For any other record, and in any other thread, the handler's own method is called as before.
    """

    def __init__(
        self, handler: logging.Handler, original: Callable[[logging.LogRecord], None]
    ) -> None:
        self._handler = handler
        self._original = original

    def __call__(self, record: logging.LogRecord) -> None:
        if record is _watch.record:
            _watch.errors[self._handler] = sys.exc_info()[1]
        else:
            self._original(record)


class HandlerErrors:
    """Hands records over one by one, and remembers which handlers do not have the last one yet."""

    def __init__(self) -> None:
        self._missing: list[logging.Handler] = []

    def emit(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Has the logger's handlers write the record.

        After a failure the record given next is taken for the same one: it goes to the handlers
        that failed, as far as they are still there, and not to the others again.

        Raises:
            Exception: what a handler raised, or would have kept to itself.
        """
        handlers = handlers_of(logger)
        for handler in handlers:
            if not isinstance(handler.handleError, _Hook):
                # An attribute of the one handler; its class is not touched.
                handler.handleError = _Hook(handler, handler.handleError)  # type: ignore[method-assign]  # on purpose
        missing = [handler for handler in handlers if handler in self._missing]
        _watch.record, _watch.errors = record, {}
        try:
            if missing:
                for handler in missing:
                    handler.handle(record)
            else:
                logger.handle(record)
        finally:
            errors, _watch.record = _watch.errors, None
        self._missing = list(errors)
        for error in errors.values():
            # A handler that calls handleError outside of an except clause has no exception.
            raise error or RuntimeError("a handler reported an error")

    def forget(self) -> None:
        """The record given next is another one."""
        self._missing = []


def handlers_of(logger: logging.Logger) -> list[logging.Handler]:
    """The handlers that a record of the logger reaches, whatever their levels."""
    return [handler for one in _chain(logger) for handler in one.handlers]


def _chain(logger: logging.Logger) -> Iterator[logging.Logger]:
    current: logging.Logger | None = logger
    while current is not None:
        yield current
        current = current.parent if current.propagate else None
