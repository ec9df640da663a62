"""Key providers in which a call that is cancelled harms others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from authkit.clock import Clock
from authkit.interfaces import VerificationKey
from tests.contracts.bad_backends.honest_key_provider import HonestProvider


class SharesOneFetch(HonestProvider):
    """Whoever comes while a fetch is on waits for it, and is cancelled with whoever else waits."""

    breaks = (
        "test_a_cancelled_question_harms_no_other",
        "test_a_shared_look_outlives_whoever_leaves",
    )

    def __init__(self, published: Mapping[str, Any], clock: Clock) -> None:
        super().__init__(published, clock)
        self.fetch: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        if self.fetch is None:
            self.fetch = asyncio.create_task(self.fetching())
        await self.fetch
        return await super().find(kid, alg)

    async def fetching(self) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            self.fetch = None


class SharesItsCancellation(HonestProvider):
    """Asks for unknown keys once for all who wait, who are cancelled with whoever leaves."""

    breaks = ("test_a_shared_look_outlives_whoever_leaves",)

    def __init__(self, published: Mapping[str, Any], clock: Clock) -> None:
        super().__init__(published, clock)
        self.flight: asyncio.Task[None] | None = None

    async def ask(self) -> None:
        if self.is_down:
            await super().ask()
        if self.flight is None or self.flight.done():
            self.flight = asyncio.create_task(self.fetched())
        await self.shared(self.flight)

    async def shared(self, flight: asyncio.Task[None]) -> None:
        await flight

    async def fetched(self) -> None:
        await asyncio.sleep(0.02)
        self.take(self.published)


class SharesItsCancellationWhileItReads(SharesItsCancellation):
    """While it connects it is shielded, so only a later moment finds it."""

    async def shared(self, flight: asyncio.Task[None]) -> None:
        await asyncio.wait([flight], timeout=0.004)
        await flight


class LeavesTheOthersWaiting(SharesItsCancellation):
    """The first who asks fetches, and tells the others."""

    def __init__(self, published: Mapping[str, Any], clock: Clock) -> None:
        super().__init__(published, clock)
        self.fetching: asyncio.Event | None = None

    async def ask(self) -> None:
        if self.is_down:
            await super().ask()
        if self.fetching is not None:
            await self.fetching.wait()
            return
        self.fetching = asyncio.Event()
        await self.fetched()
        self.fetching.set()
        self.fetching = None


class NeverFreesItsLock(HonestProvider):
    breaks = ("test_a_cancelled_question_harms_no_other",)
    breaks_more = True

    def __init__(self, published: Mapping[str, Any], clock: Clock) -> None:
        super().__init__(published, clock)
        self.lock = asyncio.Lock()

    async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        await self.lock.acquire()
        await asyncio.sleep(0)  # where a cancellation leaves the lock behind
        try:
            return await super().find(kid, alg)
        finally:
            self.lock.release()
