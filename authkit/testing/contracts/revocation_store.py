"""The contract of a RevocationStore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import (
    Revocation,
    RevocationFeed,
    RevocationLifting,
    RevocationScope,
    RevocationStore,
)
from authkit.testing.contracts.backend import Advance, Outage, needs, wait_until
from authkit.testing.contracts.revocation_coverage import Revoke, RevokeAll
from authkit.testing.contracts.revocation_crowd import RevocationCrowd
from authkit.testing.contracts.revocation_examples import EACH_SCOPE, revocation, token, token_with

__all__ = ["RevocationStoreContract"]

Lift = Callable[[Revocation], Awaitable[None]]


class _LiftingStore(RevocationStore, RevocationLifting, Protocol): ...


class _FeedingStore(RevocationStore, RevocationFeed, Protocol): ...


class RevocationStoreContract(RevocationCrowd):
    """What a RevocationStore promises.

    Subclass it and override the fixture `store`, which gives an empty store for each test:

        class TestMyStore(RevocationStoreContract):
            is_lifting = True

            @pytest.fixture
            def store(self, clock):
                return MyStore(clock=clock)

    Attributes:
        has_horizon: it refuses an `expires_at` that lies too far away.
        max_entries: how many revocations the fixture's store takes (at least 100), so that it
            can be filled; None for one without such a bound.
        is_lifting: it is a RevocationLifting.
        is_feeding: it is a RevocationFeed.
        max_pending: how many revocations a subscriber may fall behind; None for one whose
            bound is too high to be tried.

    The attributes of `BackendContract` and its fixtures `clock`, `advance` and `outage` are
    there too.
    """

    max_pending: int | None = None

    @pytest.fixture
    def lift(self, store: _LiftingStore, clock: Clock, advance: Advance) -> Lift:
        """Lifts in the store under test, and waits until it is in effect."""

        async def lift(what: Revocation) -> None:
            receipt = await self.in_time(store.lift(what))
            await wait_until(receipt.effective_at, clock, advance)

        return lift

    @asynccontextmanager
    async def listening(self, store: _FeedingStore) -> AsyncGenerator[AsyncIterator[Revocation]]:
        """A subscription, closed at the end."""
        feed = store.subscribe()
        try:
            yield feed
        finally:
            aclose = getattr(feed, "aclose", None)
            if aclose is not None:
                await self.in_time(aclose())

    # Lifting

    @needs("is_lifting")
    @EACH_SCOPE
    async def test_what_is_lifted_covers_nothing(
        self,
        store: RevocationStore,
        revoke: Revoke,
        lift: Lift,
        clock: Clock,
        scope: RevocationScope,
    ) -> None:
        """Lifting forgets what has the same scope, issuer and id, whatever else it says."""
        facts = token(clock.time())
        await revoke(revocation(scope, expires_at=clock.time() + 100, reason="by mistake"))
        await self.assert_covered(store, facts)
        await lift(revocation(scope))
        await self.assert_not_covered(store, facts)

    @needs("is_lifting")
    async def test_lifting_twice_is_lifting_once(self, lift: Lift, revoke: Revoke) -> None:
        """Lifting what is not revoked, or not any more, raises nothing."""
        asked = revocation(RevocationScope.TOKEN)
        await lift(asked)
        await revoke(asked)
        await lift(asked)
        await lift(asked)

    @needs("is_lifting")
    async def test_lifting_leaves_the_others(
        self, store: RevocationStore, revoke_all: RevokeAll, lift: Lift, clock: Clock
    ) -> None:
        """Other scopes, other ids and other issuers stay revoked."""
        now = clock.time()
        other = "https://other.example"
        await revoke_all(
            [
                revocation(RevocationScope.TOKEN),
                revocation(RevocationScope.TOKEN, "token-2"),
                revocation(RevocationScope.TOKEN, issuer=other),
                revocation(RevocationScope.SESSION, "token-1"),
            ]
        )
        await lift(revocation(RevocationScope.TOKEN))
        await self.assert_not_covered(store, token(now))
        await self.assert_covered(store, token_with(now, RevocationScope.TOKEN, "token-2"))
        await self.assert_covered(store, token(now, issuer=other))
        await self.assert_covered(store, token(now, session_id="token-1"))

    @needs("is_lifting")
    async def test_a_revocation_after_lifting_counts_as_the_first(
        self, store: RevocationStore, revoke: Revoke, lift: Lift, clock: Clock
    ) -> None:
        """Revoked again it covers again, and no more than it says: the lifted one is forgotten."""
        now = clock.time()
        await revoke(revocation(RevocationScope.SUBJECT, issued_until=now - 10))
        await lift(revocation(RevocationScope.SUBJECT))
        await revoke(revocation(RevocationScope.SUBJECT, issued_until=now - 60))
        await self.assert_covered(store, token(now, issued_at=now - 61))
        await self.assert_not_covered(store, token(now, issued_at=now - 30))

    # The feed

    @needs("is_feeding")
    async def test_a_subscriber_hears_all_from_the_call_on(
        self, store: _FeedingStore, revoke: Revoke
    ) -> None:
        """It is registered when `subscribe` returns, before anything is awaited."""
        async with self.listening(store) as feed:
            scopes = [RevocationScope.TOKEN, RevocationScope.SUBJECT, RevocationScope.KEY]
            for scope in scopes:
                await revoke(revocation(scope))
            heard: set[RevocationScope] = set()
            while len(heard) < len(scopes):  # repeats are allowed
                heard.add((await self.in_time(anext(feed))).scope)
        assert heard == set(scopes)

    @needs("is_feeding")
    async def test_a_waiting_subscriber_is_woken(
        self, store: _FeedingStore, revoke: Revoke
    ) -> None:
        """One that waits already hears of the next revocation, and of whose tokens it is."""
        async with self.listening(store) as feed:
            waiting = asyncio.ensure_future(anext(feed))
            await asyncio.sleep(0)
            await revoke(revocation(RevocationScope.SESSION))
            heard = await self.in_time(waiting)
        asked = revocation(RevocationScope.SESSION)
        assert (heard.scope, heard.issuer) == (asked.scope, asked.issuer)

    @needs("is_feeding")
    async def test_every_subscriber_hears_it(self, store: _FeedingStore, revoke: Revoke) -> None:
        """Several subscribers take nothing from one another."""
        async with self.listening(store) as one, self.listening(store) as other:
            await revoke(revocation(RevocationScope.TOKEN))
            for feed in (one, other):
                assert (await self.in_time(anext(feed))).scope is RevocationScope.TOKEN

    @needs("is_feeding")
    async def test_a_subscriber_that_leaves_harms_nobody(
        self, store: _FeedingStore, revoke: Revoke, clock: Clock
    ) -> None:
        """Cancelled while it waits, and closed, it stops neither `revoke` nor other subscribers."""
        async with self.listening(store) as staying:
            async with self.listening(store) as leaving:
                waiting = asyncio.ensure_future(anext(leaving))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])
            await revoke(revocation(RevocationScope.TOKEN))
            assert (await self.in_time(anext(staying))).scope is RevocationScope.TOKEN
        await self.assert_covered(store, token(clock.time()))

    @needs("is_feeding", "max_pending")
    async def test_a_subscriber_too_far_behind_is_told(self, store: _FeedingStore) -> None:
        """It is never left to believe that it has heard all; subscribing again begins anew."""
        assert self.max_pending is not None
        async with self.listening(store) as behind:
            for _ in range(self.max_pending + 1):
                await store.revoke(revocation(RevocationScope.SUBJECT))
            with pytest.raises(BackendUnavailable):
                await self._hear(behind, self.max_pending + 1)
        async with self.listening(store) as feed:
            await store.revoke(revocation(RevocationScope.TOKEN))
            assert (await self.in_time(anext(feed))).scope is RevocationScope.TOKEN

    async def _hear(self, feed: AsyncIterator[Revocation], count: int) -> None:
        for _ in range(count):
            await self.in_time(anext(feed))

    # Outages

    @needs("can_fail")
    async def test_an_outage_never_reads_as_not_revoked(
        self, store: RevocationStore, clock: Clock, revoke: Revoke, outage: Outage, advance: Advance
    ) -> None:
        """Once it cannot know, `find` raises in time, or answers what it has kept: never None."""
        now = clock.time()
        await revoke(revocation(RevocationScope.TOKEN))
        async with outage():
            await advance(self.staleness_seconds)
            await self.assert_unavailable(
                store.find(token_with(now, RevocationScope.TOKEN, "another"))
            )
            try:
                await self.assert_covered(store, token(now))
            except BackendUnavailable:
                pass

    @needs("can_fail")
    async def test_an_outage_gives_no_receipt(self, store: RevocationStore, outage: Outage) -> None:
        """A revocation that nobody keeps is not answered with a receipt."""
        async with outage():
            await self.assert_unavailable(store.revoke(revocation(RevocationScope.TOKEN)))

    @needs("can_fail", "is_lifting")
    async def test_an_outage_gives_no_receipt_for_lifting(
        self, store: _LiftingStore, outage: Outage, revoke: Revoke
    ) -> None:
        """A lifting that nobody has noted is not answered with a receipt."""
        await revoke(revocation(RevocationScope.TOKEN))
        async with outage():
            await self.assert_unavailable(store.lift(revocation(RevocationScope.TOKEN)))

    @needs("can_fail")
    async def test_an_outage_loses_nothing(
        self, store: RevocationStore, clock: Clock, revoke: Revoke, outage: Outage, advance: Advance
    ) -> None:
        """After the outage, what was revoked before it is covered, and revoking works again."""
        now = clock.time()
        await revoke(revocation(RevocationScope.TOKEN))
        async with outage():
            await advance(self.staleness_seconds)
        await advance(self.staleness_seconds)
        await self.assert_covered(store, token(now))
        await revoke(revocation(RevocationScope.SESSION, "session-2"))
        await self.assert_covered(store, token(now, session_id="session-2"))
        await self.assert_not_covered(store, token_with(now, RevocationScope.TOKEN, "another"))
