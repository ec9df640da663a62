"""One audit trail written to several sinks."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack

from authkit.audit.health import Health
from authkit.audit.lifetime import Reentrant, enter_sink
from authkit.clock import Clock, SystemClock
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import AuditEvent, AuditSink, Observable, StateChange

__all__ = ["FanOutAuditSink"]

_Batch = tuple[tuple[str, int], ...]

# One trail has one batch under way; a few more, in case several trails share the sinks.
_MAX_UNFINISHED = 16


class FanOutAuditSink(Reentrant):
    """Writes every batch to all of its sinks at once.

    A batch is written when all of them have it.  Given again, it goes only to those that failed,
    so that one sink's outage makes no duplicates in the others.  It does hold them up: a trail has
    one order, and the batches behind wait in the trail until the sink is back.

    It enters and leaves those sinks that are context managers, and passes on what those tell that
    are observable.

    Args:
        sinks: where the events go, at least one, each once.
        clock: tells the time of changes of state.

    Raises:
        ConfigurationError: there is no sink, or one is given twice.
    """

    def __init__(self, *sinks: AuditSink, clock: Clock | None = None) -> None:
        super().__init__()
        if not sinks:
            raise ConfigurationError("a FanOutAuditSink needs at least one sink")
        if len({id(sink) for sink in sinks}) != len(sinks):
            raise ConfigurationError("the same sink is given twice: it would get each event twice")
        clock = SystemClock() if clock is None else clock
        names = [type(sink).__name__ for sink in sinks]
        self._sinks = sinks
        self._healths = [
            Health(name if names.count(name) == 1 else f"{name}#{place}", clock)
            for place, name in enumerate(names, start=1)
        ]
        # Batches whose write has not returned, with the places of those that have it.
        self._unfinished: dict[_Batch, set[int]] = {}
        self._stack = AsyncExitStack()

    async def write(self, events: Sequence[AuditEvent]) -> None:
        """Writes the batch to every sink that does not have it yet, all at the same time.

        Raises:
            BackendUnavailable: at least one of them failed; the message names them.
        """
        events = tuple(events)
        batch = tuple([(event.producer, event.sequence) for event in events])
        # Taken out only when this call returns: one that is cancelled at the last moment may have
        # written the batch to all of them.
        done = self._unfinished.pop(batch, set())
        self._unfinished[batch] = done
        missing = [place for place in range(len(self._sinks)) if place not in done]
        try:
            errors = await asyncio.gather(
                *(self._write(place, events, done) for place in missing), return_exceptions=True
            )
            if len(done) == len(self._sinks):
                self._unfinished.pop(batch, None)
                return
        finally:
            if len(self._unfinished) > _MAX_UNFINISHED:
                # What is forgotten is written again where it already stands, which loses nothing.
                del self._unfinished[next(iter(self._unfinished))]
        failed = [place for place, error in zip(missing, errors, strict=True) if error is not None]
        names = ", ".join(self._healths[place].name for place in failed)
        cause = next(error for error in errors if error is not None)
        raise BackendUnavailable("audit", f"not written: {names}") from cause

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Tells `listener` when one of the sinks begins to fail and when it works again."""
        for sink, health in zip(self._sinks, self._healths, strict=True):
            health.observe(listener)
            if isinstance(sink, Observable):
                sink.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """Figures of all sinks together; those of observable sinks are added up by name."""
        figures: defaultdict[str, float] = defaultdict(float)
        for sink, health in zip(self._sinks, self._healths, strict=True):
            figures["failing_sinks"] += health.state == "failing"
            figures["sink_failures_total"] += health.failures_total
            figures["listener_errors_total"] += health.listener_errors_total
            if isinstance(sink, Observable):
                for name, value in sink.stats().items():
                    figures[name] += value
        return figures

    async def _write(
        self, place: int, events: tuple[AuditEvent, ...], done: set[int]
    ) -> Exception | None:
        try:
            await self._sinks[place].write(events)
        except asyncio.CancelledError:
            self._healths[place].failed(TimeoutError())
            raise
        except Exception as error:
            self._healths[place].failed(error)
            return error
        done.add(place)
        self._healths[place].succeeded()
        return None

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            for sink in self._sinks:
                await enter_sink(stack, sink)
            self._stack = stack.pop_all()

    async def _close(self) -> None:
        await self._stack.aclose()


_: type[AuditSink] = FanOutAuditSink
