"""The promises of a RevocationStore about how it keeps revocations, and for how long."""

from __future__ import annotations

import math

import pytest

from authkit.clock import Clock
from authkit.errors import ConfigurationError
from authkit.interfaces import RevocationScope, RevocationStore
from authkit.testing.contracts.backend import Advance, needs
from authkit.testing.contracts.revocation_coverage import RevocationCoverage, Revoke
from authkit.testing.contracts.revocation_examples import (
    EACH_SCOPE,
    EACH_UNTIL_SCOPE,
    revocation,
    token,
)

__all__ = ["RevocationKeeping"]


class RevocationKeeping(RevocationCoverage):
    """The part of the suite that asks what a receipt is worth."""

    has_horizon: bool = True

    async def test_names_the_longest_lifetime_that_it_vouches_for(
        self, store: RevocationStore
    ) -> None:
        """`max_token_lifetime_seconds` is a positive, finite number."""
        assert store.max_token_lifetime_seconds > 0
        assert math.isfinite(store.max_token_lifetime_seconds)

    @EACH_SCOPE
    async def test_the_receipt_fills_in_what_was_left_open(
        self, store: RevocationStore, clock: Clock, scope: RevocationScope
    ) -> None:
        """`issued_until` becomes now, `expires_at` the longest life from now; the rest stays."""
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
        """An issuer's clock may be ahead: `issued_until` by the largest leeway is kept as given."""
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
