"""Entering and leaving the trail and its sink: repeated, nested, concurrent and failing."""

from __future__ import annotations

import asyncio

import pytest

from authkit.audit import AuditTrail
from authkit.errors import BackendUnavailable, ConfigurationError
from tests.unit.audit.sinks import EnteredSink, request, until

pytestmark = pytest.mark.anyio


async def test_the_sink_is_open_from_the_first_entry_to_the_last_exit() -> None:
    """It is entered once, however often the trail is, and left after the last event."""
    sink = EnteredSink()
    trail = AuditTrail(sink)
    async with trail as entered:
        assert entered is trail
        async with trail:
            trail.append_request(request())
        assert sink.entries == ["entered"]
        await until(lambda: sink.events)
        trail.append_request(request())
    assert sink.entries == ["entered", "left after 2"]
    async with trail:
        trail.append_request(request())
    assert sink.entries == ["entered", "left after 2", "entered", "left after 3"]


async def test_entering_at_the_same_time_enters_the_sink_once() -> None:
    """The second one waits until the first has opened, and finds it open."""
    sink = EnteredSink()
    trail = AuditTrail(sink)
    await asyncio.gather(trail.__aenter__(), trail.__aenter__())
    assert sink.entries == ["entered"]
    await trail.__aexit__(None, None, None)
    assert sink.entries == ["entered"]
    await trail.__aexit__(None, None, None)
    assert sink.entries == ["entered", "left after 0"]


async def test_a_sink_that_cannot_be_opened_is_an_outage() -> None:
    """A foreign exception comes out as ours with its cause, and the trail can be entered later."""
    sink = EnteredSink()
    sink.entry_error = OSError("s3cret")
    trail = AuditTrail(sink)
    with pytest.raises(BackendUnavailable, match="AuditTrail could not be opened") as raised:
        await trail.__aenter__()
    assert raised.value.__cause__ is sink.entry_error
    assert "s3cret" not in str(raised.value)
    sink.entry_error = None
    async with trail:
        trail.append_request(request())
    assert len(sink.events) == 1


async def test_an_error_of_ours_passes_as_it_is() -> None:
    """Wrong credentials of a store stay a ConfigurationError."""
    sink = EnteredSink()
    sink.entry_error = ConfigurationError("wrong password")
    with pytest.raises(ConfigurationError, match="wrong password"):
        await AuditTrail(sink).__aenter__()


async def test_a_sink_that_cannot_be_closed_does_not_stop_the_shutdown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged by type; the rest of the service goes on closing."""
    sink = EnteredSink()
    sink.exit_error = OSError("s3cret")
    async with AuditTrail(sink) as trail:
        trail.append_request(request())
    assert len(sink.events) == 1
    assert caplog.messages == ["audit: EnteredSink could not be closed: OSError"]


async def test_a_sink_that_hangs_when_closed_is_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Leaving ends within its deadline."""
    sink = EnteredSink()
    sink.may_exit.clear()
    async with asyncio.timeout(2):
        async with AuditTrail(sink, drain_seconds=0.02):
            pass
    (line,) = caplog.messages
    assert line.startswith("audit: EnteredSink could not be closed: TimeoutError")


async def test_an_exception_of_the_body_passes_and_the_trail_drains() -> None:
    """The events before a crash of the application are the ones that matter most."""
    sink = EnteredSink()
    trail = AuditTrail(sink)

    async def crash() -> None:
        async with trail:
            trail.append_request(request())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await crash()
    assert len(sink.events) == 1


def test_entering_at_the_same_time_works_in_one_event_loop_after_another() -> None:
    """What the first loop waited with does not belong to it for ever."""
    sink = EnteredSink()
    trail = AuditTrail(sink)

    async def run() -> None:
        await asyncio.gather(trail.__aenter__(), trail.__aenter__())
        await asyncio.gather(trail.__aexit__(None, None, None), trail.__aexit__(None, None, None))

    asyncio.run(run())
    asyncio.run(run())
    assert sink.entries == ["entered", "left after 0"] * 2
