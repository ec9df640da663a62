"""Key providers that are wrong about leases, rotation, outages or concurrency."""

from __future__ import annotations

import asyncio
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
        "test_answers_many_at_once",
        "test_another_key_of_the_same_id_is_another_key",
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

    def lease(self) -> KeyLease:
        return KeyLease(self.clock.time())


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
    breaks = ("test_an_outage_ends", "test_an_unknown_key_in_an_outage_stays_unknown")

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
    breaks = ("test_an_outage_ends",)

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
        "test_an_outage_ends",
        "test_an_unknown_key_in_an_outage_stays_unknown",
    )

    async def ask(self) -> None:
        if self.is_down:
            raise ConnectionRefusedError
        await super().ask()


class HangsInAnOutage(HonestProvider):
    breaks = (
        "test_a_failed_refresh_says_so",
        "test_an_outage_ends",
        "test_an_unknown_key_in_an_outage_stays_unknown",
    )

    async def ask(self) -> None:
        if self.is_down:
            await asyncio.Event().wait()
        await super().ask()


class SharesOneFetch(HonestProvider):
    """Whoever comes while a fetch is on waits for it, and is cancelled with whoever else waits."""

    breaks = ("test_a_cancelled_question_harms_no_other",)

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


class NeverFreesItsLock(HonestProvider):
    breaks = ("test_a_cancelled_question_harms_no_other",)

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
