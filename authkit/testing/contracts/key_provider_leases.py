"""The promises of a KeyProvider about the leases of its keys, and about many calls at once."""

from __future__ import annotations

import math
from functools import partial
from typing import Protocol

import pytest

from authkit.clock import Clock
from authkit.interfaces import KeyProvider, Refreshable
from authkit.testing.contracts.backend import Advance, Outage, needs
from authkit.testing.contracts.concurrency import (
    EACH_MOMENT,
    Moment,
    cancelled_among,
    cancelled_with,
    together,
)
from authkit.testing.contracts.key_provider_finding import KeyProviderFinding

__all__ = ["AT_ONCE", "KeyProviderLeases", "RefreshableProvider"]

AT_ONCE = 50


class RefreshableProvider(KeyProvider, Refreshable, Protocol):
    """A provider with both abilities."""


class KeyProviderLeases(KeyProviderFinding):
    """The part of the suite that asks how long a key may be used, and by how many at once."""

    # Leases

    async def test_a_found_key_may_be_used_now(self, provider: KeyProvider, clock: Clock) -> None:
        """Its lease has not run out, and is not withdrawn."""
        found = await self.find_one(provider, "ec", "ES256")
        assert found.lease.trusted_until > clock.time()
        assert not found.lease.withdrawn

    async def test_every_find_shares_the_lease(self, provider: KeyProvider) -> None:
        """The lease of a key is one object, so that who has found it hears of its end."""
        first = await self.find_one(provider, "ec", "ES256")
        second = await self.find_one(provider, "ec", "ES256")
        (rsa,) = await self.find(provider, "rsa", "RS256")
        assert first.lease is second.lease
        assert first.thumbprint == second.thumbprint != rsa.thumbprint

    @needs("can_fail")
    async def test_a_lease_has_an_end(self, provider: KeyProvider) -> None:
        """What an issuer may withdraw unheard is not trusted for ever."""
        found = await self.find_one(provider, "ec", "ES256")
        assert math.isfinite(found.lease.trusted_until)

    @needs("is_refreshable", "can_skip_time")
    async def test_a_refresh_moves_the_lease_forward(
        self, provider: RefreshableProvider, advance: Advance
    ) -> None:
        """Whoever holds a key may go on with it for as long as refreshing succeeds."""
        lease = (await self.find_one(provider, "ec", "ES256")).lease
        before = lease.trusted_until
        await advance(self.staleness_seconds + 60)
        await self.in_time(provider.refresh())
        assert lease.trusted_until > before or lease.trusted_until == math.inf

    @needs("can_fail", "can_skip_time")
    async def test_an_expired_key_is_not_found(
        self, provider: KeyProvider, clock: Clock, outage: Outage, advance: Advance
    ) -> None:
        """An outage prolongs no lease; after its end BackendUnavailable, until the outage ends."""
        lease = (await self.find_one(provider, "ec", "ES256")).lease
        assert math.isfinite(lease.trusted_until)
        async with outage():
            await advance(lease.trusted_until - clock.time() + 1)
            await self.assert_unavailable(provider.find("ec", "ES256"))
            assert lease.trusted_until <= clock.time()
        found = await self.assert_recovers(provider, advance)
        assert found.lease.trusted_until > clock.time()

    # Concurrency

    async def test_answers_many_at_once(self, provider: KeyProvider) -> None:
        """Fifty questions at the same time get the answers that one would get."""
        asked = [("ec", "ES256"), ("rsa", "RS256"), ("twins", "ES384"), ("unknown", "ES256")]
        found = await together(
            self.timeout_seconds, (provider.find(*asked[n % 4]) for n in range(AT_ONCE))
        )
        assert [len(keys) for keys in found] == [(1, 1, 2, 0)[n % 4] for n in range(AT_ONCE)]
        assert len({id(keys[0].lease) for keys in found[::4]}) == 1

    @pytest.mark.parametrize("kid", ["ec", "unknown"])
    async def test_a_cancelled_question_harms_no_other(
        self, provider: KeyProvider, kid: str
    ) -> None:
        """Cancelled at any await, `find` leaves the answers of others right and in time."""
        found = await cancelled_among(
            self.timeout_seconds,
            lambda: self.find(provider, kid, "ES256"),
            lambda: self.find(provider, "rsa", "RS256"),
        )
        assert [[key.kid for key in keys] for keys in found] == [["rsa"]] * len(found)

    @EACH_MOMENT
    @pytest.mark.parametrize("is_first", [True, False], ids=["first", "between"])
    async def test_a_shared_look_outlives_whoever_leaves(
        self, provider: KeyProvider, advance: Advance, moment: Moment, is_first: bool
    ) -> None:
        """Of calls that wait for the same fetch one is cancelled; the others get their answer."""
        for kid in ("unknown", "unknown too"):  # the first fetch of all, and a later one
            found = await cancelled_with(
                self.timeout_seconds,
                partial(self.find, provider, kid, "ES256"),
                partial(self.find, provider, kid, "ES256"),
                moment,
                is_first=is_first,
            )
            assert found == [(), ()]
            await advance(self.staleness_seconds)
        await self.use(provider)
