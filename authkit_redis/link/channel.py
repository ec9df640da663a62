"""One connection that many calls share: a write per tick, replies in the order of the calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

from hiredis import PushNotification, Reader

from authkit_redis.link.errors import (
    AccessRefused,
    LinkError,
    NotSent,
    OutcomeUnknown,
    Redirected,
    ReplyError,
    Saturated,
    reply_error,
)
from authkit_redis.link.waiting import Call, OnFailure, expire, still_waiting
from authkit_redis.link.wire import Counts, Wire

__all__ = ["Channel"]

_NOTHING_YET = object()
_NOT_RESULTS = frozenset({AccessRefused, PushNotification, Redirected, ReplyError})
_GRAIN_SECONDS = 0.01  # deadlines are kept to within this, so that many cost few wake-ups
_CLOSING_SECONDS, _LONGEST_REPLY_BYTES = 0.25, 64 * 2**20


class Channel(asyncio.Protocol):
    """Calls over one connection, from before it is made until it is lost, and never again.

    It takes calls while the connection is still being made, so that nobody waits for the
    connecting itself: a caller who is cancelled leaves nothing behind, and one whose deadline
    passes learns that its call was not sent.

    Args:
        reply_timeout_seconds: for how long the server may owe replies and give none before
            the connection is given up.
        max_in_flight: how many calls may wait, to be written or for their replies.
        on_failure: told of a call that failed before its deadline, if it was made with a
            context; it settles the future then, perhaps by repeating the call.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counts: Counts,
        *,
        reply_timeout_seconds: float,
        max_in_flight: int,
        on_failure: OnFailure | None = None,
    ) -> None:
        self.is_usable: bool = True
        self.loop = loop
        # What `loop.create_future` does, without a Python function in between.
        self._new_future: Callable[[], asyncio.Future[Any]] = partial(asyncio.Future, loop=loop)
        self._counts = counts
        self._reply_timeout_seconds = reply_timeout_seconds
        self._max_in_flight = max_in_flight
        self._on_failure = on_failure
        self._wire: Wire | None = None
        self._is_held_back = True
        self._room = max_in_flight
        self._unsent: list[Call] = []
        self._packed: list[bytes] = []
        self._sent: deque[Call] = deque()
        self._reader = Reader(replyError=reply_error, notEnoughData=_NOTHING_YET)
        self._progress_at = 0.0
        self._incomplete = 0
        self._wakes_at = inf
        self._timer: asyncio.TimerHandle | None = None
        self.on_lost: Callable[[], None] | None = None
        self._is_gone = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many calls wait, to be written or for their replies."""
        return len(self._unsent) + len(self._sent)

    def send(self, packed: bytes, deadline: float, context: Any = None) -> asyncio.Future[Any]:
        """Writes a packed command with all others of this tick.

        Args:
            deadline: by the loop's clock, when the future fails if no reply has come.
            context: handed to `on_failure`; None lets the future fail at once.

        Raises:
            Saturated: too many calls wait.
        """
        unsent = self._unsent
        if not unsent:
            self._begin_tick()
        elif len(unsent) >= self._room:
            self._refuse_more()
        future = self._new_future()
        unsent.append((future, deadline, context))
        self._packed.append(packed)
        if deadline < self._wakes_at:
            self._wake_at(deadline)
        return future

    def _begin_tick(self) -> None:
        self._room = self._max_in_flight - len(self._sent)
        if self._room <= 0:
            self._refuse_more()
        if not self._is_held_back:
            self.loop.call_soon(self._flush)

    def _refuse_more(self) -> None:
        self._counts.saturated += 1
        raise Saturated("too many calls wait for the Redis server")

    def _flush(self) -> None:
        # Without a look at each call: one cancelled in the tick of its start is written too.
        unsent, packed = self._unsent, self._packed
        if self._wire is None or self._is_held_back or not unsent:
            return
        self._unsent, self._packed = [], []
        if not self._sent:
            self._progress_at = self.loop.time()
            if self._progress_at + self._reply_timeout_seconds < self._wakes_at:
                self._wake_at(self._progress_at + self._reply_timeout_seconds)
        self._counts.calls += len(unsent)
        self._sent.extend(unsent)
        self._wire.write(b"".join(packed))

    # --- the connection

    def attach(self, wire: Wire) -> None:
        """The connection is made: what has been waiting for it is written."""
        self._counts.connects += 1
        if not self.is_usable:
            self._counts.disconnects += 1
            wire.close()
            return
        self._wire = wire
        self.resume_writing()

    def pause_writing(self) -> None:
        """The other side reads too slowly: what comes now waits here, and may still expire."""
        self._is_held_back = True

    def resume_writing(self) -> None:
        """The other side has caught up."""
        self._is_held_back = False
        # What was cancelled, or is late, while it could not be written is never sent.
        self._unsent, self._packed = still_waiting(self._unsent, self._packed)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Settles the calls whose replies are complete."""
        if not self.is_usable:
            return
        reader, sent = self._reader, self._sent
        try:
            reader.feed(data)
            value = reader.gets()
            self._incomplete = 0 if value is not _NOTHING_YET else self._incomplete + len(data)
            if self._incomplete > _LONGEST_REPLY_BYTES:
                self.abandon(None)
            if self._incomplete:
                return
            while value is not _NOTHING_YET:
                if type(value) in _NOT_RESULTS:
                    self._receive(value)
                elif (future := sent.popleft()[0]).done():
                    self._counts.late_replies += 1
                else:
                    future.set_result(value)
                value = reader.gets()
        except Exception as error:
            # Not the protocol, or a reply that nobody asked for: no later one can be trusted.
            self.abandon(error)
        else:
            self._progress_at = self.loop.time()

    def deliver(self, value: Any) -> None:
        """Settles the oldest call with a reply that somebody else has parsed."""
        try:
            self._receive(value)
        except IndexError as error:
            self.abandon(error)
        else:
            self._progress_at = self.loop.time()

    def _receive(self, value: Any) -> None:
        if isinstance(value, PushNotification):
            return
        call = self._sent.popleft()
        future = call[0]
        if future.done():
            self._counts.late_replies += 1
        elif isinstance(value, ReplyError):
            self._fail(call, value)
        else:
            future.set_result(value)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, for whatever reason."""
        self._is_gone.set()
        self._end(error, OutcomeUnknown("the connection to the Redis server broke"))

    def abandon(self, error: BaseException | None) -> None:
        """Gives the connection up at once, with what is in flight on it."""
        wire = self._wire
        self._end(error, OutcomeUnknown("the connection to the Redis server was given up"))
        if wire is not None:
            wire.abort()

    def forget(self) -> None:
        """Lets go of the connection after its event loop was closed: nobody waits any more."""
        self.is_usable = False
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.forget()

    def refuse(self, reason: LinkError) -> None:
        """There will be no connection: everybody who waits for it learns why."""
        self._end(reason.__cause__, reason, reason)

    def close(self) -> None:
        """Begins to close the connection in good order; what is in flight on it fails."""
        not_sent = NotSent("the link was closed before the connection was used")
        self._end(None, OutcomeUnknown("the link was closed before the reply came"), not_sent)
        if self._wire is not None:
            self._wire.close()

    async def aclose(self) -> None:
        """Closes the connection in good order, and waits for it, but not long."""
        self.close()
        if self._wire is not None:
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._is_gone.wait(), _CLOSING_SECONDS)
            finally:
                self._wire.abort()  # which is nothing for one that is closed

    def _end(
        self, cause: BaseException | None, of_sent: LinkError, of_unsent: LinkError | None = None
    ) -> None:
        if not self.is_usable:
            return
        self.is_usable = False
        self._is_held_back = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._wire is not None:
            self._counts.disconnects += 1
        broke = NotSent("the connection to the Redis server broke before it was used")
        sent, self._sent = self._sent, deque()
        unsent, self._unsent, self._packed = self._unsent, [], []
        if self.on_lost is not None:
            self.on_lost()
        for calls, why in ((sent, of_sent), (unsent, of_unsent or broke)):
            for call in (each for each in calls if not each[0].done()):
                self._fail(call, why.copy(cause))

    def _fail(self, call: Call, error: LinkError) -> None:
        if call[2] is None or self._on_failure is None:
            call[0].set_exception(error)
        else:
            self._on_failure(call, error)

    # --- time

    def _wake_at(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = moment
        self._timer = self.loop.call_at(moment, self._check)

    def _check(self) -> None:
        now = self.loop.time()
        # A loop that stood still says nothing about the server.
        self._progress_at += now - self._wakes_at
        self._timer, self._wakes_at = None, inf
        limit = now + _GRAIN_SECONDS / 2
        unknown = OutcomeUnknown("no reply came in time")
        not_sent = NotSent("no connection to the Redis server could be used in time")
        late, earliest = expire(self._sent, limit, unknown)
        unsent_late, earliest_unsent = expire(self._unsent, limit, not_sent)
        self._counts.timeouts += late + unsent_late
        self._unsent, self._packed = still_waiting(self._unsent, self._packed)
        earliest = min(earliest, earliest_unsent)
        if self._sent:
            gives_up_at = self._progress_at + self._reply_timeout_seconds
            if gives_up_at <= now:
                self.abandon(None)
                return
            earliest = min(earliest, gives_up_at)
        if earliest < inf:
            self._wake_at(max(earliest, now + _GRAIN_SECONDS))
