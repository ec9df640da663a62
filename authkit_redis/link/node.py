"""One server as seen from one event loop: a channel to it, and how it is connected to again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from random import SystemRandom

from authkit_redis.link.channel import Channel
from authkit_redis.link.errors import AccessRefused, LinkError, NotSent
from authkit_redis.link.waiting import Call
from authkit_redis.link.wire import Counts, Wire

__all__ = ["Dial", "Limits", "Node"]

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.25
_LONGEST_PATIENCE_SECONDS = 5.0
_random = SystemRandom()

Dial = Callable[[Channel], Awaitable[Wire]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds every channel of a link."""

    connect_timeout_seconds: float
    reply_timeout_seconds: float
    max_in_flight: int

    def for_blocking(self) -> Limits:
        """The same for a connection on which the server may be silent: each call has a deadline."""
        return replace(self, reply_timeout_seconds=inf)


class Node:
    """Keeps at most one channel, and makes one when it is asked for and there is none.

    Making it is one task, whoever asks: nobody's cancellation ends it for the others.  After
    a failure the next attempt is made at once, then after pauses that grow to a quarter of a
    second, each a little different; who asks in a pause is refused at once.

    Args:
        dial: makes a connection and puts a channel on it, or raises LinkError.
        on_failure: for the channels, which are told apart by the node.
        on_lost: called when a connection is lost or could not be made.
    """

    def __init__(
        self,
        dial: Dial,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        counts: Counts,
        *,
        on_failure: Callable[[Node, Call, LinkError], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self.channel: Channel | None = None
        self.retry_at: float = 0.0
        self._dial = dial
        self._loop = loop
        self._limits = limits
        self._counts = counts
        self._on_failure = on_failure
        self._on_lost = on_lost
        self.is_closed: bool = False
        self._failures = 0
        self._why: LinkError = NotSent("no connection to the Redis server could be made")
        self._dialling: set[asyncio.Task[None]] = set()
        self._retired: set[Channel] = set()
        self._closing: list[Channel] = []
        self._retires_from = 0.0

    @property
    def has_connections(self) -> bool:
        """Whether there is one, or one is being made."""
        return self.channel is not None or bool(self._retired or self._dialling)

    def ready_channel(self) -> Channel:
        """The channel, connected or being connected.

        Raises:
            LinkError: connecting has just failed, and is not tried again yet.
        """
        channel = self.channel
        if channel is not None and channel.is_usable:
            return channel
        if self.is_closed:
            raise NotSent("the link was closed")
        if self._loop.time() < self.retry_at:
            raise self._why.copy(None)
        channel = Channel(
            self._loop,
            self._counts,
            reply_timeout_seconds=self._limits.reply_timeout_seconds,
            max_in_flight=self._limits.max_in_flight,
            on_failure=self._on_failure and partial(self._on_failure, self),
        )
        channel.on_lost = self._on_lost
        self.channel = channel
        # In a context of its own: it outlives the request that happened to need it first.
        dialling = self._loop.create_task(self._connect(channel), context=Context())
        self._dialling.add(dialling)
        dialling.add_done_callback(self._dialling.discard)
        return channel

    async def _connect(self, channel: Channel) -> None:
        try:
            wire = await self._dial(channel)
        except LinkError as error:
            self._failed(channel, error)
        except Exception as error:
            # Nobody could connect again, if it were let through.
            self._failed(channel, NotSent(f"connecting to Redis failed: {type(error).__name__}"))
        except asyncio.CancelledError:
            channel.refuse(NotSent("the link was closed before the connection was made"))
            raise
        else:
            self._failures = 0
            channel.attach(wire)

    def _failed(self, channel: Channel, error: LinkError) -> None:
        self._failures += 1
        self._why = error if isinstance(error, AccessRefused) else NotSent(str(error))
        if self._failures > 1:
            doubled = _FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 8)
            pause = min(doubled, _LONGEST_PAUSE_SECONDS)
            self.retry_at = self._loop.time() + pause * _random.uniform(0.5, 1.0)
        channel.refuse(error)

    def retire(self) -> None:
        """Takes no more calls on this connection; those in flight may still be answered.

        Not again within a quarter of a second, so that many calls that were all answered
        alike cost one connection.
        """
        now = self._loop.time()
        if now < self._retires_from:
            return
        self._retires_from = now + _LONGEST_PAUSE_SECONDS
        channel, self.channel = self.channel, None
        if channel is not None and channel.is_usable:
            self._retired.add(channel)
            patience = min(self._limits.reply_timeout_seconds, _LONGEST_PATIENCE_SECONDS)
            self._loop.call_later(patience, self._end_retired, channel)

    def _end_retired(self, channel: Channel) -> None:
        self._retired.discard(channel)
        channel.abandon(None)

    def forget(self) -> None:
        """Lets go of a channel whose event loop is closed."""
        self.is_closed = True
        if self.channel is not None:
            self.channel.forget()

    def drop(self) -> None:
        """Gives the channel up with all that is in flight: the next call connects anew."""
        if self.channel is not None:
            self.channel.abandon(None)

    def close(self) -> None:
        """Begins to close all that is there, for good; nothing of it needs to be waited for."""
        self.is_closed = True
        for dialling in self._dialling:
            dialling.cancel()
        self._closing += [*self._retired, *([self.channel] if self.channel else [])]
        self._retired.clear()
        self.channel = None
        for channel in self._closing:
            channel.close()

    async def aclose(self) -> None:
        """Closes the channel in good order, for good."""
        self.close()
        if self._dialling:
            await asyncio.wait(self._dialling)
        for channel in self._closing:
            await channel.aclose()
