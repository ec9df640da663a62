"""The promises of a RevocationStore about how it keeps revocations, and for how long."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import RevocationScope, RevocationStore
from authkit.testing.contracts.backend import Advance, needs
from authkit.testing.contracts.concurrency import cancelled_among, together
from authkit.testing.contracts.revocation_coverage import RevocationCoverage, Revoke, RevokeAll
from authkit.testing.contracts.revocation_examples import (
    EACH_SCOPE,
    EACH_UNTIL_SCOPE,
    revocation,
    token,
    token_with,
)

__all__ = ["RevocationKeeping"]

AT_ONCE = 50


class RevocationKeeping(RevocationCoverage):
    """The part of the suite that asks what a receipt is worth."""

    has_horizon: bool = True
    max_entries: int | None = None

    def test_names_the_longest_lifetime_that_it_vouches_for(self, store: RevocationStore) -> None:
        """`max_token_lifetime_seconds` is a positive, finite number."""
        assert store.max_token_lifetime_seconds > 0
        assert math.isfinite(store.max_token_lifetime_seconds)

    @EACH_SCOPE
    async def test_the_receipt_fills_in_what_was_left_open(
        self, store: RevocationStore, clock: Clock, scope: RevocationScope
    ) -> None:
        """`issued_until` becomes now, `expires_at` the longest lifetime from now; the rest stays."""
        asked = revocation(scope, reason="stolen laptop")
        before = clock.time() - self.clock_tolerance_seconds
        kept = (await self.in_time(store.revoke(asked))).revocation
        after = clock.time() + self.clock_tolerance_seconds
        assert (kept.scope, kept.issuer, kept.id) == (asked.scope, asked.issuer, asked.id)
        assert (kept.minimum_version, kept.reason) == (asked.minimum_version, asked.reason)
        if scope in (RevocationScope.SUBJECT, RevocationScope.CLIENT, RevocationScope.ISSUER):
            assert kept.issued_until is not None
            assert before <= kept.issued_until <= after
        assert kept.expires_at is not None
        lifetime = store.max_token_lifetime_seconds
        assert before + lifetime <= kept.expires_at <= after + lifetime

    async def test_the_receipt_says_from_when_it_holds(
        self, store: RevocationStore, clock: Clock
    ) -> None:
        """`effective_at` is at most `staleness_seconds` from now, and not in the past."""
        before = clock.time() - self.clock_tolerance_seconds
        receipt = await self.in_time(store.revoke(revocation(RevocationScope.TOKEN)))
        after = clock.time() + self.clock_tolerance_seconds
        assert before <= receipt.effective_at <= after + self.staleness_seconds

    @EACH_SCOPE
    async def test_revoking_twice_is_revoking_once(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, scope: RevocationScope
    ) -> None:
        """Doing it again raises nothing and takes nothing back."""
        facts = token(clock.time())
        asked = revocation(scope, expires_at=clock.time() + 100)
        first = (await revoke(asked)).revocation
        second = (await revoke(asked)).revocation
        assert first.expires_at is not None
        assert second.expires_at is not None
        assert second.expires_at >= first.expires_at
        await self.assert_covered(store, facts)

    @EACH_UNTIL_SCOPE
    async def test_the_later_moment_holds(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, scope: RevocationScope
    ) -> None:
        """Of two `issued_until` the later one holds, whichever came first."""
        now = clock.time()
        await revoke(revocation(scope, issued_until=now - 60))
        await self.assert_not_covered(store, token(now, issued_at=now - 30))
        await revoke(revocation(scope, issued_until=now - 20))
        await self.assert_covered(store, token(now, issued_at=now - 30))
        kept = (await revoke(revocation(scope, issued_until=now - 60))).revocation
        await self.assert_covered(store, token(now, issued_at=now - 30))
        assert kept.issued_until == pytest.approx(now - 20, abs=0.001)

    async def test_the_higher_version_holds(
        self, store: RevocationStore, revoke: Revoke, clock: Clock
    ) -> None:
        """Of two `minimum_version` the higher one holds, as a number, whichever came first."""
        now = clock.time()
        await revoke(revocation(RevocationScope.VERSION, minimum_version=9))
        await self.assert_not_covered(store, token(now, token_version=9))
        await revoke(revocation(RevocationScope.VERSION, minimum_version=10))
        await self.assert_covered(store, token(now, token_version=9))
        lower = revocation(RevocationScope.VERSION, minimum_version=9)
        kept = (await revoke(lower)).revocation
        await self.assert_covered(store, token(now, token_version=9))
        assert kept.minimum_version == 10

    @EACH_UNTIL_SCOPE
    async def test_a_moment_ahead_is_kept(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, scope: RevocationScope
    ) -> None:
        """An issuer's clock may be ahead: `issued_until` by the largest leeway is taken as given."""
        until = clock.time() + 60
        kept = (await revoke(revocation(scope, issued_until=until))).revocation
        assert kept.issued_until == pytest.approx(until, abs=0.001)
        await self.assert_covered(store, token(until, issued_at=until - 0.5))
        await self.assert_not_covered(store, token(until, issued_at=until + 0.5))

    @EACH_SCOPE
    async def test_the_later_expiry_holds(
        self, store: RevocationStore, clock: Clock, scope: RevocationScope
    ) -> None:
        """Of two `expires_at` the later one holds, and the receipt says so."""
        later = clock.time() + store.max_token_lifetime_seconds
        await self.in_time(store.revoke(revocation(scope, expires_at=later)))
        again = revocation(scope, expires_at=clock.time() + 1)
        kept = (await self.in_time(store.revoke(again))).revocation
        assert kept.expires_at is not None
        assert kept.expires_at >= later - 0.001

    @EACH_UNTIL_SCOPE
    async def test_outlives_every_token_that_it_covers(
        self, store: RevocationStore, clock: Clock, scope: RevocationScope
    ) -> None:
        """`expires_at` is raised to `issued_until` and the longest lifetime, if given lower."""
        asked = revocation(scope, issued_until=clock.time(), expires_at=clock.time() + 1)
        kept = (await self.in_time(store.revoke(asked))).revocation
        assert kept.issued_until is not None
        assert kept.expires_at is not None
        assert kept.expires_at >= kept.issued_until + store.max_token_lifetime_seconds - 0.001

    @EACH_SCOPE
    async def test_is_answered_until_the_largest_leeway_has_passed_twice(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, scope: RevocationScope
    ) -> None:
        """A token that expired up to 120 s ago may still pass somewhere, so it is still covered."""
        now = clock.time()
        await revoke(revocation(scope, expires_at=now - 100))
        await self.assert_covered(store, token(now, expires_at=now - 100))

    @needs("can_skip_time")
    @EACH_SCOPE
    async def test_is_answered_until_its_expiry(
        self, store: RevocationStore, clock: Clock, advance: Advance, scope: RevocationScope
    ) -> None:
        """It is answered until the last moment before `expires_at` + 120 s."""
        facts = token(clock.time())
        kept = (await store.revoke(revocation(scope, expires_at=clock.time() + 600))).revocation
        assert kept.expires_at is not None
        await advance(kept.expires_at + 119.9 - clock.time())
        await self.assert_covered(store, facts)

    @needs("can_skip_time")
    @EACH_SCOPE
    async def test_is_forgotten_at_last(
        self, store: RevocationStore, clock: Clock, advance: Advance, scope: RevocationScope
    ) -> None:
        """Long after `expires_at` + 120 s nothing is covered by it any more."""
        facts = token(clock.time())
        kept = (await store.revoke(revocation(scope, expires_at=clock.time() + 600))).revocation
        assert kept.expires_at is not None
        await advance(kept.expires_at + 86_400 - clock.time())
        await self.assert_not_covered(store, facts)

    @needs("can_skip_time")
    async def test_a_shorter_repetition_shortens_nothing(
        self, store: RevocationStore, clock: Clock, advance: Advance
    ) -> None:
        """After a second revocation with an earlier `expires_at` the first is still kept."""
        now = clock.time()
        await store.revoke(revocation(RevocationScope.TOKEN, expires_at=now + 3600))
        await store.revoke(revocation(RevocationScope.TOKEN, expires_at=now + 60))
        await advance(3500)
        await self.assert_covered(store, token(now, expires_at=now + 3600))

    @needs("has_horizon")
    async def test_refuses_what_lies_beyond_its_horizon(
        self, store: RevocationStore, clock: Clock
    ) -> None:
        """What it could not remember long enough is a ConfigurationError, and is not kept."""
        now = clock.time()
        too_far = now + 10 * store.max_token_lifetime_seconds + 366 * 86_400
        with pytest.raises(ConfigurationError):
            await self.in_time(store.revoke(revocation(RevocationScope.TOKEN, expires_at=too_far)))
        await self.assert_not_covered(store, token(now))

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
                await store.revoke(revocation(RevocationScope.SESSION, f"session-{number}"))
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
