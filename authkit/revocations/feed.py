"""Tells subscribers of revocations, each through a bounded queue of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from weakref import WeakSet

from authkit.errors import BackendUnavailable
from authkit.interfaces import Revocation

__all__ = ["Feed", "Subscription"]

_MAX_PENDING = 1_000


class Feed:
    """Who listens to a store.

    It does not keep a subscription alive: one that nobody iterates any more is gone.

    Attributes:
        overflow_total: subscribers that fell too far behind.
    """

    __slots__ = ("_subscriptions", "overflow_total")

    def __init__(self) -> None:
        self._subscriptions: WeakSet[Subscription] = WeakSet()
        self.overflow_total: int = 0

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(self) -> Subscription:
        """A subscription that hears of everything from now on."""
        subscription = Subscription(self)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Tells it nothing more."""
        self._subscriptions.discard(subscription)

    def publish(self, revocation: Revocation) -> None:
        """Gives the revocation to every subscriber.  It never waits for one."""
        for subscription in tuple(self._subscriptions):
            if not subscription.offer(revocation):
                self.unsubscribe(subscription)
                self.overflow_total += 1


class Subscription:
    """An asynchronous iterator of revocations, from the moment it was made.

    It may be dropped without further ado; `aclose` ends an iteration that waits elsewhere.
    """

    __slots__ = ("__weakref__", "_feed", "_has_overflowed", "_is_closed", "_news", "_pending")

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._pending: deque[Revocation] = deque()
        self._news = asyncio.Event()
        self._has_overflowed = False
        self._is_closed = False

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Revocation:
        """The next revocation; waits for it.

        Raises:
            BackendUnavailable: it fell more than 1,000 revocations behind, which are lost.
                Subscribe again, then check every token.
            StopAsyncIteration: it was closed.
        """
        while not self._pending:
            if self._has_overflowed:
                raise BackendUnavailable(
                    "revocations", "the subscriber fell behind; subscribe again, check every token"
                )
            if self._is_closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._pending.popleft()

    async def aclose(self) -> None:
        """Ends it, also for whoever waits for the next revocation.  May be repeated."""
        self._is_closed = True
        self._pending.clear()
        self._feed.unsubscribe(self)
        self._news.set()

    def offer(self, revocation: Revocation) -> bool:
        """Queues a revocation; False when it does not fit, which ends the subscription."""
        self._has_overflowed = len(self._pending) >= _MAX_PENDING
        if self._has_overflowed:
            self._pending.clear()
        else:
            self._pending.append(revocation)
        self._news.set()
        return not self._has_overflowed


if TYPE_CHECKING:
    _iterator: AsyncIterator[Revocation] = Subscription(Feed())
