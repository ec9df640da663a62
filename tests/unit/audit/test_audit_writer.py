"""How batches gather, are tried again, time out and are drained; and what the trail tells of it."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from collections.abc import Sequence
from itertools import pairwise

import pytest

from authkit.audit import AuditTrail
from authkit.audit.backlog import Backlog
from authkit.audit.health import reason_of
from authkit.errors import BackendUnavailable
from authkit.interfaces import AuditEvent, StateChange
from authkit.testing import ManualClock
from tests.unit.audit.sinks import ControlledSink, request, until

pytestmark = pytest.mark.anyio


def trail_on(sink: ControlledSink, **arguments: float) -> AuditTrail:
    """A trail that tries again soon."""
    options: dict[str, float] = {"retry_seconds": 0.001, "retry_max_seconds": 0.002, **arguments}
    return AuditTrail(sink, **options)  # type: ignore[arg-type]  # names of numbers only


async def test_events_gather_for_a_while() -> None:
    """Events that come shortly after each other are written together."""
    sink = ControlledSink()
    async with trail_on(sink, linger_seconds=0.05) as trail:
        await asyncio.sleep(0)
        for number in range(3):
            trail.append_request(request(number))
            await asyncio.sleep(0)
        await until(lambda: sink.batches)
        assert [len(batch) for batch in sink.batches] == [3]


async def test_a_full_batch_does_not_linger() -> None:
    """Under load nothing waits, and no batch is larger than allowed."""
    sink = ControlledSink()
    async with trail_on(sink, linger_seconds=60, batch_size=2) as trail:
        for number in range(5):
            trail.append_request(request(number))
        await until(lambda: len(sink.batches) == 2)
        assert [len(batch) for batch in sink.batches] == [2, 2]
    assert [len(batch) for batch in sink.batches] == [2, 2, 1]


async def test_the_trail_keeps_up_with_a_busy_loop() -> None:
    """A batch costs turns of the loop, in each of which many clients bring an event."""

    class FarSink(ControlledSink):
        async def write(self, events: Sequence[AuditEvent]) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
            await super().write(events)

    async def client() -> None:
        for _ in range(400):
            trail.append_request(request())
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    sink = FarSink()
    async with AuditTrail(sink) as trail:
        await asyncio.gather(*(client() for _ in range(100)))
        assert trail.stats()["dropped_total"] == 0
    assert sink.sequences == list(range(1, 40_001))


async def test_a_large_batch_is_made_with_turns_for_requests_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Making the events of a batch holds the loop up for one slice at a time."""
    taken: list[int] = []
    take = Backlog.take

    def noted(backlog: Backlog, limit: int) -> tuple[AuditEvent, ...]:
        events = take(backlog, limit)
        taken.append(len(events))
        # Comes before the next slice only if that one waits for the next turn.
        asyncio.get_running_loop().call_soon(taken.append, 0)
        return events

    monkeypatch.setattr(Backlog, "take", noted)
    sink = ControlledSink()
    trail = AuditTrail(sink)
    for number in range(700):
        trail.append_request(request(number))
    async with trail:
        await until(lambda: sink.batches)
    assert taken[:5] == [250, 0, 250, 0, 200]
    assert [len(batch) for batch in sink.batches] == [700]


async def test_a_failed_batch_is_given_again_as_it_was() -> None:
    """The same events, until they are taken; then the next ones, with nothing lost or doubled."""
    sink = ControlledSink()
    sink.error = BackendUnavailable("audit")
    async with trail_on(sink) as trail:
        trail.append_request(request("first"))
        await until(lambda: len(sink.attempts) >= 3)
        trail.append_request(request("second"))
        assert trail.stats()["is_failing"] == 1
        assert trail.stats()["write_failures_total"] >= 2
        sink.error = None
        await until(lambda: len(sink.events) == 2)
        assert trail.stats()["is_failing"] == 0
    assert sink.attempts[0] == sink.attempts[1] == sink.attempts[2]
    assert sink.subjects == ["first", "second"]


async def test_pauses_between_attempts_grow_to_their_bound() -> None:
    """A sink that is down is not hammered, and not forgotten either."""
    sink = ControlledSink()
    sink.error = OSError()
    loop = asyncio.get_running_loop()
    times: list[float] = []
    write = sink.write

    async def timed(events: Sequence[AuditEvent]) -> None:
        times.append(loop.time())
        await write(events)

    sink.write = timed  # type: ignore[method-assign]  # the same sink, with the times noted
    async with trail_on(sink, retry_seconds=0.02, retry_max_seconds=0.04) as trail:
        trail.append_request(request())
        await until(lambda: len(times) == 5)
        sink.error = None
    pauses = [later - earlier for earlier, later in pairwise(times[:5])]
    assert pauses[0] >= 0.019
    assert min(pauses[1:]) >= 0.039
    assert max(pauses) < 1.0


async def test_a_change_of_state_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One log line and one call of each listener when it begins, and one when it ends."""
    clock = ManualClock(5.0)
    sink = ControlledSink()
    sink.error = BackendUnavailable("audit", "the disk is full")
    trail = AuditTrail(sink, retry_seconds=0.001, clock=clock)
    heard: list[StateChange] = []

    def broken(change: StateChange) -> None:
        raise RuntimeError("a listener's own mistake")

    trail.observe(broken)
    trail.observe(heard.append)
    with caplog.at_level(logging.INFO, "authkit"):
        async with trail:
            trail.append_request(request())
            await until(lambda: len(sink.attempts) >= 3)
            assert trail.state == "failing"
            sink.error = None
            await until(lambda: sink.events)
    assert [(c.interface, c.name, c.old, c.new, c.code, c.time) for c in heard] == [
        ("audit", "ControlledSink", "ok", "failing", "backend_unavailable", 5.0),
        ("audit", "ControlledSink", "failing", "ok", None, 5.0),
    ]
    assert caplog.messages == [
        "audit: ControlledSink fails: BackendUnavailable: audit: the disk is full",
        "audit: ControlledSink works again",
    ]
    assert trail.stats()["listener_errors_total"] == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError("redis://:s3cret@db"), "failed"),
        (OSError(errno.ENOSPC, "s3cret"), "failed"),
        (TimeoutError(), "timed_out"),
    ],
)
async def test_the_text_of_a_foreign_exception_is_not_logged(
    error: Exception, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A client's exception may hold an address with its password; its type says enough."""
    sink = ControlledSink()
    sink.error = BackendUnavailable("audit")
    sink.error.__cause__ = ValueError("s3cret")
    trail = trail_on(sink)
    heard: list[StateChange] = []
    trail.observe(heard.append)
    async with trail:
        trail.append_request(request())
        await until(lambda: trail.state == "failing")
        sink.error = None
        await until(lambda: trail.state == "ok")
        sink.error = error
        trail.append_request(request())
        await until(lambda: trail.state == "failing")
        sink.error = None
    assert "s3cret" not in caplog.text
    assert "(ValueError)" in caplog.text
    assert f"ControlledSink fails: {type(error).__name__}" in caplog.text
    assert heard[2].code == code


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "s3cret"), "OSError ENOSPC"),
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "s3cret"),
            "ConnectionRefusedError ECONNREFUSED",
        ),
        (OSError(99_999, "s3cret"), "OSError 99999"),
        (OSError("s3cret"), "OSError"),
        (ssl.SSLError(1, "s3cret"), "SSLError"),
    ],
)
def test_the_number_of_a_system_error_is_named(error: OSError, reason: str) -> None:
    """A full disk and a missing right are told apart; a number of another kind is none."""
    assert reason_of(error) == reason
    outage = BackendUnavailable("audit", "not written")
    outage.__cause__ = error
    assert reason_of(outage) == f"BackendUnavailable: audit: not written ({reason})"


async def test_a_write_that_hangs_is_cancelled_and_given_again() -> None:
    """A sink that never answers costs one timeout, not the trail."""
    sink = ControlledSink()
    sink.is_open.clear()
    async with trail_on(sink, write_timeout_seconds=0.02) as trail:
        trail.append_request(request("only"))
        await until(lambda: len(sink.attempts) >= 2)
        assert trail.state == "failing"
        sink.is_open.set()
    assert sink.subjects == ["only"]
    assert all(attempt == sink.attempts[0] for attempt in sink.attempts)


async def test_a_write_that_cannot_be_cancelled_is_never_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trail goes on waiting for the one write, with none beside it, and takes its success."""
    monkeypatch.setattr("authkit.audit.writer._CANCEL_SECONDS", 0.01)
    sink = ControlledSink()
    sink.is_stubborn = True
    sink.is_open.clear()
    async with trail_on(sink, write_timeout_seconds=0.01) as trail:
        trail.append_request(request("only"))
        await until(lambda: trail.stats()["write_failures_total"] >= 2)
        assert len(sink.attempts) == 1
        sink.is_open.set()
        await until(lambda: trail.state == "ok")
        assert trail.stats()["queued"] == 0
    assert sink.subjects == ["only"]


async def test_a_sink_that_cancels_itself_has_failed() -> None:
    """An exception that looks like our own cancellation does not end the trail."""
    sink = ControlledSink()
    sink.error = asyncio.CancelledError()
    async with trail_on(sink) as trail:
        trail.append_request(request())
        await until(lambda: trail.state == "failing")
        sink.error = None
    assert len(sink.events) == 1


async def test_a_sink_whose_write_is_not_async_has_failed() -> None:
    """A sink that was written wrongly shows as failing instead of ending the writer."""

    class Wrong:
        def write(self, events: Sequence[AuditEvent]) -> None:
            """Takes everything, and gives nothing to await."""

    trail = AuditTrail(Wrong(), drain_seconds=0.05)  # type: ignore[arg-type]  # wrong on purpose
    async with trail:
        trail.append_request(request())
        await until(lambda: trail.state == "failing")
    assert trail.stats()["lost_total"] == 1


async def test_leaving_writes_everything_that_was_admitted() -> None:
    """Nothing that was admitted is missing, though the sink was down when leaving began."""
    sink = ControlledSink()
    sink.error = OSError()
    trail = trail_on(sink, batch_size=3, linger_seconds=60, retry_seconds=0.01)
    async with trail:
        for number in range(10):
            trail.append_request(request(number))
        await until(lambda: trail.state == "failing")
        asyncio.get_running_loop().call_later(0.03, setattr, sink, "error", None)
    assert sink.sequences == list(range(1, 11))
    assert trail.stats()["lost_total"] == 0


async def test_leaving_ends_a_long_pause() -> None:
    """A sink that works again at shutdown is found at once, not after the longest pause."""
    sink = ControlledSink()
    sink.error = OSError()
    trail = AuditTrail(sink, retry_seconds=60, retry_max_seconds=60)
    async with trail:
        trail.append_request(request())
        await until(lambda: trail.state == "failing")
        sink.error = None
    assert len(sink.events) == 1


async def test_what_is_not_written_by_the_deadline_is_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The loss is told in numbers, and shows in the sequence of a later run."""
    sink = ControlledSink()
    sink.is_open.clear()
    trail = trail_on(sink, drain_seconds=0.05, batch_size=2)
    async with trail:
        for number in range(5):
            trail.append_request(request(number))
    assert trail.stats()["lost_total"] == 5
    assert trail.stats()["queued"] == 0
    assert "5 events are lost: ControlledSink did not take them within 0.05 s" in caplog.text
    sink.is_open.set()
    async with trail:
        trail.append_request(request("later"))
    assert [(event.sequence, event.subject) for event in sink.events] == [(6, "later")]


async def test_a_sink_that_never_gives_way_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Leaving is bounded even if the write under way swallows its cancellation."""
    monkeypatch.setattr("authkit.audit.writer._CANCEL_SECONDS", 0.01)
    sink = ControlledSink()
    sink.is_stubborn = True
    sink.is_open.clear()
    async with asyncio.timeout(2):
        async with trail_on(sink, drain_seconds=0.02) as trail:
            trail.append_request(request())
            await until(lambda: sink.attempts)
    assert trail.stats()["lost_total"] == 1
    sink.is_open.set()
    await until(lambda: sink.batches)


async def test_leaving_that_is_cancelled_still_ends_the_writer() -> None:
    """A shutdown that is cut short leaves no task behind, and says what was lost."""
    sink = ControlledSink()
    sink.is_open.clear()
    trail = trail_on(sink)
    await trail.__aenter__()
    trail.append_request(request())
    await until(lambda: sink.attempts)
    leaving = asyncio.create_task(trail.__aexit__(None, None, None))
    await asyncio.sleep(0.01)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert trail.stats()["lost_total"] == 1
    assert [task for task in asyncio.all_tasks() if "audit" in task.get_name()] == []


async def test_the_writer_survives_a_fault_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """An exception where none can come from is counted, logged once, and costs no event."""

    class BrokenClock(ManualClock):
        is_broken = True

        def monotonic(self) -> float:
            if self.is_broken:
                raise ZeroDivisionError
            return super().monotonic()

    clock = BrokenClock()
    sink = ControlledSink()
    trail = AuditTrail(sink, retry_seconds=0.001, batch_size=1, clock=clock)
    async with trail:
        for number in range(3):
            trail.append_request(request(number))
        await until(lambda: len(sink.events) == 3)
        await until(lambda: trail.stats()["writer_errors_total"] == 3)
        clock.is_broken = False
        trail.append_request(request("after"))
    assert sink.subjects == ["0", "1", "2", "after"]
    assert caplog.messages == [
        "audit: the writer goes on after ZeroDivisionError; please report it"
    ]


async def test_a_writer_that_was_cancelled_by_a_stranger_still_drains() -> None:
    """Code that cancels every task of the loop costs no event, not even the batch under way."""
    sink = ControlledSink()
    sink.is_open.clear()
    async with trail_on(sink, batch_size=1) as trail:
        trail.append_request(request("under way"))
        trail.append_request(request("waiting"))
        await until(lambda: sink.attempts)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if task.get_name() == "authkit-audit-writer":
                task.cancel()
        await asyncio.sleep(0.01)
        sink.is_open.set()
    assert sink.subjects == ["under way", "waiting"]
