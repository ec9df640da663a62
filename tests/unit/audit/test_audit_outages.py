"""A sink that fails or hangs for a long time: bounded, counted, said once, and made up for."""

from __future__ import annotations

import asyncio

import pytest

from authkit.audit import AuditTrail
from authkit.errors import BackendUnavailable
from authkit.interfaces import StateChange
from authkit.testing import ManualClock
from tests.unit.audit.sinks import ControlledSink, request, until

pytestmark = pytest.mark.anyio

REQUESTS, CONTROLS, ATTEMPTS = 100, 10, 40


@pytest.fixture(params=["fails", "hangs", "hangs and cannot be cancelled"])
def sink(request: pytest.FixtureRequest) -> ControlledSink:
    """A sink that is out of order in one of three ways."""
    sink = ControlledSink()
    if request.param == "fails":
        sink.error = BackendUnavailable("audit")
    else:
        sink.is_open.clear()
        sink.is_stubborn = "cannot" in request.param
    return sink


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits a second for a write to take its cancellation."""
    monkeypatch.setattr("authkit.audit.writer._CANCEL_SECONDS", 0.001)


async def test_an_outage_of_minutes_costs_what_had_no_room_and_nothing_else(
    sink: ControlledSink, caplog: pytest.LogCaptureFixture
) -> None:
    """Forty failures in a row, requests all the while; then all that was admitted, in order."""
    clock = ManualClock(1_000.0)
    trail = AuditTrail(
        sink,
        chain_key=b"k" * 32,
        anchor_seconds=3_600,
        request_capacity=REQUESTS,
        control_capacity=CONTROLS,
        control_deadline_seconds=0.25,
        batch_size=7,
        linger_seconds=0.001,
        write_timeout_seconds=0.002,
        retry_seconds=0.001,
        retry_max_seconds=0.002,
        clock=clock,
    )
    changes: list[StateChange] = []
    trail.observe(changes.append)
    async with trail:
        asked = 0
        while trail.stats()["write_failures_total"] < ATTEMPTS or asked < 10 * REQUESTS:
            trail.append_request(request(asked, time=clock.time()))
            asked += 1
            assert trail.stats()["queued"] <= REQUESTS
            if asked % 25 == 0:
                clock.advance(5)
                await asyncio.sleep(0.001)
        for number in range(CONTROLS):
            await trail.append_control("test.event", subject=f"control-{number}")
        refused = asyncio.create_task(trail.append_control("test.event", subject="refused"))
        await asyncio.sleep(0.02)
        assert not refused.done(), "it waits for room"
        with pytest.raises(BackendUnavailable, match="no room"):
            await refused
        late = asyncio.create_task(trail.append_control("test.event", subject="late"))
        await asyncio.sleep(0)
        assert trail.stats()["queued"] == REQUESTS + CONTROLS
        sink.error = None
        sink.is_open.set()
        await late
        await until(lambda: not trail.stats()["queued"])
        assert trail.stats()["dropped_total"] == asked - REQUESTS
        assert trail.stats()["control_refused_total"] == 1

    assert sink.sequences == list(range(1, len(sink.events) + 1))
    admitted = [str(number) for number in range(REQUESTS)]
    controls = [f"control-{number}" for number in range(CONTROLS)]
    assert [one for one in sink.subjects if one] == [*admitted, *controls, "late"]
    (dropped,) = [event for event in sink.events if event.type == "audit.dropped"]
    # The hundred-and-first request came after 4 times 25, and as many advances of 5 s.
    expected = {"count": asked - REQUESTS, "control_count": 1, "since": 1_020.0}
    assert dict(dropped.data) == expected
    assert [(change.old, change.new) for change in changes] == [
        ("ok", "failing"),
        ("failing", "ok"),
    ]
    said = [record.message for record in caplog.records if record.message.startswith("audit: ")]
    assert len(said) == 4, said
    for words in ("ControlledSink fails", "being dropped", "works again", "no more events"):
        assert sum(words in line for line in said) == 1, said


async def test_a_sink_that_never_comes_back_ends_in_time_and_is_said(
    sink: ControlledSink, caplog: pytest.LogCaptureFixture
) -> None:
    """What is lost is counted and logged, and the sequence shows the gap."""
    trail = AuditTrail(sink, write_timeout_seconds=0.002, retry_seconds=0.001, drain_seconds=0.05)
    async with asyncio.timeout(5):
        async with trail:
            for number in range(20):
                trail.append_request(request(number))
    assert trail.stats()["lost_total"] == 20
    assert "20 events are lost" in caplog.text
    sink.error = None
    sink.is_open.set()
    await asyncio.sleep(0.01)
    before = len(sink.events)  # a write that could not be cancelled may end well after all
    async with trail:
        trail.append_request(request("after"))
    assert sink.events[before].sequence == 21
