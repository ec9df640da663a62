"""An audit sink that keeps every promise; each of its steps can be replaced by a bad one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from authkit.errors import BackendUnavailable
from authkit.interfaces import AuditEvent, AuditSink
from authkit.testing.contracts import AuditSinkContract, event_fields
from authkit.testing.contracts.audit_sink import Written
from authkit.testing.contracts.backend import Outage


class HonestSink:
    """Keeps the fields of each event once."""

    breaks: tuple[str, ...] = ()
    """The tests that must fail, and no other."""

    breaks_more: bool = False
    """So much is wrong that other tests fail too."""

    declares: ClassVar[Mapping[str, object]] = {}
    """What its suite says beside what is true of all."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.known: set[tuple[object, ...]] = set()
        self.is_down = False

    async def write(self, events: Sequence[AuditEvent]) -> None:
        self.answer()
        for event in events:
            self.write_one(event)

    # The steps

    def answer(self) -> None:
        if self.is_down:
            raise BackendUnavailable("audit")

    def write_one(self, event: AuditEvent) -> None:
        if self.is_new(event):
            self.rows.append(self.row(event))

    def is_new(self, event: AuditEvent) -> bool:
        identity = self.identity(event)
        is_new = identity not in self.known
        self.known.add(identity)
        return is_new

    def identity(self, event: AuditEvent) -> tuple[object, ...]:
        return (event.producer, event.sequence)

    def row(self, event: AuditEvent) -> Mapping[str, Any]:
        return event_fields(event)

    # What the test does to it

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False


class Sinks(AuditSinkContract):
    kind = HonestSink
    can_fail = True
    is_deduplicating = True

    @pytest.fixture
    def sink(self) -> AuditSink:
        return self.kind()

    @pytest.fixture
    def written(self, sink: HonestSink) -> Written:
        async def written() -> Sequence[Mapping[str, Any]]:
            return sink.rows

        return written

    @pytest.fixture
    def outage(self, sink: HonestSink) -> Outage:
        return sink.outage
