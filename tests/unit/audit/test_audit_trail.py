"""What the audit trail admits, drops, numbers and chains, and how it is configured."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from authkit.audit import AuditTrail, chain_event
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import AuditSink, Observable
from authkit.testing import ManualClock
from tests.unit.audit.sinks import ControlledSink, ObservableSink, request, until

pytestmark = pytest.mark.anyio


async def test_events_are_written_in_the_order_of_admission() -> None:
    """Both lanes share one order and one sequence without a gap."""
    sink = ControlledSink()
    async with AuditTrail(sink) as trail:
        trail.append_request(request("first"))
        await trail.append_control("token.revoked", subject="second")
        trail.append_request(request("third"))
        assert trail.append_control_nowait("keys.rotated", "unavailable", subject="fourth")
    assert sink.subjects == ["first", "second", "third", "fourth"]
    assert sink.sequences == [1, 2, 3, 4]
    assert [event.type for event in sink.events] == [
        "token.verified",
        "token.revoked",
        "token.verified",
        "keys.rotated",
    ]
    assert {event.producer for event in sink.events} == {trail.producer}


async def test_a_control_event_keeps_its_fields_and_the_time_of_the_call() -> None:
    """What is on record of a change is what was said, at the clock's time."""
    clock = ManualClock(1_800_000_000.0)
    sink = ControlledSink()
    async with AuditTrail(sink, clock=clock) as trail:
        await trail.append_control(
            "token.revoked",
            "refused",
            code="c",
            issuer="i",
            client_id="cl",
            key_thumbprint="k",
            token_hash="ab" * 32,
            client_address="a",
            request_id="r",
            trace_id="t",
            data={"scope": "token"},
        )
    (event,) = sink.events
    assert (event.time, event.type, event.outcome) == (1_800_000_000.0, "token.revoked", "refused")
    assert (event.code, event.issuer, event.client_id) == ("c", "i", "cl")
    assert (event.key_thumbprint, event.token_hash) == ("k", "ab" * 32)
    assert (event.client_address, event.request_id, event.trace_id) == ("a", "r", "t")
    assert event.data == {"scope": "token"}


async def test_what_comes_before_the_trail_is_entered_is_written_after() -> None:
    """An event of the start-up is not lost for having come early."""
    sink = ControlledSink()
    trail = AuditTrail(sink)
    trail.append_request(request("early"))
    await trail.append_control("verifier.started", subject="also early")
    assert trail.stats()["queued"] == 2
    async with trail:
        pass
    assert sink.subjects == ["early", "also early"]


async def test_appending_never_waits_for_the_sink() -> None:
    """A sink that hangs holds up no request."""
    sink = ControlledSink()
    sink.is_open.clear()
    async with AuditTrail(sink) as trail:
        trail.append_request(request())
        await until(lambda: sink.attempts)
        for number in range(50):
            trail.append_request(request(number))
        assert trail.stats()["queued"] == 51
        assert sink.events == []
        sink.is_open.set()
    assert len(sink.events) == 51


async def test_a_full_lane_drops_the_newest_and_says_so() -> None:
    """The events that were there stay, in one sequence, and one more tells of those missing."""
    sink = ControlledSink()
    trail = AuditTrail(sink, request_capacity=3)
    for number in range(1, 6):
        trail.append_request(request(number, time=float(number)))
    assert trail.stats()["dropped_total"] == 2
    async with trail:
        pass
    assert sink.subjects == ["1", "2", "3", None]
    assert sink.sequences == [1, 2, 3, 4]
    told = sink.events[-1]
    assert (told.type, told.outcome) == ("audit.dropped", "unavailable")
    assert told.data == {"count": 2, "control_count": 0, "since": 4.0}
    assert trail.stats()["dropped_total"] == 2


async def test_control_events_have_room_of_their_own() -> None:
    """A flood of requests leaves room for what was revoked, and only for that."""
    sink = ControlledSink()
    trail = AuditTrail(sink, request_capacity=2, control_capacity=1)
    for number in range(5):
        trail.append_request(request(number))
    assert trail.append_control_nowait("token.revoked")
    trail.append_request(request("late"))
    assert not trail.append_control_nowait("token.revoked")
    async with trail:
        pass
    types = [event.type for event in sink.events]
    assert types == ["token.verified", "token.verified", "token.revoked", "audit.dropped"]
    assert sink.events[-1].data["count"] == 4
    assert sink.events[-1].data["control_count"] == 1
    assert trail.stats()["control_refused_total"] == 1


async def test_a_control_event_waits_for_room() -> None:
    """The call returns once the sink has made room, and the event is written."""
    sink = ControlledSink()
    sink.is_open.clear()
    async with AuditTrail(sink, request_capacity=1, control_capacity=1) as trail:
        await trail.append_control("one")
        await trail.append_control("two")
        third = asyncio.create_task(trail.append_control("three"))
        fourth = asyncio.create_task(trail.append_control("four"))
        await until(lambda: sink.attempts)
        assert not third.done()
        sink.is_open.set()
        await asyncio.gather(third, fourth)
    assert [event.type for event in sink.events] == ["one", "two", "three", "four"]
    assert trail.stats()["control_refused_total"] == 0


async def test_a_control_event_without_room_is_an_outage_after_its_deadline() -> None:
    """Who revokes is told that it is not on record, and the trail tells of it later."""
    sink = ControlledSink()
    trail = AuditTrail(sink, request_capacity=1, control_capacity=1, control_deadline_seconds=0.02)
    await trail.append_control("one")
    await trail.append_control("two")
    with pytest.raises(BackendUnavailable) as raised:
        await trail.append_control("three")
    assert raised.value.interface == "audit"
    assert trail.stats()["control_refused_total"] == 1
    async with trail:
        pass
    assert [event.type for event in sink.events] == ["one", "two", "audit.dropped"]
    assert sink.events[-1].data["control_count"] == 1


async def test_a_cancelled_control_event_is_not_written() -> None:
    """Giving up the wait leaves nothing behind, and harms nobody else who waits."""
    sink = ControlledSink()
    trail = AuditTrail(sink, request_capacity=1, control_capacity=1)
    await trail.append_control("one")
    await trail.append_control("two")
    given_up = asyncio.create_task(trail.append_control("three"))
    waiting = asyncio.create_task(trail.append_control("four"))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    async with trail:
        await waiting
    assert [event.type for event in sink.events] == ["one", "two", "four"]


async def test_every_event_is_chained_to_the_one_before() -> None:
    """Whoever has the key can check the whole trail, over batches and entries."""
    key = b"k" * 32
    sink = ControlledSink()
    trail = AuditTrail(sink, chain_key=key, batch_size=2)
    for number in range(5):
        trail.append_request(request(number))
    async with trail:
        await trail.append_control("token.revoked")
    async with trail:
        trail.append_request(request("later"))
    previous = ""
    for event in sink.events:
        assert event.chain == chain_event(key, previous, event)
        previous = event.chain
    # With an anchor at the end of each run.
    assert sink.sequences == [1, 2, 3, 4, 5, 6, 7, 8, 9]


async def test_without_a_key_there_is_no_chain() -> None:
    """The chain is None where nobody could check it."""
    sink = ControlledSink()
    async with AuditTrail(sink) as trail:
        trail.append_request(request())
    assert sink.events[0].chain is None


async def test_each_trail_has_a_producer_of_its_own() -> None:
    """Events of two processes can be told apart though both count from 1."""
    first, second = AuditTrail(ControlledSink()), AuditTrail(ControlledSink())
    assert first.producer != second.producer
    assert first.producer == first.producer
    runs = [AuditTrail(ControlledSink(), producer="node-7").producer for _ in range(2)]
    assert runs[0] != runs[1], "two runs of one service would pass for one"
    assert all(run.startswith("node-7-") for run in runs)


async def test_figures_tell_what_became_of_the_events() -> None:
    """Every figure is there from the start, and counts what its name says."""
    sink = ControlledSink()
    trail = AuditTrail(sink, request_capacity=2)
    assert set(trail.stats().values()) == {0}
    for _ in range(3):
        trail.append_request(request())
    async with trail:
        pass
    figures = trail.stats()
    assert figures["queued"] == 0
    assert figures["written_total"] == 3  # two of them, and the report of the third
    assert figures["dropped_total"] == 1
    assert figures["is_failing"] == 0
    assert trail.state == "ok"


async def test_an_observable_sink_is_observed_through_the_trail() -> None:
    """Its figures stand beside the trail's own, and its changes reach the trail's listeners."""
    sink = ObservableSink()
    trail = AuditTrail(sink)
    heard: list[Any] = []
    trail.observe(heard.append)
    assert sink.listeners == [heard.append]
    async with trail:
        trail.append_request(request())
    figures = trail.stats()
    assert (figures["sink_written_total"], figures["sink_connections"]) == (1, 2)
    assert isinstance(trail, Observable)


def test_appending_never_raises_even_behind_a_closed_loop() -> None:
    """A loop that was closed without leaving the trail turns no request into an error."""
    loop = asyncio.new_event_loop()
    trail = AuditTrail(ControlledSink())
    loop.run_until_complete(trail.__aenter__())
    loop.run_until_complete(asyncio.sleep(0.01))
    (writer,) = asyncio.all_tasks(loop)
    loop.close()
    trail.append_request(request())
    assert trail.append_control_nowait("verifier.stopped")
    assert trail.stats()["queued"] == 2
    writer.get_coro().close()


def test_a_trail_serves_one_event_loop_after_another() -> None:
    """Two runs of the same application in one process continue one sequence."""
    sink = ControlledSink()
    trail = AuditTrail(sink)

    async def run() -> None:
        async with trail:
            trail.append_request(request())
            await until(lambda: trail.stats()["queued"] == 0)

    asyncio.run(run())
    asyncio.run(run())
    assert sink.sequences == [1, 2]


def test_waiting_for_room_does_not_depend_on_a_loop_that_has_ended() -> None:
    """Who waited in a run that was cut short leaves nothing behind that harms the next run."""
    sink = ControlledSink()
    trail = AuditTrail(sink, request_capacity=1, control_capacity=1)

    async def cut_short() -> None:
        await trail.append_control("one")
        await trail.append_control("two")
        waiting = asyncio.create_task(trail.append_control("never"))
        await asyncio.sleep(0)
        assert not waiting.done()

    async def run() -> None:
        waiting = asyncio.create_task(trail.append_control("three"))
        await asyncio.sleep(0)
        async with trail:
            await waiting

    asyncio.run(cut_short())
    asyncio.run(run())
    assert [event.type for event in sink.events] == ["one", "two", "three"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"request_capacity": 0},
        {"control_capacity": -1},
        {"batch_size": 1.5},
        {"batch_size": True},
        {"linger_seconds": 0.0},
        {"drain_seconds": float("inf")},
        {"write_timeout_seconds": float("nan")},
        {"retry_seconds": 0},
        {"retry_max_seconds": 0},
        {"control_deadline_seconds": 0},
        {"chain_key": b"k" * 31},
        {"chain_key": b"k" * 65},
        {"chain_key": "k" * 32},
        {"producer": ""},
        {"producer": "a\nb"},
        {"producer": "a" * 65},
        {"producer": 7},
    ],
    ids=str,
)
def test_an_argument_that_makes_no_sense_is_refused(arguments: dict[str, Any]) -> None:
    """The message names the argument."""
    with pytest.raises(ConfigurationError, match=next(iter(arguments))) as raised:
        AuditTrail(ControlledSink(), **arguments)
    assert "kkk" not in str(raised.value)


@pytest.mark.parametrize("sink", [None, object(), AuditTrail(ControlledSink())])
def test_what_cannot_write_is_no_sink(sink: AuditSink) -> None:
    """A trail around a trail, or around nothing, fails when it is made."""
    with pytest.raises(ConfigurationError, match="write"):
        AuditTrail(sink)
