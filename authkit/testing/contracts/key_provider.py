"""The contract of a KeyProvider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Protocol

import pytest

from authkit.clock import Clock
from authkit.interfaces import KeyProvider, Refreshable
from authkit.jose.signing import SigningKey
from authkit.testing.contracts.backend import Advance, Outage, needs
from authkit.testing.contracts.concurrency import cancelled_among, together
from authkit.testing.contracts.key_provider_finding import KeyProviderFinding, verifies
from authkit.testing.contracts.published_keys import jwk_set

__all__ = ["KeyProviderContract"]

AT_ONCE = 50

Rotate = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Publishes another JWK Set, and lets the provider know of it."""


class _RefreshableProvider(KeyProvider, Refreshable, Protocol): ...


class KeyProviderContract(KeyProviderFinding):
    """What a KeyProvider promises.

    Subclass it and override the fixture `provider`, which gives a provider of the keys in
    `published`, a JWK Set as a dict:

        class TestMyProvider(KeyProviderContract):
            @pytest.fixture
            def provider(self, published, clock):
                return MyProvider(json.dumps(published), clock=clock)

    Attributes:
        can_rotate: the fixture `rotate` is overridden.
        is_refreshable: it is a Refreshable.

    `staleness_seconds` is here how long a provider may take a fetched set for current, before
    it asks again for an unknown key.  The attributes of `BackendContract` and its fixtures
    `clock`, `advance` and `outage` are there too.
    """

    can_rotate: bool = False
    is_refreshable: bool = False

    abilities: ClassVar[Mapping[str, type]] = {
        **KeyProviderFinding.abilities,
        "is_refreshable": Refreshable,
    }

    @pytest.fixture
    def rotate(self) -> Rotate:
        """Override it, and declare `can_rotate = True`, where keys can change."""
        raise NotImplementedError("can_rotate = True needs the fixture `rotate`")

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

    # Rotation

    @needs("can_rotate")
    async def test_a_new_key_is_found(self, provider: KeyProvider, rotate: Rotate) -> None:
        """After a rotation the new key is found, and verifies."""
        await self.use(provider)
        new = SigningKey.generate("ES256", kid="new")
        await rotate(jwk_set(new.public_jwk()))
        assert verifies([await self.find_one(provider, "new", "ES256")], new)

    @needs("can_rotate")
    async def test_a_key_that_is_gone_is_withdrawn(
        self, provider: KeyProvider, rotate: Rotate, signing_keys: Mapping[str, SigningKey]
    ) -> None:
        """It is not found any more, and whoever has found it sees it on the lease."""
        old = await self.find_one(provider, "ec", "ES256")
        await rotate(jwk_set(signing_keys["rsa"].public_jwk()))
        assert await self.find(provider, "ec", "ES256") == ()
        assert old.lease.withdrawn

    @needs("can_rotate")
    async def test_a_key_that_stays_keeps_its_lease(
        self,
        provider: KeyProvider,
        rotate: Rotate,
        signing_keys: Mapping[str, SigningKey],
        clock: Clock,
    ) -> None:
        """Tokens of a key that is still published go on as if nothing had happened."""
        before = await self.find_one(provider, "rsa", "RS256")
        await rotate(jwk_set(signing_keys["rsa"].public_jwk()))
        after = await self.find_one(provider, "rsa", "RS256")
        assert after.lease is before.lease
        assert not before.lease.withdrawn
        assert before.lease.trusted_until > clock.time()

    @needs("can_rotate")
    async def test_another_key_of_the_same_id_is_another_key(
        self, provider: KeyProvider, rotate: Rotate, signing_keys: Mapping[str, SigningKey]
    ) -> None:
        """An issuer that uses a key id again gets neither the old key nor its lease."""
        old = await self.find_one(provider, "ec", "ES256")
        new = SigningKey.generate("ES256", kid="ec")
        await rotate(jwk_set(new.public_jwk()))
        found = await self.find_one(provider, "ec", "ES256")
        assert old.lease.withdrawn
        assert not found.lease.withdrawn
        assert verifies([found], new)
        assert not verifies([found], signing_keys["ec"])

    # Refreshing and outages

    @needs("is_refreshable")
    async def test_refreshing_changes_nothing_by_itself(
        self, provider: _RefreshableProvider
    ) -> None:
        """Where the issuer publishes the same keys, they keep their leases, however many ask."""
        before = await self.find_one(provider, "ec", "ES256")
        await together(self.timeout_seconds, (provider.refresh() for _ in range(AT_ONCE)))
        after = await self.find_one(provider, "ec", "ES256")
        assert after.lease is before.lease
        assert not before.lease.withdrawn

    @needs("can_fail")
    async def test_known_keys_outlast_an_outage(
        self, provider: KeyProvider, outage: Outage, advance: Advance
    ) -> None:
        """What has been found before is found while the issuer cannot be reached."""
        before = await self.find_one(provider, "ec", "ES256")
        async with outage():
            await advance(self.staleness_seconds)
            assert (await self.find_one(provider, "ec", "ES256")).lease is before.lease
            assert not before.lease.withdrawn

    @needs("can_fail")
    async def test_an_unknown_key_in_an_outage_stays_unknown(
        self, provider: KeyProvider, outage: Outage, advance: Advance
    ) -> None:
        """Whether there is such a key cannot be confirmed: BackendUnavailable, and never `()`."""
        await self.use(provider)
        async with outage():
            await advance(self.staleness_seconds)
            error = await self.assert_unavailable(provider.find("unknown", "ES256"))
        assert error.code == "key_unknown_unconfirmed"

    @needs("can_fail", "is_refreshable")
    async def test_a_failed_refresh_says_so(
        self, provider: _RefreshableProvider, outage: Outage, advance: Advance
    ) -> None:
        """`refresh` raises where it could not fetch, and the known keys stay."""
        await self.use(provider)
        async with outage():
            await advance(self.staleness_seconds)
            await self.assert_unavailable(provider.refresh())
            await self.use(provider)

    @needs("can_fail")
    async def test_an_outage_ends(
        self, provider: KeyProvider, outage: Outage, advance: Advance
    ) -> None:
        """After the outage an unknown key is known to be none again."""
        await self.use(provider)
        async with outage():
            await advance(self.staleness_seconds)
            await self.assert_unavailable(provider.find("unknown", "ES256"))
        await advance(self.staleness_seconds)
        assert await self.find(provider, "unknown", "ES256") == ()
        await self.use(provider)
