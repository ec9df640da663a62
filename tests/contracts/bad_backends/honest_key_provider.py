"""A key provider that keeps every promise; each of its steps can be replaced by a bad one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from itertools import islice
from typing import Any, ClassVar

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import KeyLease, KeyProvider, VerificationKey
from authkit.jose.jwk import JWK, UnusableKey, parse_jwk_set
from authkit.testing.contracts import KeyProviderContract
from authkit.testing.contracts.backend import Outage
from authkit.testing.contracts.key_provider import Rotate


@cache
def _parsed(document: bytes) -> tuple[JWK, ...]:
    return parse_jwk_set(document)


class HonestProvider:
    """Fetches from a document in memory, which can be exchanged, and can go away."""

    breaks: tuple[str, ...] = ()
    """The tests that must fail, and no other."""

    breaks_more: bool = False
    """So much is wrong that other tests fail too."""

    declares: ClassVar[Mapping[str, object]] = {}
    """What its suite says beside what is true of all."""

    def __init__(self, published: Mapping[str, Any], clock: Clock) -> None:
        self.clock = clock
        self.published = published
        self.is_down = False
        self.leases: dict[JWK, KeyLease] = {}
        self.take(published)

    async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        found = self.known(kid, alg)
        if not found:
            await self.ask()
            found = self.known(kid, alg)
        return found

    async def refresh(self) -> None:
        await self.ask()

    # The steps

    async def ask(self) -> None:
        if self.is_down:
            raise BackendUnavailable("keys", code="key_unknown_unconfirmed")
        self.take(self.published)

    def take(self, published: Mapping[str, Any]) -> None:
        """Puts a document in the place of the old one."""
        old, self.leases = self.leases, {}
        for jwk in self.parsed(published):
            kept = self.kept(old, jwk)
            self.leases[jwk] = self.lease() if kept is None else kept
            self.prolong(self.leases[jwk])
        kept_leases = set(map(id, self.leases.values()))
        self.withdraw([lease for lease in old.values() if id(lease) not in kept_leases])

    def parsed(self, published: Mapping[str, Any]) -> Sequence[JWK]:
        return _parsed(json.dumps(published).encode())

    def kept(self, old: Mapping[JWK, KeyLease], jwk: JWK) -> KeyLease | None:
        return old.get(jwk)

    def lease(self) -> KeyLease:
        return KeyLease(self.clock.time() + 3600)

    def prolong(self, lease: KeyLease) -> None:
        lease.trusted_until = self.clock.time() + 3600

    def is_trusted(self, lease: KeyLease) -> bool:
        return lease.trusted_until > self.clock.time()

    def withdraw(self, leases: list[KeyLease]) -> None:
        for lease in leases:
            lease.withdrawn = True

    def known(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        return tuple(islice(self.usable(kid, alg), 4))

    def usable(self, kid: str | None, alg: str) -> Iterator[VerificationKey]:
        for jwk, lease in self.leases.items():
            if self.fits(jwk, kid, alg) and self.is_trusted(lease):
                with suppress(UnusableKey):
                    yield jwk.verification_key(lease)

    def fits(self, jwk: JWK, kid: str | None, alg: str) -> bool:
        return jwk.fits(kid, alg)

    # What the test does to it

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.set_down(True)
        try:
            yield
        finally:
            self.set_down(False)

    def set_down(self, is_down: bool) -> None:
        self.is_down = is_down


class Providers(KeyProviderContract):
    kind = HonestProvider
    can_rotate = True
    can_fail = True
    is_refreshable = True

    @pytest.fixture
    def provider(self, clock: Clock, published: Mapping[str, Any]) -> KeyProvider:
        return self.kind(published, clock)

    @pytest.fixture
    def outage(self, provider: HonestProvider) -> Outage:
        return provider.outage

    @pytest.fixture
    def rotate(self, provider: HonestProvider) -> Rotate:
        async def rotate(published: Mapping[str, Any]) -> None:
            provider.published = published
            await provider.refresh()

        return rotate
