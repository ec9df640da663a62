"""The contract of an AuditSink."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import pytest

from authkit.errors import BackendUnavailable
from authkit.interfaces import AuditEvent, AuditSink
from authkit.testing.contracts.backend import Advance, BackendContract, Outage, needs
from authkit.testing.contracts.concurrency import cancelled_among, together
from authkit.testing.contracts.difficult_text import EACH_DIFFICULT_TEXT

__all__ = ["AuditSinkContract", "event_fields"]

AT_ONCE = 50

Written = Callable[[], Awaitable[Iterable[Mapping[str, Any]]]]
"""What the sink has written so far, in order, each event as `event_fields` gives it."""

PLAIN = AuditEvent(
    schema=1,
    producer="producer-1",
    sequence=1,
    time=1_800_000_000.25,
    type="token.verified",
    outcome="accepted",
    code=None,
    issuer=None,
    subject=None,
    client_id=None,
    token_hash=None,
    key_thumbprint=None,
    client_address=None,
    request_id=None,
    trace_id=None,
)
"""An event with as few facts as there can be."""

FULL = replace(
    PLAIN,
    outcome="refused",
    code="token_expired",
    issuer="https://issuer.example",
    subject="subject-1",
    client_id="client-1",
    token_hash="5e" * 32,
    key_thumbprint="NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    client_address="2001:db8::1",
    request_id="request-1",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    data={
        "text": "a",
        "whole": -(2**53 - 1),
        "fraction": 0.1,
        "yes": True,
        "no": False,
        "none": None,
    },
    chain="c4" * 32,
)
"""An event with every fact that there can be."""


def event_fields(event: AuditEvent) -> dict[str, Any]:
    """All fields of an event by name, as JSON could hold them."""
    values = {field.name: getattr(event, field.name) for field in fields(event)}
    return values | {"data": dict(event.data)}


def _batch(producer: str, first: int = 1, length: int = 3) -> list[AuditEvent]:
    """So many events of one producer, one after the other."""
    return [replace(FULL, producer=producer, sequence=first + n) for n in range(length)]


class AuditSinkContract(BackendContract):
    """What an AuditSink promises.

    Subclass it and override the fixtures `sink`, a sink that has written nothing yet, and
    `written`, which reads back what it wrote:

        class TestMySink(AuditSinkContract):
            @pytest.fixture
            def sink(self, tmp_path):
                return MySink(tmp_path / "audit.jsonl")

            @pytest.fixture
            def written(self, tmp_path):
                async def written():
                    text = (tmp_path / "audit.jsonl").read_text("utf-8")
                    return [json.loads(line) for line in text.split("\n") if line]

                return written

    Attributes:
        is_deduplicating: an event that it has written already, by (producer, sequence), is not
            written again.

    The attributes of `BackendContract` and its fixtures `clock`, `advance` and `outage` are
    there too.
    """

    interface = "audit"
    is_deduplicating: bool = False

    @pytest.fixture
    def sink(self) -> AuditSink:
        """The sink under test; to be overridden."""
        raise NotImplementedError("override the fixture `sink`")

    @pytest.fixture
    def written(self) -> Written:
        """Reads back what was written; to be overridden."""
        raise NotImplementedError("override the fixture `written`")

    @pytest.fixture
    def backend(self, sink: AuditSink) -> AuditSink:
        return sink

    async def use(self, backend: AuditSink) -> None:
        await backend.write([PLAIN])

    async def write(self, sink: AuditSink, events: Sequence[AuditEvent]) -> None:
        await self.in_time(sink.write(events))

    async def assert_written(self, written: Written, *events: AuditEvent) -> None:
        """Checks that just these have been written, in this order."""
        assert list(await written()) == [event_fields(event) for event in events]

    # What is written

    @pytest.mark.parametrize("event", [PLAIN, FULL], ids=["plain", "full"])
    async def test_writes_every_field(
        self, sink: AuditSink, written: Written, event: AuditEvent
    ) -> None:
        """What arrives is the event, with each of its fields, None or not."""
        await self.write(sink, [event])
        await self.assert_written(written, event)

    async def test_writes_the_whole_batch_in_order(self, sink: AuditSink, written: Written) -> None:
        """Events arrive in the order of the batch, batch after batch."""
        events = _batch("producer-1", length=500)
        await self.write(sink, events[:400])
        await self.write(sink, events[400:])
        await self.assert_written(written, *events)

    async def test_keeps_the_order_that_it_is_given(
        self, sink: AuditSink, written: Written
    ) -> None:
        """Producers and lanes mix in a batch, so it sorts nothing."""
        events = [
            replace(PLAIN, producer=producer, sequence=sequence, time=time)
            for producer, sequence, time in [("b", 7, 30.0), ("a", 2, 20.0), ("b", 8, 10.0)]
        ]
        await self.write(sink, events)
        await self.assert_written(written, *events)

    async def test_an_empty_batch_writes_nothing(self, sink: AuditSink, written: Written) -> None:
        """A batch without events is no error."""
        await self.write(sink, [])
        await self.assert_written(written)

    async def test_takes_any_sequence(self, sink: AuditSink, written: Written) -> None:
        """A tuple is as good as a list."""
        events = tuple(_batch("producer-1"))
        await self.write(sink, events)
        await self.assert_written(written, *events)

    async def test_the_batch_stays_its_owners(self, sink: AuditSink, written: Written) -> None:
        """Once `write` has returned, the list may be used again for other events."""
        events = _batch("producer-1")
        given = list(events)
        await self.write(sink, given)
        assert given == events
        given.clear()
        await self.assert_written(written, *events)

    @EACH_DIFFICULT_TEXT
    async def test_takes_any_text(self, sink: AuditSink, written: Written, text: str) -> None:
        """Texts of events may hold any characters and be long; two events stay two."""
        event = replace(
            FULL, subject=text, client_id=text, request_id=text, data={text: text, "after": 1}
        )
        await self.write(sink, [event, replace(event, sequence=2)])
        await self.assert_written(written, event, replace(event, sequence=2))

    # Repetition

    @needs("is_deduplicating")
    async def test_writes_an_event_once(self, sink: AuditSink, written: Written) -> None:
        """A batch that is given again adds only what was not written yet."""
        events = _batch("producer-1", length=5)
        await self.write(sink, events[:3])
        await self.write(sink, events)
        await self.assert_written(written, *events)

    @needs("is_deduplicating")
    async def test_only_the_same_producer_and_sequence_is_the_same_event(
        self, sink: AuditSink, written: Written
    ) -> None:
        """Another producer's event of the same number is another event."""
        events = [*_batch("producer-1"), *_batch("producer-2"), *_batch("producer-1", first=4)]
        for event in events:
            await self.write(sink, [event])
        await self.assert_written(written, *events)

    async def test_takes_the_same_batch_again(self, sink: AuditSink, written: Written) -> None:
        """A batch that is given again is no error, and every event of it is written."""
        events = _batch("producer-1")
        await self.write(sink, events)
        await self.write(sink, events)
        arrived = list(await written())
        assert [event_fields(event) for event in events] == arrived[:3]
        assert arrived[3:] in ([], arrived[:3])

    # Concurrency

    async def test_keeps_the_order_of_each_batch_at_once(
        self, sink: AuditSink, written: Written
    ) -> None:
        """Of fifty batches written at the same time each arrives whole and in its order."""
        batches = [_batch(f"producer-{number}") for number in range(AT_ONCE)]
        await together(self.timeout_seconds, map(sink.write, batches))
        await _assert_each_in_order(written, batches)

    async def test_a_cancelled_write_harms_no_other(
        self, sink: AuditSink, written: Written
    ) -> None:
        """Cancelled at any await, a batch may be written again, and others arrive whole."""
        numbers = iter(range(1000))
        cancelled = _batch("cancelled")

        async def another() -> list[AuditEvent]:
            events = _batch(f"neighbour-{next(numbers)}")
            await sink.write(events)
            return events

        batches = await cancelled_among(
            self.timeout_seconds, lambda: sink.write(cancelled), another
        )
        await self.write(sink, cancelled)
        await _assert_each_in_order(written, batches)
        arrived = [it["sequence"] for it in await written() if it["producer"] == "cancelled"]
        assert arrived[:3] == [1, 2, 3] if self.is_deduplicating else arrived[-3:] == [1, 2, 3]

    # Outages

    @needs("can_fail")
    async def test_an_outage_is_said_to_be_one(self, sink: AuditSink, outage: Outage) -> None:
        """What is not known to be written raises BackendUnavailable, in time."""
        async with outage():
            await self.assert_unavailable(sink.write(_batch("producer-1")))

    @needs("can_fail")
    async def test_a_batch_can_be_given_again_after_an_outage(
        self, sink: AuditSink, written: Written, outage: Outage, advance: Advance
    ) -> None:
        """After the outage the batch that raised is written whole, behind what came before it."""
        before, during = _batch("before"), _batch("during")
        await self.write(sink, before)
        async with outage():
            with suppress(BackendUnavailable):
                await self.write(sink, during)
        await advance(self.staleness_seconds)
        await self.write(sink, during)
        arrived = list(await written())
        assert arrived[:3] == [event_fields(event) for event in before]
        assert arrived[-3:] == [event_fields(event) for event in during]


async def _assert_each_in_order(written: Written, batches: Sequence[Sequence[AuditEvent]]) -> None:
    arrived: dict[str, list[int]] = {}
    for event in await written():
        arrived.setdefault(event["producer"], []).append(event["sequence"])
    expected = {events[0].producer: [event.sequence for event in events] for events in batches}
    assert {producer: arrived.get(producer) for producer in expected} == expected
