"""Audit events as JSON lines on a logger of their own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from logging import INFO

from authkit.audit.handler_errors import HandlerErrors
from authkit.audit.one_thread import OneThread
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.event_lines import json_line
from authkit.interfaces import AuditEvent, AuditSink

__all__ = ["LoggingAuditSink"]

_DISABLED = (
    "audit: the logger {0} is disabled, so its lines go to standard error: name it in the logging "
    "configuration, or set disable_existing_loggers to False there"
)


class LoggingAuditSink:
    """Writes each event as one line of JSON, in ASCII, its members always in the same order.

    The lines go to the handlers of the logger `authkit_audit`, or those above it that it
    propagates to, at the level INFO.  While there is no handler at all, they go to standard error
    as they are.  So a line is never written twice: with `logging.basicConfig` the root's handler
    has it, without any configuration standard error does.

    The level of the root, usually WARNING, does not hold audit lines back.  What was said on
    purpose does: a level of the logger's own above INFO, a filter, `logging.disable`.  A logger
    that is disabled is not: `logging.config` does that to all that it does not name.  Then the
    lines go to standard error, after one that says why.

    Handlers may block, so each batch is written in a thread, one batch at a time.  A write that is
    cancelled goes on there; given again, the batch is taken up where it stands.  As always with
    logging, a handler that hangs for ever keeps the process from ending.

    A handler's error fails the write, also one that the handler would only have reported to
    `logging.Handler.handleError`; that method is not called for audit lines.  The batch given again
    goes on with the line that failed, and with the handlers that do not have it.  A stream may have
    kept that line in its buffer: after an outage some lines can stand twice, with the same producer
    and sequence.  What a handler hands on to others, as a QueueHandler does, is theirs.

    Args:
        logger_name: the logger's.

    Raises:
        ConfigurationError: the name is empty.
    """

    def __init__(self, logger_name: str = "authkit_audit") -> None:
        if not logger_name:
            raise ConfigurationError("the audit log needs a logger of its own, so name it")
        self._logger = logging.getLogger(logger_name)
        self._thread = OneThread()
        # The batch that was given last and how far it got; used in the thread only.
        self._keys: list[tuple[str, int]] = []
        self._done = 0
        self._handler_errors = HandlerErrors()
        self._told_disabled = False

    async def write(self, events: Sequence[AuditEvent]) -> None:
        """Writes the events, except those that an earlier write of the same batch has written.

        Raises:
            BackendUnavailable: a handler failed, or standard error did.
        """
        batch = tuple(events)
        try:
            await self._thread.run(lambda: self._write(batch))
        except Exception as error:
            raise BackendUnavailable("audit", "a log handler failed") from error

    def _write(self, events: tuple[AuditEvent, ...]) -> None:
        keys = [(event.producer, event.sequence) for event in events]
        if keys != self._keys:
            self._keys, self._done = keys, 0
            self._handler_errors.forget()
        logger = self._logger
        if logger.level > INFO or logger.manager.disable >= INFO:
            return
        if logger.hasHandlers() and not logger.disabled:
            self._told_disabled = False
            for event in events[self._done :]:
                line = json_line(event)
                record = logger.makeRecord(logger.name, INFO, "", 0, line, (), None)
                self._handler_errors.emit(logger, record)
                self._done += 1
            return
        lines = [json_line(event) for event in events[self._done :]]
        if logger.disabled and not self._told_disabled:
            lines.insert(0, _DISABLED.format(logger.name))
        sys.stderr.write("".join([f"{line}\n" for line in lines]))
        sys.stderr.flush()
        self._done = len(events)
        self._told_disabled = logger.disabled


_: type[AuditSink] = LoggingAuditSink
