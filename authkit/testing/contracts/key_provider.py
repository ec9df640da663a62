"""The contract of a KeyProvider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import KeyProvider, Refreshable
from authkit.jose.signing import SigningKey
from authkit.testing.contracts.backend import Advance, Outage, needs
from authkit.testing.contracts.concurrency import together
from authkit.testing.contracts.key_provider_finding import verifies
from authkit.testing.contracts.key_provider_leases import (
    AT_ONCE,
    KeyProviderLeases,
    RefreshableProvider,
)
from authkit.testing.contracts.published_keys import jwk_set

__all__ = ["KeyProviderContract"]

Rotate = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Publishes another JWK Set, and makes the provider notice: by a `refresh`, or by its own poll."""


class KeyProviderContract(KeyProviderLeases):
    """What a KeyProvider promises.

    Subclass it and override the fixture `provider`, which gives a provider of the keys in
    `published`, a JWK Set as a dict:

        class TestMyProvider(KeyProviderContract):
            @pytest.fixture
            def provider(self, published, clock):
                return MyProvider(json.dumps(published), clock=clock)

    The provider of the fixture has asked nothing yet, where it can be made without asking, so
    that the suite sees how it begins.

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
        **KeyProviderLeases.abilities,
        "is_refreshable": Refreshable,
    }

    @pytest.fixture
    def rotate(self) -> Rotate:
        """Override it, and declare `can_rotate = True`, where keys can change."""
        raise NotImplementedError("can_rotate = True needs the fixture `rotate`")

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
        self, provider: RefreshableProvider
    ) -> None:
        """Where the issuer publishes the same keys, they keep their leases, however many ask."""
        before = await self.find_one(provider, "ec", "ES256")
        await together(self.timeout_seconds, (provider.refresh() for _ in range(AT_ONCE)))
        after = await self.find_one(provider, "ec", "ES256")
        assert after.lease is before.lease
        assert not before.lease.withdrawn

    @needs("can_fail")
    async def test_an_outage_from_the_start_is_no_answer(
        self, provider: KeyProvider, outage: Outage, advance: Advance
    ) -> None:
        """A provider that never had keys knows of none: BackendUnavailable, and never `()`."""
        async with outage():
            await advance(self.staleness_seconds)
            await self.assert_unavailable(provider.find("unknown", "ES256"))
            with suppress(BackendUnavailable):  # it may have keys, if it was made with them
                assert await self.find(provider, "ec", "ES256")
        await self.assert_recovers(provider, advance)

    @needs("can_fail", "is_context_manager")
    async def test_can_be_entered_in_an_outage(
        self, provider: Any, outage: Outage, advance: Advance
    ) -> None:
        """Entering neither waits for an issuer that cannot be reached nor fails because of it."""
        async with outage():
            await self.in_time(provider.__aenter__())
        try:
            await self.assert_recovers(provider, advance)
        finally:
            await self.in_time(provider.__aexit__(None, None, None))

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
        self, provider: RefreshableProvider, outage: Outage, advance: Advance
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
