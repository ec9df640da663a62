"""Key providers that are wrong about leases, rotation or outages."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, ClassVar

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import KeyLease, VerificationKey
from authkit.jose.jwk import JWK, UnusableKey
from tests.contracts.bad_backends.honest_key_provider import HonestProvider


class MakesALeaseForEach(HonestProvider):
    breaks = (
        "test_a_key_that_is_gone_is_withdrawn",
        "test_a_key_that_stays_keeps_its_lease",
        "test_a_refresh_moves_the_lease_forward",
        "test_an_expired_key_is_not_found",
        "test_another_key_of_the_same_id_is_another_key",
        "test_answers_many_at_once",
        "test_every_find_shares_the_lease",
        "test_known_keys_outlast_an_outage",
        "test_refreshing_changes_nothing_by_itself",
    )

    def usable(self, kid: str | None, alg: str) -> Iterator[VerificationKey]:
        for jwk in self.leases:
            if self.fits(jwk, kid, alg):
                with suppress(UnusableKey):
                    yield jwk.verification_key(self.lease())


class StartsWithoutTrust(HonestProvider):
    breaks = ("test_a_found_key_may_be_used_now", "test_a_key_that_stays_keeps_its_lease")
    breaks_more = True

    def prolong(self, lease: KeyLease) -> None:
        lease.trusted_until = self.clock.time()

    def is_trusted(self, lease: KeyLease) -> bool:
        return True


class NeverProlongs(HonestProvider):
    breaks = ("test_a_refresh_moves_the_lease_forward", "test_an_expired_key_is_not_found")

    def prolong(self, lease: KeyLease) -> None:
        """Leaves the end of the lease where it was at first."""


class TrustsForEver(HonestProvider):
    breaks = ("test_a_lease_has_an_end", "test_an_expired_key_is_not_found")

    def prolong(self, lease: KeyLease) -> None:
        lease.trusted_until = math.inf


class FindsExpiredKeys(HonestProvider):
    breaks = ("test_an_expired_key_is_not_found",)

    def is_trusted(self, lease: KeyLease) -> bool:
        return True


class ProlongsInAnOutage(HonestProvider):
    breaks = ("test_an_expired_key_is_not_found",)

    async def ask(self) -> None:
        if self.is_down:
            for lease in self.leases.values():
                self.prolong(lease)
        await super().ask()


class BeginsWithAnAnswer(HonestProvider):
    """Until its first fetch it says that there is no key."""

    breaks = ("test_an_outage_from_the_start_is_no_answer",)

    def __init__(self, published: Mapping[str, Any], clock: Clock) -> None:
        super().__init__(published, clock)
        self.leases.clear()
        self.has_fetched = False

    async def ask(self) -> None:
        if self.is_down and not self.has_fetched:
            return
        await super().ask()
        self.has_fetched = True


class EntersWithKeysOnly(HonestProvider):
    breaks = ("test_can_be_entered_in_an_outage",)
    declares: ClassVar[Mapping[str, object]] = {"is_context_manager": True}

    async def __aenter__(self) -> EntersWithKeysOnly:
        await self.ask()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing."""


class NeverWithdraws(HonestProvider):
    breaks = (
        "test_a_key_that_is_gone_is_withdrawn",
        "test_another_key_of_the_same_id_is_another_key",
    )

    def withdraw(self, leases: list[KeyLease]) -> None:
        """Leaves the cached tokens of a key that is gone in force."""


class WithdrawsAll(HonestProvider):
    breaks = (
        "test_a_key_that_stays_keeps_its_lease",
        "test_a_refresh_moves_the_lease_forward",
        "test_answers_many_at_once",
        "test_refreshing_changes_nothing_by_itself",
    )

    def kept(self, old: Mapping[JWK, KeyLease], jwk: JWK) -> KeyLease | None:
        return None


class KnowsKeysByTheirId(HonestProvider):
    breaks = ("test_another_key_of_the_same_id_is_another_key",)

    def kept(self, old: Mapping[JWK, KeyLease], jwk: JWK) -> KeyLease | None:
        if jwk.kid in (None, "twins", "namesakes"):
            return super().kept(old, jwk)
        return next((lease for known, lease in old.items() if known.kid == jwk.kid), None)


class AddsOnly(HonestProvider):
    breaks = (
        "test_a_key_that_is_gone_is_withdrawn",
        "test_another_key_of_the_same_id_is_another_key",
    )

    def take(self, published: Mapping[str, Any]) -> None:
        old = self.leases
        super().take(published)
        self.leases = old | self.leases


class NeverLooksAgain(HonestProvider):
    breaks = ("test_a_new_key_is_found",)
    breaks_more = True

    async def ask(self) -> None:
        """Trusts what it read at the start."""


class TakesAnOutageForAnAnswer(HonestProvider):
    breaks = (
        "test_an_expired_key_is_not_found",
        "test_an_outage_ends",
        "test_an_outage_from_the_start_is_no_answer",
        "test_an_unknown_key_in_an_outage_stays_unknown",
    )

    async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        try:
            return await super().find(kid, alg)
        except BackendUnavailable:
            return ()


class ForgetsToSayThatItRefreshes(HonestProvider):
    """Its suite says `is_refreshable = False`, so what the verifier would find goes untested."""

    breaks = ("test_declares_the_abilities_that_it_has",)
    declares: ClassVar[Mapping[str, object]] = {"is_refreshable": False}


class SaysNothingOfAFailedRefresh(HonestProvider):
    breaks = ("test_a_failed_refresh_says_so",)

    async def refresh(self) -> None:
        try:
            await super().refresh()
        except BackendUnavailable:
            return


class ForgetsInAnOutage(HonestProvider):
    breaks = ("test_known_keys_outlast_an_outage",)
    breaks_more = True

    def set_down(self, is_down: bool) -> None:
        super().set_down(is_down)
        self.take({"keys": []})


class StaysDown(HonestProvider):
    breaks = (
        "test_an_expired_key_is_not_found",
        "test_an_outage_ends",
    )

    def set_down(self, is_down: bool) -> None:
        self.is_down = True


class KnowsOneOutageOnly(HonestProvider):
    """It does not tell that it has keys, and lacks only this one."""

    breaks = ("test_an_unknown_key_in_an_outage_stays_unknown",)

    async def ask(self) -> None:
        if self.is_down:
            raise BackendUnavailable("keys")
        await super().ask()


class LetsItsDriversErrorsOut(HonestProvider):
    breaks = (
        "test_a_failed_refresh_says_so",
        "test_an_expired_key_is_not_found",
        "test_an_outage_ends",
        "test_an_outage_from_the_start_is_no_answer",
        "test_an_unknown_key_in_an_outage_stays_unknown",
    )

    async def ask(self) -> None:
        if self.is_down:
            raise ConnectionRefusedError
        await super().ask()


class HangsInAnOutage(HonestProvider):
    breaks = (
        "test_a_failed_refresh_says_so",
        "test_an_expired_key_is_not_found",
        "test_an_outage_ends",
        "test_an_outage_from_the_start_is_no_answer",
        "test_an_unknown_key_in_an_outage_stays_unknown",
    )

    async def ask(self) -> None:
        if self.is_down:
            await asyncio.Event().wait()
        await super().ask()
