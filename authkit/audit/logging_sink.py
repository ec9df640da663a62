"""Audit events as JSON lines on a logger of their own."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from logging import INFO

from authkit.errors import AuthkitError, BackendUnavailable, ConfigurationError
from authkit.interfaces import AuditEvent, AuditSink

__all__ = ["LoggingAuditSink", "json_line"]

_NAMES = tuple(field.name for field in fields(AuditEvent) if field.name != "data")


class LoggingAuditSink:
    """Writes each event as one line of JSON, in ASCII, its members always in the same order.

    The lines go to the handlers of the logger `authkit_audit`, or those above it that it
    propagates to, at the level INFO.  While there is no handler at all, they go to standard error
    as they are.  So a line is never written twice: with `logging.basicConfig` the root's handler
    has it, without any configuration standard error does.

    The level of the root, usually WARNING, does not hold audit lines back.  What was said on
    purpose does: a level of the logger's own above INFO, a filter, `logging.disable`.  A logger
    that is disabled, as `logging.config` does with those that it does not name, fails the write.

    Handlers may block, so each batch is written in a thread, one batch at a time.  A write that is
    cancelled goes on there; given again, the batch is taken up where it stands.  As always with
    logging, a handler that hangs for ever keeps the process from ending.

    An exception that leaves a handler fails the write.  Most handlers keep their errors to
    themselves (`logging.Handler.handleError`); those cannot be seen here.

    Args:
        logger_name: the logger's.

    Raises:
        ConfigurationError: the name is empty.
    """

    def __init__(self, logger_name: str = "authkit_audit") -> None:
        if not logger_name:
            raise ConfigurationError("the audit log needs a logger of its own, so name it")
        self._logger = logging.getLogger(logger_name)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="authkit-audit")
        # The batch that was given last and how far it got; used in the thread only.
        self._keys: list[tuple[str, int]] = []
        self._done = 0

    async def write(self, events: Sequence[AuditEvent]) -> None:
        """Writes the events, except those that an earlier write of the same batch has written.

        Raises:
            BackendUnavailable: a handler raised, or the logger is disabled.
        """
        batch = tuple(events)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)
        except AuthkitError:
            raise
        except Exception as error:
            raise BackendUnavailable("audit", "a log handler failed") from error

    def _write(self, events: tuple[AuditEvent, ...]) -> None:
        keys = [(event.producer, event.sequence) for event in events]
        if keys != self._keys:
            self._keys, self._done = keys, 0
        logger = self._logger
        if logger.disabled:
            raise BackendUnavailable(
                "audit",
                f"the logger {logger.name} is disabled: name it in the logging configuration, "
                "or set disable_existing_loggers to False there",
            )
        if logger.level > INFO or logger.manager.disable >= INFO:
            return
        if logger.hasHandlers():
            for event in events[self._done :]:
                line = json_line(event)
                logger.handle(logger.makeRecord(logger.name, INFO, "", 0, line, (), None))
                self._done += 1
        else:
            sys.stderr.write("".join([f"{json_line(event)}\n" for event in events[self._done :]]))
            sys.stderr.flush()
            self._done = len(events)


def json_line(event: AuditEvent) -> str:
    """The event as JSON on one line, in printable ASCII: nothing in it can end or forge a line."""
    members = {name: getattr(event, name) for name in _NAMES}
    members["data"] = dict(event.data)
    # json escapes the other control characters and everything beyond ASCII, but not DEL.
    return json.dumps(members, separators=(",", ":")).replace("\x7f", "\\u007f")


_: type[AuditSink] = LoggingAuditSink
