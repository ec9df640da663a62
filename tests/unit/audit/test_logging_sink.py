"""Audit events as JSON lines: where they go, how they look, and what a handler's fault does."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from uuid import uuid4

import pytest

from authkit.audit import AuditTrail, LoggingAuditSink
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import AuditEvent
from tests.unit.audit.sinks import request, until

pytestmark = pytest.mark.anyio

EVENT = AuditEvent(
    schema=1,
    producer="p",
    sequence=1,
    time=1_800_000_000.5,
    type="token.verified",
    outcome="accepted",
    code=None,
    issuer="https://login.example.com",
    subject="alice",
    client_id=None,
    token_hash=None,
    key_thumbprint=None,
    client_address=None,
    request_id=None,
    trace_id=None,
    data={"n": 1},
)


def events(count: int) -> list[AuditEvent]:
    return [replace(EVENT, sequence=number) for number in range(1, count + 1)]


class Lines(logging.Handler):
    """Keeps the messages; `fail_at` is the number of the message that raises."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.fail_at = 0
        self.calls = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError("s3cret")
        self.lines.append(record.getMessage())

    @property
    def sequences(self) -> list[int]:
        return [json.loads(line)["sequence"] for line in self.lines]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of the test's own that nothing above it hears of."""
    logger = logging.getLogger(f"audit-{uuid4()}")
    logger.propagate = False
    yield logger
    logger.disabled = False
    logger.handlers.clear()


@pytest.fixture
def handler(logger: logging.Logger) -> Lines:
    """The logger's handler."""
    handler = Lines()
    logger.addHandler(handler)
    return handler


@pytest.fixture
def sink(logger: logging.Logger) -> LoggingAuditSink:
    """A sink on the logger."""
    return LoggingAuditSink(logger.name)


def without_handlers(logger: logging.Logger) -> None:
    """Takes away what pytest has put on the logger for the time of the test."""
    logger.handlers.clear()


async def test_each_event_is_one_line_of_json(sink: LoggingAuditSink, handler: Lines) -> None:
    """Every field stands in it, always in the same order, at the level INFO."""
    await sink.write([EVENT, replace(EVENT, sequence=2, data={}, chain="ab")])
    first, second = (json.loads(line) for line in handler.lines)
    names = [field.name for field in fields(AuditEvent) if field.name != "data"]
    assert list(first) == list(second) == [*names, "data"]
    assert first["subject"] == "alice"
    assert first["data"] == {"n": 1}
    assert (second["sequence"], second["data"], second["chain"]) == (2, {}, "ab")


async def test_the_default_logger_is_not_below_the_librarys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever silences `authkit` still has the audit trail, on `authkit_audit`."""
    logging.getLogger("authkit").setLevel(logging.CRITICAL)
    try:
        await LoggingAuditSink().write([EVENT])
    finally:
        logging.getLogger("authkit").setLevel(logging.NOTSET)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("authkit_audit", logging.INFO)
    assert json.loads(record.getMessage())["sequence"] == 1


async def test_without_a_handler_lines_go_to_standard_error(
    sink: LoggingAuditSink, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service without any logging configuration has its audit trail all the same."""
    without_handlers(logger)
    await sink.write(events(2))
    written = capsys.readouterr().err
    assert [json.loads(line)["sequence"] for line in written.splitlines()] == [1, 2]
    assert written.endswith("}\n")


async def test_nothing_is_written_twice(
    sink: LoggingAuditSink, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """A handler that is added later takes over from standard error, even the root's."""
    without_handlers(logger)
    await sink.write([EVENT])
    logger.propagate = True
    root = Lines()
    logging.getLogger().addHandler(root)
    try:
        await sink.write([replace(EVENT, sequence=2)])
    finally:
        logging.getLogger().removeHandler(root)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert root.sequences == [2]


def test_a_service_without_logging_configuration_prints_json_lines() -> None:
    """The whole of it in a process of its own: a trail, no configuration, one line."""
    script = """
import asyncio
from authkit.audit import AuditTrail, LoggingAuditSink

async def main():
    async with AuditTrail(LoggingAuditSink()) as trail:
        await trail.append_control("verifier.started")

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert json.loads(done.stderr)["type"] == "verifier.started"


async def test_the_roots_level_holds_no_audit_line_back(
    sink: LoggingAuditSink, logger: logging.Logger, handler: Lines
) -> None:
    """The root's WARNING was not said of the audit trail; a level of its own is."""
    assert logger.getEffectiveLevel() == logging.WARNING
    await sink.write([EVENT])
    assert handler.sequences == [1]
    logger.setLevel(logging.ERROR)
    await sink.write([replace(EVENT, sequence=2)])
    logger.setLevel(logging.INFO)
    logging.disable(logging.INFO)
    try:
        await sink.write([replace(EVENT, sequence=3)])
    finally:
        logging.disable(logging.NOTSET)
    await sink.write([replace(EVENT, sequence=4)])
    assert handler.sequences == [1, 4]


async def test_a_disabled_logger_leaves_standard_error(
    sink: LoggingAuditSink,
    logger: logging.Logger,
    handler: Lines,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`logging.config` disables loggers that it does not name; no line is lost by that."""
    logger.disabled = True
    await sink.write([EVENT])
    await sink.write([replace(EVENT, sequence=2)])
    told, *lines = capsys.readouterr().err.splitlines()
    assert told.startswith(f"audit: the logger {logger.name} is disabled")
    assert "disable_existing_loggers" in told
    assert [json.loads(line)["sequence"] for line in lines] == [1, 2]
    logger.disabled = False
    await sink.write([replace(EVENT, sequence=3)])
    assert handler.sequences == [3]
    logger.disabled = True
    await sink.write([replace(EVENT, sequence=4)])
    assert len(capsys.readouterr().err.splitlines()) == 2


async def test_a_level_silences_a_disabled_logger_too(
    sink: LoggingAuditSink, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who wants no audit lines says so by the logger's level."""
    logger.disabled = True
    logger.setLevel(logging.CRITICAL)
    await sink.write([EVENT])
    assert capsys.readouterr().err == ""


def test_a_configuration_that_forgets_the_loggers_loses_no_line() -> None:
    """dictConfig disables what it does not name, unless told otherwise."""
    script = """
import asyncio
import logging.config
from authkit.audit import AuditTrail, LoggingAuditSink

trail = AuditTrail(LoggingAuditSink())
logging.config.dictConfig({"version": 1, "root": {"level": "INFO"}})

async def main():
    async with trail:
        await trail.append_control("verifier.started")

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    told, line = done.stderr.splitlines()
    assert "authkit_audit is disabled" in told
    assert json.loads(line)["type"] == "verifier.started"


class Quiet(Lines):
    """Keeps its errors to itself, as the handlers of the standard library do."""

    def __init__(self) -> None:
        super().__init__()
        self.reported: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        self.reported.append(record.getMessage())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
async def test_a_full_disk_fails_the_write(
    sink: LoggingAuditSink, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """A FileHandler only prints a traceback; the trail must learn of it, once for the outage."""
    full = logging.FileHandler("/dev/full")
    logger.addHandler(full)
    try:
        with pytest.raises(BackendUnavailable) as raised:
            await sink.write(events(3))
        assert isinstance(raised.value.__cause__, OSError)
        assert raised.value.__cause__.errno == errno.ENOSPC
        assert capsys.readouterr().err == ""
        trail = AuditTrail(sink, retry_seconds=0.001, drain_seconds=0.05)
        async with trail:
            trail.append_request(request())
            await until(lambda: trail.stats()["is_failing"])
        assert trail.stats()["written_total"] == 0
    finally:
        with suppress(OSError):
            full.close()


async def test_an_error_that_a_handler_keeps_fails_the_write(
    sink: LoggingAuditSink, logger: logging.Logger, handler: Lines
) -> None:
    """Only the handler that failed gets the line again, and nothing is missing or out of order."""
    quiet = Quiet()
    quiet.fail_at = 2
    logger.addHandler(quiet)
    with pytest.raises(BackendUnavailable):
        await sink.write(events(3))
    assert (handler.sequences, quiet.sequences) == ([1, 2], [1])
    await sink.write(events(3))
    assert handler.sequences == quiet.sequences == [1, 2, 3]
    assert quiet.reported == []


async def test_a_handler_that_was_replaced_is_not_waited_for(
    sink: LoggingAuditSink, logger: logging.Logger
) -> None:
    """Reconfiguring the log ends its outage: the new handler gets the line."""
    quiet, other = Quiet(), Lines()
    quiet.fail_at = 1
    logger.addHandler(quiet)
    with pytest.raises(BackendUnavailable):
        await sink.write(events(2))
    logger.removeHandler(quiet)
    logger.addHandler(other)
    await sink.write(events(2))
    assert (quiet.sequences, other.sequences) == ([], [1, 2])


async def test_a_batch_that_was_given_up_leaves_no_handler_out(
    sink: LoggingAuditSink, logger: logging.Logger, handler: Lines
) -> None:
    """Another batch goes to all handlers, whoever failed with the one before."""
    quiet = Quiet()
    quiet.fail_at = 1
    logger.addHandler(quiet)
    with pytest.raises(BackendUnavailable):
        await sink.write(events(1))
    await sink.write([replace(EVENT, sequence=2)])
    assert (handler.sequences, quiet.sequences) == ([1, 2], [2])


async def test_errors_of_other_records_stay_with_their_handler(
    sink: LoggingAuditSink, logger: logging.Logger
) -> None:
    """Whoever else logs to the same handler finds it as it was."""
    quiet = Quiet()
    logger.addHandler(quiet)
    await sink.write(events(1))
    quiet.fail_at = 2
    logger.error("of another kind")
    assert quiet.reported == ["of another kind"]
    await sink.write([replace(EVENT, sequence=2)])
    assert quiet.sequences == [1, 2]


async def test_an_error_without_an_exception_fails_the_write(
    sink: LoggingAuditSink, logger: logging.Logger
) -> None:
    """A handler may call handleError without having caught anything."""

    class Odd(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            self.handleError(record)

    logger.addHandler(Odd())
    with pytest.raises(BackendUnavailable):
        await sink.write([EVENT])


HOSTILE = 'a\nb\r\x00\x1b[31m\x7f\x85\u2028\u2029\u202e\ud800\U0001f600"}\\%s %d'


async def test_no_text_can_end_or_forge_a_line(sink: LoggingAuditSink, handler: Lines) -> None:
    """CWE-117: whatever stands in an event, its line is one line of printable ASCII."""
    await sink.write([replace(EVENT, subject=HOSTILE, data={HOSTILE: HOSTILE})])
    (line,) = handler.lines
    assert all(" " <= character <= "~" for character in line)
    members = json.loads(line)
    assert members["subject"] == HOSTILE
    assert members["data"] == {HOSTILE: HOSTILE}


async def test_a_handler_that_raises_fails_the_write(
    sink: LoggingAuditSink, handler: Lines
) -> None:
    """The batch given again is taken up where the handler failed."""
    handler.fail_at = 3
    with pytest.raises(BackendUnavailable) as raised:
        await sink.write(events(4))
    assert raised.value.interface == "audit"
    assert "s3cret" not in str(raised.value)
    assert handler.sequences == [1, 2]
    await sink.write(events(4))
    assert handler.sequences == [1, 2, 3, 4]


async def test_standard_error_that_is_gone_fails_the_write(
    sink: LoggingAuditSink, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed stream is an outage like any other."""
    without_handlers(logger)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    with pytest.raises(BackendUnavailable):
        await sink.write([EVENT])


async def test_an_empty_batch_is_no_line(sink: LoggingAuditSink, handler: Lines) -> None:
    """Nothing to write is written at once."""
    await sink.write([])
    assert handler.lines == []


async def test_a_handler_that_blocks_does_not_block_the_event_loop(
    sink: LoggingAuditSink, handler: Lines
) -> None:
    """A slow disk costs the audit trail time, not the requests."""
    disk = threading.Event()
    handler.addFilter(lambda record: disk.wait(5))
    writing = asyncio.create_task(sink.write([EVENT]))
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not writing.done()
    disk.set()
    await writing
    assert handler.sequences == [1]


async def test_a_cancelled_write_is_taken_up_where_it_stands(
    sink: LoggingAuditSink, handler: Lines
) -> None:
    """The batch given again neither doubles a line nor overtakes one."""
    disk, is_writing = threading.Event(), threading.Event()

    def wait(record: logging.LogRecord) -> bool:
        is_writing.set()
        return disk.wait(5)

    handler.addFilter(wait)
    first = asyncio.create_task(sink.write(events(3)))
    await asyncio.to_thread(is_writing.wait, 5)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    given_up = asyncio.create_task(sink.write(events(3)))
    again = asyncio.create_task(sink.write(events(3)))
    await asyncio.sleep(0)
    given_up.cancel()
    later = asyncio.create_task(sink.write([replace(EVENT, sequence=4)]))
    await asyncio.sleep(0)
    disk.set()
    await asyncio.gather(again, later)
    assert handler.sequences == [1, 2, 3, 4]


async def test_a_trail_with_a_failing_handler_loses_nothing(
    sink: LoggingAuditSink, handler: Lines
) -> None:
    """The trail and the sink together: each event once, in order, though a handler failed twice."""
    handler.fail_at = 2
    async with AuditTrail(sink, retry_seconds=0.001) as trail:
        for number in range(5):
            trail.append_request(request(number))
    assert handler.sequences == [1, 2, 3, 4, 5]
    assert trail.stats()["write_failures_total"] == 1


def test_a_sink_serves_one_event_loop_after_another(sink: LoggingAuditSink, handler: Lines) -> None:
    """Its thread does not belong to a loop."""
    asyncio.run(sink.write([EVENT]))
    asyncio.run(sink.write([replace(EVENT, sequence=2)]))
    assert handler.sequences == [1, 2]


def test_the_root_logger_is_not_a_logger_of_its_own() -> None:
    """Without a name the lines could not be told from others."""
    with pytest.raises(ConfigurationError, match="name"):
        LoggingAuditSink("")
