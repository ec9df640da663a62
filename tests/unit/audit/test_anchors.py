"""When the trail has anchors, what they say, and where their copies go."""

from __future__ import annotations

import asyncio

import pytest

from authkit.audit import AuditTrail, chain_event
from authkit.errors import ConfigurationError
from authkit.interfaces import StateChange
from authkit.testing import ManualClock
from tests.unit.audit.sinks import ControlledSink, EnteredSink, ObservableSink, request, until

pytestmark = pytest.mark.anyio

KEY = b"k" * 32


def anchors(sink: ControlledSink) -> list[tuple[int, object]]:
    return [(e.sequence, e.data["is_last"]) for e in sink.events if e.type == "audit.anchor"]


async def test_an_anchor_comes_when_its_time_has_come_and_something_happened() -> None:
    """Behind the first batch, then once in the period, and never twice behind the same event."""
    clock, sink = ManualClock(), ControlledSink()
    async with AuditTrail(sink, chain_key=KEY, anchor_seconds=60, clock=clock) as trail:
        for _ in range(2):
            trail.append_request(request())
            await until(lambda: anchors(sink) and trail.stats()["queued"] == 0)
        assert anchors(sink) == [(2, False)]
        clock.advance(60)
        trail.append_request(request())
        await until(lambda: len(sink.events) == 5)
        clock.advance(600)
        trail.append_request(request())
        await until(lambda: len(sink.events) == 6)
        assert anchors(sink) == [(2, False), (5, False)]
    assert anchors(sink) == [(2, False), (5, False), (7, True)]
    assert trail.stats()["anchors_total"] == 3


async def test_a_quiet_trail_gets_its_anchor_and_no_second_one() -> None:
    """The last event before the night is not without one until the morning."""
    sink = ControlledSink()
    async with AuditTrail(sink, chain_key=KEY, anchor_seconds=0.01) as trail:
        trail.append_request(request())
        await until(lambda: len(anchors(sink)) == 1)
        trail.append_request(request())
        await until(lambda: len(anchors(sink)) == 2)
        await asyncio.sleep(0.05)
        assert anchors(sink) == [(2, False), (4, False)]


async def test_the_last_event_of_a_clean_stop_is_an_anchor() -> None:
    """Each run ends with one, a run without events does not, and one can be checked alone."""
    sink = ControlledSink()
    trail = AuditTrail(sink, chain_key=KEY)
    async with trail:
        trail.append_request(request())
    async with trail:
        pass
    async with trail:
        trail.append_request(request())
    assert anchors(sink) == [(2, True), (4, True)]
    for event in sink.events[1::2]:
        assert event.chain == chain_event(KEY, str(event.data["previous"]), event)
    async with AuditTrail(without := ControlledSink()) as other:
        other.append_request(request())
    assert len(without.events) == 1


async def test_copies_go_to_a_place_of_their_own() -> None:
    """It is entered and left, and has each anchor once the trail has it."""
    sink, copies = EnteredSink(), EnteredSink()
    async with AuditTrail(sink, chain_key=KEY, anchor_sink=copies) as trail:
        trail.append_request(request())
    assert copies.events == [sink.events[-1]]
    assert copies.entries == ["entered", "left after 1"]


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_place_for_copies_that_fails_harms_nothing(hangs: bool) -> None:
    """The trail writes and ends in time, and the failures are counted."""
    sink, copies = ControlledSink(), ControlledSink()
    copies.error = OSError()
    if hangs:
        copies.is_open.clear()
    async with asyncio.timeout(5):
        async with AuditTrail(
            sink,
            chain_key=KEY,
            anchor_seconds=0.001,
            anchor_sink=copies,
            write_timeout_seconds=0.01,
            retry_seconds=0.001,
            drain_seconds=0.1,
        ) as trail:
            trail.append_request(request())
            await until(lambda: trail.stats()["anchor_failures_total"])
    assert anchors(sink)[-1][1] is True
    assert trail.stats()["lost_total"] == 0
    assert trail.stats()["anchors_dropped_total"] == len(anchors(sink))


async def test_the_end_is_in_time_where_the_sink_hangs() -> None:
    """What is lost is said, and there is no anchor over it."""
    sink = ControlledSink()
    sink.is_open.clear()
    async with AuditTrail(sink, chain_key=KEY, drain_seconds=0.02) as trail:
        trail.append_request(request())
    assert (trail.stats()["lost_total"], trail.stats()["anchors_total"]) == (1, 0)


def test_anchors_that_make_no_sense_are_refused() -> None:
    """Without a key there are none, and the trail itself is no other place."""
    sink = ControlledSink()
    with pytest.raises(ConfigurationError, match="chain_key"):
        AuditTrail(sink, anchor_sink=ControlledSink())
    with pytest.raises(ConfigurationError, match="another place"):
        AuditTrail(sink, anchor_sink=sink, chain_key=KEY)
    with pytest.raises(ConfigurationError, match="anchor_seconds"):
        AuditTrail(sink, anchor_seconds=0)


async def test_nobody_else_can_make_an_anchor() -> None:
    """One that is no place of the chain would make an honest trail look forged."""
    trail = AuditTrail(ControlledSink(), chain_key=KEY)
    with pytest.raises(ConfigurationError, match="by the trail itself"):
        await trail.append_control("audit.anchor")
    with pytest.raises(ConfigurationError, match="by the trail itself"):
        trail.append_control_nowait("audit.anchor")
    assert trail.stats()["queued"] == 0


async def test_of_copies_that_wait_the_oldest_give_way() -> None:
    """The newest anchor covers what they do; listeners are told that the place fails."""
    clock, sink, copies = ManualClock(), ControlledSink(), ObservableSink()
    copies.error = OSError()
    changes: list[StateChange] = []
    trail = AuditTrail(
        sink,
        chain_key=KEY,
        anchor_sink=copies,
        retry_seconds=0.001,
        retry_max_seconds=0.001,
        linger_seconds=0.0001,
        clock=clock,
    )
    trail.observe(changes.append)
    assert len(copies.listeners) == 1, "its own changes are passed on"
    async with trail:
        for _ in range(240):
            trail.append_request(request())
            await until(lambda: not trail.stats()["queued"])
            clock.advance(60)
        await until(lambda: copies.attempts)
        copies.error = None
    assert [(change.name, change.new) for change in changes] == [
        ("ObservableSink (anchors)", "failing"),
        ("ObservableSink (anchors)", "ok"),
    ]
    made = [event for event in sink.events if event.type == "audit.anchor"]
    dropped = trail.stats()["anchors_dropped_total"]
    assert dropped >= len(made) - 101 - len(copies.attempts[0]) > 0
    assert copies.events[-1] == made[-1]
    assert len(copies.events) == len(made) - dropped
