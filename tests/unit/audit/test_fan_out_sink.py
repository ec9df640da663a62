"""One trail, several sinks: who gets what when some of them fail."""

from __future__ import annotations

import asyncio
import logging

import pytest

from authkit.audit import AuditTrail, FanOutAuditSink
from authkit.audit.log_lines import log_lines
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import AuditEvent, Observable, StateChange
from authkit.testing import ManualClock
from tests.unit.audit.sinks import ControlledSink, EnteredSink, ObservableSink, request, until

pytestmark = pytest.mark.anyio


def batch(*sequences: int) -> list[AuditEvent]:
    """Events of one producer with these numbers."""
    return [request(number).event("p", number) for number in sequences]


async def test_every_sink_gets_every_event() -> None:
    """All of them have the whole batch, in order, when the write returns."""
    first, second = ControlledSink(), ControlledSink()
    fan_out = FanOutAuditSink(first, second)
    await fan_out.write(batch(1, 2))
    await fan_out.write(batch(3))
    assert first.sequences == second.sequences == [1, 2, 3]


async def test_the_sinks_are_written_at_the_same_time() -> None:
    """A slow sink does not delay the batch for the others."""
    slow, quick = ControlledSink(), ControlledSink()
    slow.is_open.clear()
    writing = asyncio.create_task(FanOutAuditSink(slow, quick).write(batch(1)))
    await until(lambda: quick.events)
    assert not writing.done()
    slow.is_open.set()
    await writing
    assert slow.sequences == [1]


@pytest.mark.parametrize(
    "error", [OSError("s3cret"), asyncio.CancelledError(), TimeoutError()], ids=repr
)
async def test_a_sink_that_fails_fails_the_write(error: BaseException) -> None:
    """The error says which sink it was, without a foreign exception's text."""
    good, bad = ControlledSink(), EnteredSink()
    bad.error = error
    with pytest.raises(BackendUnavailable, match=r"not written: EnteredSink$") as raised:
        await FanOutAuditSink(good, bad).write(batch(1))
    assert raised.value.interface == "audit"
    assert type(raised.value.__cause__) is type(error)
    assert good.sequences == [1]


async def test_a_batch_given_again_goes_only_to_those_that_lack_it() -> None:
    """An outage of one sink makes no duplicates in the others, however long it lasts."""
    good, bad = ControlledSink(), ControlledSink()
    bad.error = OSError()
    fan_out = FanOutAuditSink(good, bad)
    for _ in range(3):
        with pytest.raises(BackendUnavailable):
            await fan_out.write(batch(1, 2))
    bad.error, good.error = None, OSError()
    await fan_out.write(batch(1, 2))
    good.error = None
    await fan_out.write(batch(3))
    assert good.sequences == bad.sequences == [1, 2, 3]


async def test_a_batch_that_all_have_is_written_again_when_given_again() -> None:
    """Only a retry is told apart; a sink may dedupe what is given twice on purpose."""
    sink = ControlledSink()
    fan_out = FanOutAuditSink(sink)
    await fan_out.write(batch(1))
    await fan_out.write(batch(1))
    assert sink.sequences == [1, 1]


async def test_a_cancelled_write_remembers_who_has_the_batch() -> None:
    """A sink that hangs until the trail gives up costs the others nothing."""
    slow, quick = ControlledSink(), ControlledSink()
    slow.is_open.clear()
    fan_out = FanOutAuditSink(slow, quick)
    writing = asyncio.create_task(fan_out.write(batch(1)))
    await until(lambda: quick.events)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    slow.is_open.set()
    await fan_out.write(batch(1))
    assert slow.sequences == quick.sequences == [1]


async def test_a_write_that_is_cancelled_after_its_last_sink_makes_no_duplicate() -> None:
    """A deadline that falls between the last sink's answer and the return repeats nothing."""
    first, second = ControlledSink(), ControlledSink()
    fan_out = FanOutAuditSink(first, second)
    writing = asyncio.create_task(fan_out.write(batch(1)))
    while not (first.events and second.events):  # noqa: ASYNC110 # one step of the loop at a time
        await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await fan_out.write(batch(1))
    assert first.sequences == second.sequences == [1]


async def test_what_it_remembers_is_bounded() -> None:
    """Of very many unfinished batches the oldest are forgotten: written again, never left out."""
    good, bad = ControlledSink(), ControlledSink()
    bad.error = OSError()
    fan_out = FanOutAuditSink(good, bad)
    for number in range(1, 18):
        with pytest.raises(BackendUnavailable):
            await fan_out.write(batch(number))
    bad.error = None
    for number in range(1, 18):
        await fan_out.write(batch(number))
    assert bad.sequences == list(range(1, 18))
    assert good.sequences == [*range(1, 18), 1]


async def test_through_a_trail_every_sink_has_every_event_once() -> None:
    """The trail tries again, the fan-out knows where, and no sink misses or doubles an event."""
    good, flaky = ControlledSink(), ControlledSink()
    flaky.is_open.clear()
    trail = AuditTrail(
        FanOutAuditSink(good, flaky), batch_size=2, write_timeout_seconds=0.02, retry_seconds=0.001
    )
    async with trail:
        for number in range(5):
            trail.append_request(request(number))
        await until(lambda: len(flaky.attempts) >= 2)
        assert good.sequences == [1, 2]
        flaky.is_open.set()
    assert good.sequences == flaky.sequences == [1, 2, 3, 4, 5]


async def test_each_sinks_state_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Listeners and the log learn which sink fails; two of one kind are told apart."""
    first, second, third = ControlledSink(), ControlledSink(), ObservableSink()
    fan_out = FanOutAuditSink(first, second, third, clock=ManualClock(3.0))
    heard: list[StateChange] = []
    fan_out.observe(heard.append)
    assert isinstance(fan_out, Observable)
    assert third.listeners == [heard.append]
    second.error = OSError()
    with caplog.at_level(logging.INFO, "authkit"):
        for _ in range(2):
            with pytest.raises(BackendUnavailable):
                await fan_out.write(batch(1))
        assert fan_out.stats()["failing_sinks"] == 1
        second.error = None
        await fan_out.write(batch(1))
        await log_lines.drain(5)
    assert [(c.interface, c.name, c.old, c.new, c.time) for c in heard] == [
        ("audit", "ControlledSink#2", "ok", "failing", 3.0),
        ("audit", "ControlledSink#2", "failing", "ok", 3.0),
    ]
    assert caplog.messages == [
        "audit: ControlledSink#2 fails: OSError",
        "audit: ControlledSink#2 works again",
    ]
    assert fan_out.stats()["failing_sinks"] == 0


async def test_figures_of_the_sinks_are_added_up() -> None:
    """Figures of the same name are one figure; what cannot be observed adds none."""
    fan_out = FanOutAuditSink(ObservableSink(), ControlledSink(), ObservableSink())
    await fan_out.write(batch(1, 2))
    assert fan_out.stats() == {
        "failing_sinks": 0,
        "sink_failures_total": 0,
        "listener_errors_total": 0,
        "written_total": 4,
        "connections": 4,
    }


async def test_it_enters_and_leaves_those_that_can_be_entered() -> None:
    """Each once, however often the fan-out is entered, and in reverse order."""
    first, plain, second = EnteredSink(), ControlledSink(), EnteredSink()
    second.entries = first.entries
    async with FanOutAuditSink(first, plain, second) as fan_out:
        async with fan_out:
            await fan_out.write(batch(1))
        assert first.entries == ["entered", "entered"]
    assert first.entries == ["entered", "entered", "left after 1", "left after 1"]


async def test_a_sink_that_cannot_be_opened_closes_the_others() -> None:
    """Nothing stays open, and the error is ours with its cause."""
    good, bad = EnteredSink(), EnteredSink()
    bad.entry_error = OSError()
    fan_out = FanOutAuditSink(good, bad)
    with pytest.raises(BackendUnavailable, match="FanOutAuditSink could not be opened"):
        await fan_out.__aenter__()
    assert good.entries == ["entered", "left after 0"]
    bad.entry_error = None
    async with fan_out:
        await fan_out.write(batch(1))
    assert bad.sequences == [1]


async def test_a_sink_that_cannot_be_closed_is_an_outage() -> None:
    """The others are closed, and no foreign exception comes out."""
    bad, good = EnteredSink(), EnteredSink()
    bad.exit_error = good.exit_error = OSError()
    with pytest.raises(BackendUnavailable, match="FanOutAuditSink could not be closed"):
        async with FanOutAuditSink(bad, good):
            pass
    assert bad.entries == good.entries == ["entered", "left after 0"]


def test_a_fan_out_to_nothing_is_refused() -> None:
    """A trail without a sink would be lost without a word."""
    with pytest.raises(ConfigurationError, match="at least one"):
        FanOutAuditSink()


def test_a_sink_given_twice_is_refused() -> None:
    """It would have every event twice."""
    sink = ControlledSink()
    with pytest.raises(ConfigurationError, match="twice"):
        FanOutAuditSink(sink, ControlledSink(), sink)
