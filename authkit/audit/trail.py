"""The audit trail: queues events, numbers and chains them, and has them written in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Unpack

from authkit.audit.anchor_copies import AnchorCopier
from authkit.audit.anchors import Anchors
from authkit.audit.arguments import check_chain_key, check_numbers, check_producer, check_sinks
from authkit.audit.backlog import Backlog
from authkit.audit.drops import Drops
from authkit.audit.health import Health
from authkit.audit.lifetime import Reentrant, enter_sink, leave_sinks
from authkit.audit.log_lines import log_lines
from authkit.audit.records import ControlFields, ControlRecord, RequestRecord
from authkit.audit.writer import Patience, Writer
from authkit.clock import Clock, SystemClock
from authkit.errors import BackendUnavailable
from authkit.interfaces import AuditEvent, AuditSink, Observable, Outcome, StateChange

__all__ = ["AuditTrail"]

# How long leaving waits for the last lines of the log.
_LOG_SECONDS = 1.0


class AuditTrail(Reentrant):
    """Queues audit events in front of a sink, so that no request waits for it.

    There are two lanes.  Request events are admitted while fewer than `request_capacity` events
    wait; then the newest is dropped and counted.  Control events (revocation, rotation,
    configuration, outage) have `control_capacity` more room; when that is full too,
    `append_control` waits.  Once the sink takes events again, one event `audit.dropped` says how
    many are missing and since when.

    It is an async context manager that may be entered repeatedly and nested; it enters its sink.
    Events that come before it is entered are written once it is.  On the last exit everything
    admitted is written within `drain_seconds`; what is not is logged and counted as lost.

    A process that is killed loses what is queued at that moment, the batch under way included:
    `stats()["queued"]` events.  While the sink keeps up, and takes no longer for a batch than
    `linger_seconds`, these are one batch and the events of `linger_seconds`; with a slower sink,
    one batch and the events of the time that it takes.  `request_capacity + control_capacity` it
    is at the very most.

    No event makes a line of 1 MiB: what is too long is cut, and its hash added; see RequestRecord.

    With `chain_key` the events are chained, and an event `audit.anchor` follows those that were
    written: see `authkit.audit.verification`.

    All methods belong to the thread of the event loop.

    Args:
        sink: where the events go.
        chain_key: 32 to 64 secret bytes that key the hash chain of `authkit.audit.chain`; without
            them there is none, and no anchors.
        anchor_seconds: how long an event may stand in the sink without an `audit.anchor` behind
            it.  The first batch has one at once, and each clean end; silence has none.
        anchor_sink: gets a copy of each anchor once the sink has it, so that a tail that was cut
            off shows: another disk, another machine.  Its failures are counted and harm nothing.
        request_capacity: how many events may wait before request events are dropped.
        control_capacity: room beyond that, for control events alone.
        control_deadline_seconds: how long `append_control` waits for room.
        batch_size: events written at once, at most; many clients need large batches.
        linger_seconds: how long a batch that is not full waits for more.  5 ms let a busy service
            fill its batches, and leave a handful of events to lose when the process is killed.
        write_timeout_seconds: when a write that has not ended counts as failed.
        retry_seconds: the pause after a failed write, doubled after each further one.
        retry_max_seconds: the longest pause.
        drain_seconds: how long the last exit may take to write what is left.
        producer: how the name of this trail in its events begins, such as that of the service.
            What follows is random, so that the name is unique to one run of one process: by
            (producer, sequence) a sink tells an event that is given again from another one.
        clock: tells the time of control events.

    Raises:
        ConfigurationError: an argument makes no sense; the message says which.
    """

    def __init__(
        self,
        sink: AuditSink,
        *,
        chain_key: bytes | None = None,
        anchor_seconds: float = 60.0,
        anchor_sink: AuditSink | None = None,
        request_capacity: int = 10_000,
        control_capacity: int = 1_000,
        control_deadline_seconds: float = 5.0,
        batch_size: int = 1_000,
        linger_seconds: float = 0.005,
        write_timeout_seconds: float = 5.0,
        retry_seconds: float = 0.05,
        retry_max_seconds: float = 2.0,
        drain_seconds: float = 5.0,
        producer: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        check_chain_key(chain_key)
        check_sinks(sink, anchor_sink, chain_key)
        check_numbers(
            anchor_seconds=anchor_seconds,
            request_capacity=request_capacity,
            control_capacity=control_capacity,
            control_deadline_seconds=control_deadline_seconds,
            batch_size=batch_size,
            linger_seconds=linger_seconds,
            write_timeout_seconds=write_timeout_seconds,
            retry_seconds=retry_seconds,
            retry_max_seconds=retry_max_seconds,
            drain_seconds=drain_seconds,
        )
        check_producer(producer)
        self._sink = sink
        self._clock: Clock = SystemClock() if clock is None else clock
        self._request_capacity = request_capacity
        self._capacity = request_capacity + control_capacity
        self._control_deadline_seconds = control_deadline_seconds
        self._drain_seconds = drain_seconds
        self._backlog = Backlog(producer, chain_key)
        self._health = Health(type(sink).__name__, self._clock)
        patience = Patience(
            timeout_seconds=write_timeout_seconds,
            retry_seconds=retry_seconds,
            retry_max_seconds=retry_max_seconds,
        )
        self._anchors: Anchors | None = None
        if chain_key is not None:
            copier = AnchorCopier(anchor_sink, self._clock, patience) if anchor_sink else None
            self._anchors = Anchors(self._backlog, self._clock, anchor_seconds, copier)
        self._writer = Writer(
            sink,
            self._backlog,
            self._health,
            patience,
            batch_size=batch_size,
            linger_seconds=linger_seconds,
            on_written=self._on_written,
            on_empty=None if self._anchors is None else self._anchors.on_empty,
        )
        self._stack = AsyncExitStack()
        self._room: asyncio.Future[None] | None = None
        self._drops = Drops()
        self._written_total = 0
        self._lost_total = 0

    @property
    def producer(self) -> str:
        """The name in this trail's events."""
        return self._backlog.producer

    @property
    def state(self) -> str:
        """`ok`, or `failing` while the sink does not take its batch."""
        return self._health.state

    def append_request(self, record: RequestRecord) -> None:
        """Admits a verification's record, or drops it for want of room; never waits nor raises."""
        backlog = self._backlog
        if backlog.size < self._request_capacity:
            backlog.append(record)
            if self._writer.is_idle:
                self._writer.wake()
        else:
            self._drops.add_request(record.time)

    async def append_control(
        self, type: str, outcome: Outcome = "accepted", **fields: Unpack[ControlFields]
    ) -> None:
        """Admits a control event; where there is no room, waits for it.

        It does not wait until the event is written.

        Args:
            type: the event's, dotted: `token.revoked`, `keys.rotated`, ...
            outcome: the event's.
            fields: further fields of the event, by their names in AuditEvent.

        Raises:
            BackendUnavailable: `audit`: there was no room within `control_deadline_seconds`.
            ConfigurationError: the type is `audit.anchor`, which is the trail's own.
        """
        record = ControlRecord(self._clock.time(), type, outcome, fields)
        try:
            async with asyncio.timeout(self._control_deadline_seconds):
                while not self._admit_control(record):
                    await asyncio.wait({self._next_room()})
        except TimeoutError:
            self._drops.add_control(record.time)
            raise BackendUnavailable("audit", "there is no room for a control event") from None

    def append_control_nowait(
        self, type: str, outcome: Outcome = "accepted", **fields: Unpack[ControlFields]
    ) -> bool:
        """As `append_control`, from callbacks: never waits, and returns whether there was room."""
        record = ControlRecord(self._clock.time(), type, outcome, fields)
        is_admitted = self._admit_control(record)
        if not is_admitted:
            self._drops.add_control(record.time)
        return is_admitted

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Tells `listener` when the sink begins to fail and when it works again.

        Changes that the sink itself tells of are passed on.
        """
        self._health.observe(listener)
        if isinstance(self._sink, Observable):
            self._sink.observe(listener)
        if self._anchors is not None:
            self._anchors.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """Figures of the trail, and those of an observable sink under `sink_` and their name."""
        figures: dict[str, float] = {
            "queued": self._backlog.size,
            "is_failing": float(self._health.state == "failing"),
            "written_total": self._written_total,
            "dropped_total": self._drops.requests_total,
            "control_refused_total": self._drops.controls_total,
            "lost_total": self._lost_total,
            "write_failures_total": self._health.failures_total,
            "writer_errors_total": self._writer.errors_total,
            "listener_errors_total": self._health.listener_errors_total,
        }
        if self._anchors is not None:
            figures |= self._anchors.stats()
        if isinstance(self._sink, Observable):
            figures |= {f"sink_{name}": value for name, value in self._sink.stats().items()}
        return figures

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            if self._anchors is not None:
                await self._anchors.enter(stack)
            # Entered last, it is left first, whatever becomes of where the anchors go.
            await enter_sink(stack, self._sink)
            self._stack = stack.pop_all()
        if self._anchors is not None:
            self._anchors.start()
        self._writer.start()

    async def _close(self) -> None:
        loop = asyncio.get_running_loop()
        deadline, seconds_left = loop.time() + self._drain_seconds, 0.0
        try:
            await self._writer.stop(self._drain_seconds)
            seconds_left = max(deadline - loop.time(), 0.0)
        finally:
            self._count_lost()
            self._drops.end()
            if self._anchors is not None:
                await self._anchors.stop(seconds_left)
            await leave_sinks(self._stack, self._health.name, self._drain_seconds)
            await log_lines.drain(_LOG_SECONDS)

    def _admit_control(self, record: ControlRecord) -> bool:
        if self._backlog.size >= self._capacity:
            return False
        self._backlog.append(record)
        if self._writer.is_idle:
            self._writer.wake()
        return True

    def _next_room(self) -> asyncio.Future[None]:
        """What is done once a batch has been written."""
        loop = asyncio.get_running_loop()
        # One of a loop that has ended since would never wake anybody.
        if self._room is None or self._room.get_loop() is not loop:
            self._room = loop.create_future()
        return self._room

    def _on_written(self, events: tuple[AuditEvent, ...]) -> None:
        self._written_total += len(events)
        if self._anchors is not None:
            self._anchors.written(events, is_closing=self._writer.is_closing)
        report = self._drops.report(self._clock.monotonic(), is_last=self._backlog.size == 0)
        if report is not None:
            # Where a batch was just written, there is room.
            record = ControlRecord(self._clock.time(), "audit.dropped", "unavailable", report)
            self._backlog.append(record)
        room, self._room = self._room, None
        if room is not None:
            room.set_result(None)

    def _count_lost(self) -> None:
        lost = self._backlog.clear()
        if lost:
            self._lost_total += lost
            log_lines.error(
                "audit: %d events are lost: %s did not take them within %g s",
                lost,
                self._health.name,
                self._drain_seconds,
            )
