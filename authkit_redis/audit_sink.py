"""RedisAuditSink: the audit events of a fleet in streams that Redis keeps."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from authkit.clock import Clock, SystemClock
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import AuditEvent, StateChange
from authkit.reported_state import AVAILABLE, ReportedState
from authkit_redis.arguments import require_seconds
from authkit_redis.audit_streams.acknowledged import Acknowledged
from authkit_redis.audit_streams.keys import AuditKeys, require_streams
from authkit_redis.audit_streams.portions import Portion, portions
from authkit_redis.audit_streams.scripts import CHECK, WRITE
from authkit_redis.audit_streams.upkeep import Retention, Upkeep, counts_of
from authkit_redis.link import AccessRefused, Link, LinkError, ReplyError
from authkit_redis.server_policy import admission

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from authkit.interfaces import AuditSink, Observable

__all__ = ["RedisAuditSink"]

_UNWRITABLE, _LAGGING, _EVICTING = "unwritable", "lagging", "evicting"
_CONFLICTING = "conflicting"
# What a batch may take at most if whoever waits for it is to wait for the upkeep too.
_QUICK_SECONDS = 0.25
# For how long a producer may pause before an event that is given again would be written again.
_KEPT_MS = 7 * 86_400 * 1000

_BEHIND = "BEHIND"
_HELD = ", and a consumer group keeps what was to go"
_WORDS = {
    _BEHIND: "Redis loses events that it has taken",
    "MISCONF": "Redis cannot write to its disk, and takes no events",
    "OOM": "Redis is full, and takes no events",
    "READONLY": "this Redis server is a replica, and takes no events",
    "WRONGTYPE": "the data of another program stand under this prefix",
}


class RedisAuditSink:
    """Appends audit events to streams in Redis, each event once.

    An event that is given again, by (producer, sequence), is not written again: whatever became
    of the first attempt, a batch may be repeated.  So the events of one producer must come in the
    order of their sequence, one batch at a time, as an AuditTrail gives them: one whose sequence
    is not above the last one written is skipped and counted.  Redis forgets a producer that has
    not written for seven days.  A producer's name must therefore belong to one run of one process,
    as those of an AuditTrail do: where another sink has written as far under the same name, what
    is skipped may be other events.

    A batch that is given again, as after a timeout of the caller, goes on where it was broken off;
    what Redis has lost of it meanwhile, by a failover or a restart, is written again.

    A stream is trimmed by those who write to it, about once a second and beside the writing, to
    about `max_events` and `retention_seconds`, but never past what a consumer group of it has not
    acknowledged: a group that nobody reads any more has to be destroyed.

    It may be used without being entered while the link is; then it trims after a batch, as long as
    Redis is quick.  It is an Observable, whose states are `available`; `unwritable`, where the last
    batch could not be written; `conflicting`, where events of it were skipped that another sink may
    have written; `lagging`, where a consumer group keeps a stream more than a tenth above what is
    to stay of it; and `evicting`, where Redis may drop keys when it is full.

    Args:
        link: to the servers.
        prefix: of all keys; 1 to 64 printable ASCII characters without braces.
        streams: into how many streams the events are divided, by producer; more than one lets
            the masters of a cluster share the work.
        max_events: how many events of each stream stay; None for all.
        retention_seconds: for how long events stay; None for ever.
        timeout_seconds: within which Redis must have taken each 250 events of a batch.
        clock: tells the time; None is the machine's clock.

    Raises:
        ConfigurationError: a value has no sense; the message says which.
    """

    def __init__(
        self,
        link: Link,
        *,
        prefix: str = "authkit",
        streams: int = 1,
        max_events: int | None = 1_000_000,
        retention_seconds: float | None = None,
        timeout_seconds: float = 2.0,
        clock: Clock | None = None,
    ) -> None:
        require_streams(streams)
        if max_events is not None and (type(max_events) is not int or max_events < 1):
            raise ConfigurationError("max_events must be a whole number above 0, or None")
        if retention_seconds is not None:
            require_seconds(retention_seconds=retention_seconds)
        require_seconds(timeout_seconds=timeout_seconds)
        clock = SystemClock() if clock is None else clock
        self._link = link
        self._monotonic = clock.monotonic
        self._keys = AuditKeys(prefix)
        self._streams = streams
        self._timeout_seconds = float(timeout_seconds)
        retention = Retention(max_events, retention_seconds)
        self._upkeep = Upkeep(
            link,
            self._keys,
            streams,
            retention,
            clock.monotonic,
            self._timeout_seconds,
            on_done=self._maintained,
        )
        self._acknowledged = Acknowledged()
        self._state = ReportedState("audit", "redis", clock)
        self._entered = 0
        self._name = b""
        self._has_conflict = False
        self._written_total = self._skipped_total = self._calls_total = self._failures_total = 0
        self._conflicts_total = self._conflicts_reported = 0

    async def write(self, events: Sequence[AuditEvent]) -> None:
        """Writes the events that are not there yet, those of each producer in order.

        Raises:
            BackendUnavailable: not all are known to be written; the same batch may be given again.
        """
        began = self._monotonic()
        self._name = self._name or secrets.token_hex(8).encode()
        try:
            try:
                streams = await self._send(events)
            except ReplyError as error:
                if error.code != _BEHIND:
                    raise
                # What Redis has lost of this batch is written again; what came before is lost.
                streams = await self._send(events)
        except LinkError as error:
            why = _words(error)
            if isinstance(error, ReplyError) and error.code == "OOM":
                why += _HELD if self._upkeep.is_held else ""
                self._upkeep.start(
                    {*range(self._streams)}
                )  # which takes no memory, and may free it
            self._state.set(_UNWRITABLE, code="audit_unwritable", why=why)
            raise BackendUnavailable("audit", why) from error
        if streams:
            # Since the last batch that was written, as this one may have been broken off before.
            self._has_conflict = self._conflicts_total > self._conflicts_reported
            self._conflicts_reported = self._conflicts_total
            self._report()
            if self._entered:
                self._upkeep.start(streams)
            elif self._monotonic() - began <= _QUICK_SECONDS:
                await self._upkeep.run(streams)

    async def _send(self, events: Sequence[AuditEvent]) -> set[int]:
        """Sends what is not known to be written; the streams that it has written to."""
        streams: set[int] = set()
        # At least the last one is sent, to learn whether Redis answers, and still has it.
        rest = self._acknowledged.rest(events) or events[-1:]
        for portion in portions(rest, self._keys, self._streams):
            # One after the other: had one failed, the next one would make it look written.
            await self._write(portion)
            streams.add(portion.stream)
        self._skipped_total += len(events) - len(rest)
        return streams

    async def _write(self, portion: Portion) -> None:
        stream, keys, _, runs, lines = portion
        known = self._acknowledged.of(portion)
        self._calls_total += 1
        try:
            reply = await self._link.run(
                WRITE,
                keys,
                (_KEPT_MS, self._name, len(runs) // 3, *known, *runs, *lines),
                timeout_seconds=self._timeout_seconds,
                is_repeatable=True,
            )
            written, length, foreign = counts_of(reply, 3)
        except LinkError as error:
            self._failures_total += 1
            if isinstance(error, ReplyError) and error.code == _BEHIND:
                self._acknowledged.forget(portion)
            raise
        self._acknowledged.add(portion)
        self._written_total += written
        self._skipped_total += len(lines) - written
        self._conflicts_total += foreign
        self._upkeep.saw(stream, length)

    def _maintained(self) -> None:
        if self._state.current != _UNWRITABLE:
            self._report()

    def _report(self) -> None:
        """Tells what state it is in while it can be written to."""
        if self._has_conflict:
            why = "another run of a producer of this name has written: events are skipped"
            self._state.set(_CONFLICTING, code="audit_conflicting", why=why)
        elif self._upkeep.is_held:
            why = "a consumer group has not acknowledged events that were to go"
            self._state.set(_LAGGING, code="audit_lagging", why=why)
        elif self._upkeep.drops_keys:
            why = "maxmemory-policy is not noeviction, so Redis may forget audit events"
            self._state.set(_EVICTING, code="audit_evicting", why=why)
        else:
            self._state.set(AVAILABLE)

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` on each change of the state."""
        self._state.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """What it has done, `stream_length` as last seen; `link_` are the figures of the link.

        `skipped_total` counts events that were written already, `conflicts_total` those of them
        that another sink may have written; `calls_total` the calls that were to write up to 250
        events each, `failures_total` those of them that failed.
        """
        upkeep = self._upkeep
        return {
            "written_total": self._written_total,
            "skipped_total": self._skipped_total,
            "conflicts_total": self._conflicts_total,
            "calls_total": self._calls_total,
            "failures_total": self._failures_total,
            "trimmed_total": upkeep.trimmed_total,
            "upkeep_failures_total": upkeep.failures_total,
            "stream_length": upkeep.length,
            "is_lagging": float(upkeep.is_held),
            "listener_errors_total": self._state.listener_errors_total,
            **{f"link_{name}": value for name, value in self._link.stats().items()},
        }

    async def __aenter__(self) -> Self:
        """Checks that Redis lets this user in; where it cannot be reached, begins all the same.

        Raises:
            ConfigurationError: Redis does not let this user in, or not do what is needed; or the
                data of another program stand under the prefix.
        """
        await self._link.__aenter__()
        try:
            if not self._entered:
                await self._begin()
        except BaseException:
            await self._link.__aexit__(None, None, None)
            raise
        self._entered += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves the link; the last one ends the upkeep before."""
        self._entered -= 1
        try:
            if not self._entered:
                await self._upkeep.stop()
        finally:
            await self._link.__aexit__(kind, error, trace)

    async def _begin(self) -> None:
        keys = self._keys.log(0), self._keys.probe(0, secrets.token_hex(8))
        timeout = self._timeout_seconds
        try:
            await admission(self._link, "audit", CHECK, keys, (), timeout_seconds=timeout)
            await self._upkeep.register()
        except AccessRefused as refused:
            raise ConfigurationError(f"audit: {refused}") from refused
        except LinkError as error:
            if isinstance(error, ReplyError) and error.code == "WRONGTYPE":
                raise ConfigurationError(f"audit: {_words(error)}; choose another one") from error
            why = f"it begins all the same: {_words(error)}"
            self._state.set(_UNWRITABLE, code="audit_unwritable", why=why)
        else:
            self._report()


def _words(error: LinkError) -> str:
    """What has gone wrong, without anything of what was written."""
    return _WORDS.get(error.code, str(error)) if isinstance(error, ReplyError) else str(error)


if TYPE_CHECKING:

    def _kinds(sink: RedisAuditSink) -> None:
        _sink: AuditSink = sink
        _observable: Observable = sink
        _entered: AbstractAsyncContextManager[RedisAuditSink] = sink
