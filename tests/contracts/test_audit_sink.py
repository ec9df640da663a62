"""Every AuditSink keeps the contract."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from authkit.audit import FanOutAuditSink, FileAuditSink, LoggingAuditSink
from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import AuditEvent
from authkit.testing import AssertingAuditSink
from authkit.testing.contracts import AuditSinkContract, event_fields
from authkit.testing.contracts.backend import Outage
from authkit_memory import MemoryAuditSink

Written = Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]


class TestMemoryInOneProcess(AuditSinkContract):
    """MemoryAuditSink."""

    is_deduplicating = True
    is_observable = True

    @pytest.fixture
    def sink(self) -> MemoryAuditSink:
        return MemoryAuditSink()

    @pytest.fixture
    def written(self, sink: MemoryAuditSink) -> Written:
        async def written() -> Sequence[Mapping[str, Any]]:
            return list(map(event_fields, sink.events))

        return written


class TestAssertingInOneProcess(AuditSinkContract):
    """AssertingAuditSink, which stands in for others in tests."""

    @pytest.fixture
    def sink(self) -> AssertingAuditSink:
        return AssertingAuditSink()

    @pytest.fixture
    def written(self, sink: AssertingAuditSink) -> Written:
        async def written() -> Sequence[Mapping[str, Any]]:
            return list(map(event_fields, sink.events))

        return written


class ListHandler(logging.Handler):
    """Keeps the lines that reach it, or fails as a full disk would."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.is_down = False

    def emit(self, record: logging.LogRecord) -> None:
        if self.is_down:
            raise OSError("no space left on device")
        self.lines.append(self.format(record))

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False


class TestLoggingToOneHandler(AuditSinkContract):
    """LoggingAuditSink with a handler that writes JSON lines."""

    can_fail = True

    @pytest.fixture
    def handler(self) -> Iterator[ListHandler]:
        logger, handler = logging.getLogger("authkit_audit_contract"), ListHandler()
        logger.propagate = False
        logger.addHandler(handler)
        yield handler
        logger.removeHandler(handler)

    @pytest.fixture
    def sink(self, handler: ListHandler) -> LoggingAuditSink:
        return LoggingAuditSink("authkit_audit_contract")

    @pytest.fixture
    def written(self, handler: ListHandler) -> Written:
        async def written() -> Sequence[Mapping[str, Any]]:
            return [json.loads(line) for line in handler.lines]

        return written

    @pytest.fixture
    def outage(self, handler: ListHandler) -> Outage:
        return handler.outage


class TestFile(AuditSinkContract):
    """FileAuditSink."""

    can_fail = True
    is_context_manager = True

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "audit"
        folder.mkdir()
        return folder

    @pytest.fixture
    async def sink(self, folder: Path) -> AsyncGenerator[FileAuditSink]:
        async with FileAuditSink(folder / "audit.jsonl", fsync=False) as sink:
            yield sink

    @pytest.fixture
    def written(self, folder: Path) -> Written:
        async def written() -> Sequence[Mapping[str, Any]]:
            text = await asyncio.to_thread((folder / "audit.jsonl").read_text, "ascii")
            return [json.loads(line) for line in text.split("\n") if line]

        return written

    @pytest.fixture
    def outage(self, folder: Path) -> Outage:
        """The volume is gone, with all that was on it, and comes back."""

        @asynccontextmanager
        async def outage() -> AsyncGenerator[None]:
            elsewhere = folder.with_name("unmounted")
            await asyncio.to_thread(folder.rename, elsewhere)
            try:
                yield
            finally:
                await asyncio.to_thread(elsewhere.rename, folder)

        return outage


class FailingSink(MemoryAuditSink):
    """A MemoryAuditSink that can go down."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False

    async def write(self, events: Sequence[AuditEvent]) -> None:
        if self.is_down:
            raise BackendUnavailable("audit")
        await super().write(events)

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False


class FanOutContract(AuditSinkContract):
    """FanOutAuditSink to two sinks, of which the second can fail."""

    can_fail = True
    is_deduplicating = True
    is_observable = True
    is_context_manager = True

    @pytest.fixture
    def sinks(self) -> tuple[MemoryAuditSink, FailingSink]:
        return MemoryAuditSink(), FailingSink()

    @pytest.fixture
    def sink(self, sinks: tuple[MemoryAuditSink, FailingSink], clock: Clock) -> FanOutAuditSink:
        return FanOutAuditSink(*sinks, clock=clock)

    @pytest.fixture
    def outage(self, sinks: tuple[MemoryAuditSink, FailingSink]) -> Outage:
        return sinks[1].outage


class TestFanOutToTheSinkThatStays(FanOutContract):
    """What arrives in the sink that works while the other one fails."""

    @pytest.fixture
    def written(self, sinks: tuple[MemoryAuditSink, FailingSink]) -> Written:
        async def written() -> Sequence[Mapping[str, Any]]:
            return list(map(event_fields, sinks[0].events))

        return written


class TestFanOutToTheSinkThatFails(FanOutContract):
    """What arrives in the sink that fails."""

    @pytest.fixture
    def written(self, sinks: tuple[MemoryAuditSink, FailingSink]) -> Written:
        async def written() -> Sequence[Mapping[str, Any]]:
            return list(map(event_fields, sinks[1].events))

        return written
