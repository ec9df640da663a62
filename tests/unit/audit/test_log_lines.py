"""The library's own lines about the audit trail, which wait for no handler."""

from __future__ import annotations

import asyncio
import logging
import threading
from uuid import uuid4

import pytest

from authkit.audit import AuditTrail
from authkit.audit.log_lines import LogLines
from tests.unit.audit.sinks import ControlledSink, request, until

pytestmark = pytest.mark.anyio


class Pipe(logging.Handler):
    """Keeps the lines; blocks while nobody reads, and can raise."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.is_read = threading.Event()
        self.is_read.set()
        self.error: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.is_read.wait(10)
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.lines.append(f"{record.levelname} {record.getMessage()}")


@pytest.fixture
def pipe() -> Pipe:
    """Where the lines go."""
    return Pipe()


@pytest.fixture
def lines(pipe: Pipe) -> LogLines:
    """Lines on a logger of the test's own."""
    logger = logging.getLogger(f"lines-{uuid4()}")
    logger.propagate = False
    logger.addHandler(pipe)
    return LogLines(logger)


async def test_lines_arrive_in_order(lines: LogLines, pipe: Pipe) -> None:
    """Waiting for them sees all that were logged before."""
    await lines.drain(0.0)
    lines.error("%s fails", "disk")
    lines.warning("%d were", 3)
    await lines.drain(5)
    assert pipe.lines == ["ERROR disk fails", "WARNING 3 were"]


async def test_a_pipe_that_nobody_reads_holds_nobody_up(lines: LogLines, pipe: Pipe) -> None:
    """The caller goes on, waiting at the end is bounded, and so is what waits."""
    pipe.is_read.clear()
    for number in range(1_000):
        lines.warning("%d", number)
    await lines.drain(0.01)
    assert pipe.lines == []
    pipe.is_read.set()
    await lines.drain(5)
    assert 100 <= len(pipe.lines) <= 101
    assert pipe.lines[:2] == ["WARNING 0", "WARNING 1"]


async def test_a_handler_that_raises_costs_one_line(lines: LogLines, pipe: Pipe) -> None:
    """The lines behind are written all the same."""
    pipe.error = OSError()
    lines.warning("first")
    lines.warning("second")
    await lines.drain(5)
    assert pipe.lines == ["WARNING second"]


async def test_a_line_waits_for_a_thread(
    lines: LogLines, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started the caller does not fail; the next line takes it along."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        lines.warning("first")
    lines.warning("second")
    await lines.drain(5)
    assert pipe.lines == ["WARNING first", "WARNING second"]


def test_a_loop_that_has_ended_is_not_told(lines: LogLines, pipe: Pipe) -> None:
    """Lines outlive the loop that waited for them."""
    pipe.is_read.clear()
    lines.warning("first")
    asyncio.run(lines.drain(0.01))
    lines.warning("second")
    pipe.is_read.set()
    asyncio.run(lines.drain(5))
    assert pipe.lines == ["WARNING first", "WARNING second"]


async def test_a_trail_goes_on_while_nobody_reads_the_log(pipe: Pipe) -> None:
    """An outage of the sink is told through a pipe that blocks, and the event loop never waits."""
    logger = logging.getLogger("authkit")
    logger.addHandler(pipe)
    pipe.is_read.clear()
    sink = ControlledSink()
    sink.error = OSError()
    try:
        async with AuditTrail(sink, request_capacity=1, retry_seconds=0.001) as trail:
            trail.append_request(request())
            trail.append_request(request())
            await until(lambda: trail.state == "failing")
            sink.error = None
            await until(lambda: trail.state == "ok")
            assert pipe.lines == []
            pipe.is_read.set()
    finally:
        pipe.is_read.set()
        logger.removeHandler(pipe)
    assert pipe.lines == [
        "WARNING audit: events are being dropped: the queue is full",
        "ERROR audit: ControlledSink fails: OSError",
        "WARNING audit: ControlledSink works again",
        "WARNING audit: no more events are dropped; 1 were",
    ]
