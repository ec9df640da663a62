"""Audit sinks that break one promise each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableSequence, Sequence
from typing import Any, ClassVar

from authkit.errors import BackendUnavailable
from authkit.interfaces import AuditEvent
from tests.contracts.bad_backends.honest_audit_sink import HonestSink


class DropsTheChain(HonestSink):
    breaks = ("test_writes_every_field",)
    breaks_more = True

    def row(self, event: AuditEvent) -> Mapping[str, Any]:
        return {name: value for name, value in super().row(event).items() if name != "chain"}


class WritesNoneAsText(HonestSink):
    breaks = ("test_keeps_the_order_that_it_is_given", "test_writes_every_field")

    def row(self, event: AuditEvent) -> Mapping[str, Any]:
        return {
            name: "None" if value is None else value for name, value in super().row(event).items()
        }


class RoundsTimes(HonestSink):
    breaks = ("test_writes_every_field",)
    breaks_more = True

    def row(self, event: AuditEvent) -> Mapping[str, Any]:
        return {**super().row(event), "time": int(event.time)}


class SortsByTime(HonestSink):
    breaks = ("test_keeps_the_order_that_it_is_given",)

    async def write(self, events: Sequence[AuditEvent]) -> None:
        await super().write(sorted(events, key=lambda event: event.time))


class SortsByProducer(HonestSink):
    breaks = ("test_keeps_the_order_that_it_is_given",)

    async def write(self, events: Sequence[AuditEvent]) -> None:
        await super().write(sorted(events, key=lambda event: event.producer))


class CutsLongBatches(HonestSink):
    breaks = ("test_writes_the_whole_batch_in_order",)

    async def write(self, events: Sequence[AuditEvent]) -> None:
        await super().write(events[:256])


class KeepsTheNewestFirst(HonestSink):
    breaks = ("test_writes_the_whole_batch_in_order",)
    breaks_more = True

    def write_one(self, event: AuditEvent) -> None:
        if self.is_new(event):
            self.rows.insert(0, self.row(event))


class MarksEachBatch(HonestSink):
    breaks = ("test_an_empty_batch_writes_nothing",)

    async def write(self, events: Sequence[AuditEvent]) -> None:
        if not events:
            self.rows.append({"type": "empty batch"})
        await super().write(events)


class TakesListsOnly(HonestSink):
    breaks = ("test_takes_any_sequence",)

    async def write(self, events: Sequence[AuditEvent]) -> None:
        if not isinstance(events, list):
            raise BackendUnavailable("audit", "not a list")
        await super().write(events)


class KeepsTheListItself(HonestSink):
    """The list is the caller's, who uses it for the next batch."""

    breaks = ("test_the_batch_stays_its_owners",)

    def __init__(self) -> None:
        self.batches: list[Sequence[AuditEvent]] = []
        super().__init__()

    async def write(self, events: Sequence[AuditEvent]) -> None:
        self.answer()
        self.batches.append(events)

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        self.known.clear()
        events = [event for batch in self.batches for event in batch]
        return [self.row(event) for event in events if self.is_new(event)]

    @rows.setter
    def rows(self, rows: list[Mapping[str, Any]]) -> None:
        """There are none but the batches."""


class EmptiesTheList(HonestSink):
    breaks = ("test_the_batch_stays_its_owners",)
    breaks_more = True

    async def write(self, events: Sequence[AuditEvent]) -> None:
        if not isinstance(events, MutableSequence):
            return await super().write(events)
        while events:
            await super().write([events.pop(0)])


class CutsLongTexts(HonestSink):
    breaks = ("test_takes_any_text",)

    def row(self, event: AuditEvent) -> Mapping[str, Any]:
        return {
            name: value[:1024] if isinstance(value, str) else value
            for name, value in super().row(event).items()
        }


class EscapesNewlines(HonestSink):
    breaks = ("test_takes_any_text",)

    def row(self, event: AuditEvent) -> Mapping[str, Any]:
        row = super().row(event)
        return {**row, "subject": row["subject"] and row["subject"].replace("\n", "\\n")}


class KnowsEventsByTheirNumber(HonestSink):
    breaks = ("test_only_the_same_producer_and_sequence_is_the_same_event",)
    breaks_more = True

    def identity(self, event: AuditEvent) -> tuple[object, ...]:
        return (event.sequence,)


class KnowsBatchesOnly(HonestSink):
    """A batch that begins like one before is taken for it."""

    breaks = ("test_writes_an_event_once",)

    async def write(self, events: Sequence[AuditEvent]) -> None:
        self.answer()
        if events and not self.is_new(events[0]):
            return
        self.rows += [self.row(event) for event in events]


class WritesTwice(HonestSink):
    breaks = ("test_writes_an_event_once",)

    def is_new(self, event: AuditEvent) -> bool:
        return True


class RefusesTheSameBatch(HonestSink):
    breaks = ("test_takes_the_same_batch_again",)
    breaks_more = True

    def is_new(self, event: AuditEvent) -> bool:
        if not super().is_new(event):
            raise BackendUnavailable("audit", "it is there already")
        return True


class MixesUpWhatComesAtOnce(HonestSink):
    breaks = ("test_keeps_the_order_of_each_batch_at_once",)

    def __init__(self) -> None:
        super().__init__()
        self.under_way = 0

    async def write(self, events: Sequence[AuditEvent]) -> None:
        self.under_way += 1
        await asyncio.sleep(0)
        await super().write(events[::-1] if self.under_way > 10 else events)
        self.under_way -= 1


class LosesSomeAtOnce(HonestSink):
    breaks = (
        "test_a_cancelled_write_harms_no_other",
        "test_keeps_the_order_of_each_batch_at_once",
    )

    async def write(self, events: Sequence[AuditEvent]) -> None:
        self.answer()
        rows = [*self.rows, *(self.row(event) for event in events if self.is_new(event))]
        await asyncio.sleep(0)
        self.rows = rows


class RemembersWhatItDidNotWrite(HonestSink):
    breaks = ("test_a_cancelled_write_harms_no_other",)

    async def write(self, events: Sequence[AuditEvent]) -> None:
        self.answer()
        new = [event for event in events if self.is_new(event)]
        await asyncio.sleep(0)  # where a cancellation loses what is believed to be written
        self.rows += [self.row(event) for event in new]


class NeverFreesItsLock(HonestSink):
    breaks = ("test_a_cancelled_write_harms_no_other",)

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()

    async def write(self, events: Sequence[AuditEvent]) -> None:
        await self.lock.acquire()
        await asyncio.sleep(0)  # where a cancellation leaves the lock behind
        try:
            await super().write(events)
        finally:
            self.lock.release()


class SaysNothingOfAnOutage(HonestSink):
    breaks = ("test_an_outage_is_said_to_be_one",)

    async def write(self, events: Sequence[AuditEvent]) -> None:
        if not self.is_down:
            await super().write(events)


class LetsItsDriversErrorsOut(HonestSink):
    breaks = (
        "test_a_batch_can_be_given_again_after_an_outage",
        "test_an_outage_is_said_to_be_one",
    )

    def answer(self) -> None:
        if self.is_down:
            raise OSError("no space left on device")


class HangsInAnOutage(HonestSink):
    breaks = (
        "test_a_batch_can_be_given_again_after_an_outage",
        "test_an_outage_is_said_to_be_one",
    )

    async def write(self, events: Sequence[AuditEvent]) -> None:
        if self.is_down:
            await asyncio.Event().wait()
        await super().write(events)


class BelievesItHasWritten(HonestSink):
    """What it failed to write it takes for written when it is given again."""

    breaks = ("test_a_batch_can_be_given_again_after_an_outage",)

    async def write(self, events: Sequence[AuditEvent]) -> None:
        if self.is_down:
            self.known.update(map(self.identity, events))
        await super().write(events)


class BeginsAnewAfterAnOutage(HonestSink):
    breaks = ("test_a_batch_can_be_given_again_after_an_outage",)

    def answer(self) -> None:
        if self.is_down:
            self.rows.clear()
        super().answer()


class ForgetsToSayThatItIsEntered(HonestSink):
    """Its suite says `is_context_manager = False`, so its opening and closing go untested."""

    breaks = ("test_declares_the_abilities_that_it_has",)
    declares: ClassVar[Mapping[str, object]] = {"is_context_manager": False}

    async def __aenter__(self) -> HonestSink:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_down = True
