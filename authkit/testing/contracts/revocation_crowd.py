"""The promises of a RevocationStore about many calls at once, and about many revocations."""

from __future__ import annotations

from contextlib import suppress

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import RevocationScope, RevocationStore
from authkit.testing.contracts.backend import Advance, needs
from authkit.testing.contracts.concurrency import cancelled_among, together
from authkit.testing.contracts.revocation_coverage import Revoke, RevokeAll
from authkit.testing.contracts.revocation_examples import revocation, token, token_with
from authkit.testing.contracts.revocation_keeping import RevocationKeeping

__all__ = ["RevocationCrowd"]

AT_ONCE = 50


class RevocationCrowd(RevocationKeeping):
    """The part of the suite in which much happens at once, or the store is full."""

    max_entries: int | None = None

    async def test_loses_none_of_many_at_once(
        self, store: RevocationStore, revoke: Revoke, clock: Clock
    ) -> None:
        """Fifty revocations at the same time, among as many questions, are all kept."""
        now = clock.time()
        facts = [
            token_with(now, RevocationScope.TOKEN, f"token-{number}") for number in range(AT_ONCE)
        ]
        asked = [revocation(RevocationScope.TOKEN, one.token_id) for one in facts]
        await together(
            self.timeout_seconds + self.staleness_seconds,
            [
                call
                for pair in zip(map(revoke, asked), map(store.find, facts), strict=True)
                for call in pair
            ],
        )
        found = await together(self.timeout_seconds, map(store.find, facts))
        assert [one.token_id for one, it in zip(facts, found, strict=True) if it is None] == []

    async def test_the_latest_of_many_at_once_holds(
        self, store: RevocationStore, revoke_all: RevokeAll, clock: Clock
    ) -> None:
        """Of fifty moments for one subject, given at the same time, the latest holds."""
        now = clock.time()
        ages = [(number * 7) % AT_ONCE + 1 for number in range(AT_ONCE)]
        asked = [revocation(RevocationScope.SUBJECT, issued_until=now - age) for age in ages]
        await revoke_all(asked)
        await self.assert_covered(store, token(now, issued_at=now - 1.5))

    async def test_a_cancelled_question_harms_no_other(
        self, store: RevocationStore, revoke: Revoke, clock: Clock
    ) -> None:
        """Cancelled at any await, `find` leaves the answers of others right and in time."""
        facts = token(clock.time())
        await revoke(revocation(RevocationScope.TOKEN))
        found = await cancelled_among(
            self.timeout_seconds,
            lambda: store.find(token_with(clock.time(), RevocationScope.TOKEN, "another")),
            lambda: store.find(facts),
        )
        assert None not in found

    async def test_a_cancelled_revocation_harms_no_other(
        self, store: RevocationStore, revoke: Revoke, clock: Clock
    ) -> None:
        """Cancelled at any await, `revoke` may be done again, and other revocations are kept."""
        now = clock.time()
        numbers = iter(range(1000))

        async def another() -> str:
            id = f"neighbour-{next(numbers)}"
            await store.revoke(revocation(RevocationScope.TOKEN, id))
            return id

        neighbours = await cancelled_among(
            self.timeout_seconds,
            lambda: store.revoke(revocation(RevocationScope.TOKEN)),
            another,
        )
        await revoke(revocation(RevocationScope.TOKEN))
        for id in ("token-1", *neighbours):
            await self.assert_covered(store, token_with(now, RevocationScope.TOKEN, id))

    async def _fill(self, store: RevocationStore, expires_at: float) -> None:
        assert self.max_entries is not None
        for number in range(self.max_entries):
            id = f"token-{number}"
            await store.revoke(revocation(RevocationScope.TOKEN, id, expires_at=expires_at))

    @needs("max_entries")
    async def test_a_full_store_is_unavailable(self, store: RevocationStore, clock: Clock) -> None:
        """What does not fit is refused with BackendUnavailable, and is not kept."""
        now = clock.time()
        await self._fill(store, now + 300)
        await self.assert_unavailable(store.revoke(revocation(RevocationScope.SESSION)))
        await self.assert_not_covered(store, token_with(now, RevocationScope.TOKEN, "another"))

    @needs("max_entries")
    async def test_a_full_store_evicts_nothing_live(
        self, store: RevocationStore, revoke: Revoke, clock: Clock
    ) -> None:
        """However many come after them, the revocations that were kept are still answered."""
        now = clock.time()
        assert self.max_entries is not None
        await self._fill(store, now + 300)
        for number in range(self.max_entries):
            with pytest.raises(BackendUnavailable):
                await store.revoke(revocation(RevocationScope.SESSION, f"session-{number}"))
        for number in range(self.max_entries):
            await self.assert_covered(
                store, token_with(now, RevocationScope.TOKEN, f"token-{number}")
            )

    @needs("max_entries")
    async def test_a_full_store_still_takes_what_it_has(
        self, store: RevocationStore, clock: Clock
    ) -> None:
        """Revoking again what is kept already needs no room."""
        now = clock.time()
        await self._fill(store, now + 300)
        again = revocation(RevocationScope.TOKEN, "token-0", expires_at=now + 400)
        kept = (await self.in_time(store.revoke(again))).revocation
        assert kept.expires_at == pytest.approx(now + 400, abs=0.001)

    @needs("max_entries", "can_skip_time")
    async def test_making_room_forgets_nothing_before_its_time(
        self, store: RevocationStore, clock: Clock, advance: Advance
    ) -> None:
        """What expired less than 120 s ago is still answered, also by a full store."""
        now = clock.time()
        assert self.max_entries is not None
        await self._fill(store, now + 300)
        await advance(300 + 100)
        for number in range(10):
            with suppress(BackendUnavailable):
                await store.revoke(revocation(RevocationScope.TOKEN, f"another-{number}"))
        for number in range(self.max_entries):
            await self.assert_covered(
                store, token_with(now, RevocationScope.TOKEN, f"token-{number}")
            )

    @needs("max_entries", "can_skip_time")
    async def test_expired_revocations_make_room(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, advance: Advance
    ) -> None:
        """Once the revocations that filled it have expired, it takes new ones."""
        await self._fill(store, clock.time() + 300)
        await advance(3600)
        facts = token(clock.time())
        await revoke(revocation(RevocationScope.SESSION))
        await self.assert_covered(store, facts)
