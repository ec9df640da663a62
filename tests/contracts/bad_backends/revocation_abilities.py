"""Revocation stores that lift, feed, fail, or live wrongly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import ClassVar

from authkit.errors import BackendUnavailable
from authkit.interfaces import (
    Revocation,
    RevocationReceipt,
    RevocationScope,
    StateChange,
    TokenFacts,
)
from tests.contracts.bad_backends.honest_revocation_store import HonestStore, Key


class CannotLiftTwice(HonestStore):
    breaks = ("test_lifting_twice_is_lifting_once",)

    async def lift(self, revocation: Revocation) -> RevocationReceipt:
        if self.key(revocation.scope, revocation.issuer, revocation.id) not in self.kept:
            raise BackendUnavailable("revocations")
        return await super().lift(revocation)


class LiftsOnlyWhatIsEqual(HonestStore):
    breaks = (
        "test_a_revocation_after_lifting_counts_as_the_first",
        "test_what_is_lifted_covers_nothing",
    )

    async def lift(self, revocation: Revocation) -> RevocationReceipt:
        if revocation.expires_at is None and any(it.reason for it in self.kept.values()):
            return RevocationReceipt(revocation=revocation, effective_at=self.clock.time())
        if revocation.scope is RevocationScope.SUBJECT and revocation.issued_until is None:
            return RevocationReceipt(revocation=revocation, effective_at=self.clock.time())
        return await super().lift(revocation)


class LiftsTheWholeIssuer(HonestStore):
    breaks = ("test_lifting_leaves_the_others",)

    async def lift(self, revocation: Revocation) -> RevocationReceipt:
        self.kept = {
            key: kept for key, kept in self.kept.items() if kept.issuer != revocation.issuer
        }
        return await super().lift(revocation)


class RegistersSubscribersLate(HonestStore):
    breaks = (
        "test_a_subscriber_hears_all_from_the_call_on",
        "test_a_subscriber_that_leaves_harms_nobody",
        "test_every_subscriber_hears_it",
    )

    async def subscribe(self) -> AsyncIterator[Revocation]:
        feed = super().subscribe()
        while True:
            yield await anext(feed)


class HasOneQueueForAll(HonestStore):
    breaks = ("test_every_subscriber_hears_it",)

    def subscribe(self) -> AsyncIterator[Revocation]:
        return self.feeds[0] if self.feeds else super().subscribe()


class ForgetsWhoWaits(HonestStore):
    breaks = ("test_a_waiting_subscriber_is_woken",)

    async def keep(self, key: Key, asked: Revocation) -> None:
        await super().keep(key, asked)
        self.feeds = [feed for feed in self.feeds if not feed.is_waiting]


class FailsOpen(HonestStore):
    breaks = ("test_an_outage_never_reads_as_not_revoked",)

    async def find(self, token: TokenFacts) -> Revocation | None:
        return None if self.is_down else await super().find(token)


class GivesEmptyReceipts(HonestStore):
    breaks = ("test_an_outage_gives_no_receipt",)

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        if self.is_down:
            return RevocationReceipt(revocation=revocation, effective_at=self.clock.time())
        return await super().revoke(revocation)


class HangsInAnOutage(HonestStore):
    breaks = ("test_an_outage_never_reads_as_not_revoked", "test_tells_of_an_outage")

    async def find(self, token: TokenFacts) -> Revocation | None:
        if self.is_down:
            await asyncio.Event().wait()
        return await super().find(token)


class LetsItsDriversErrorsOut(HonestStore):
    breaks = (
        "test_an_outage_gives_no_receipt",
        "test_an_outage_gives_no_receipt_for_lifting",
        "test_an_outage_never_reads_as_not_revoked",
        "test_tells_of_an_outage",
    )

    def answer(self) -> None:
        if self.is_down:
            raise ConnectionResetError
        super().answer()


class LosesAllInAnOutage(HonestStore):
    breaks = ("test_an_outage_loses_nothing",)

    def set_down(self, is_down: bool) -> None:
        self.kept.clear()
        super().set_down(is_down)


class ClosesAtTheFirstExit(HonestStore):
    breaks = ("test_stays_open_until_the_last_exit", "test_stays_open_when_one_of_two_owners_fails")

    async def __aexit__(self, *exit: object) -> None:
        await super().__aexit__(*exit)
        self.is_closed = True


class OpensOnce(HonestStore):
    breaks = ("test_can_be_entered_again",)

    async def __aenter__(self) -> HonestStore:
        was_closed = self.is_closed
        await super().__aenter__()
        self.is_closed = was_closed
        return self


class ForgetsToSayThatItLifts(HonestStore):
    """Its suite says `is_lifting = False`, so what the verifier would find goes untested."""

    breaks = ("test_declares_the_abilities_that_it_has",)
    declares: ClassVar[Mapping[str, object]] = {"is_lifting": False}


class TakesOneListenerOnly(HonestStore):
    breaks = ("test_takes_several_listeners", "test_tells_of_an_outage")

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        if self.listeners:
            raise BackendUnavailable("revocations", "somebody listens already")
        super().observe(listener)


class TellsOneListenerOnly(HonestStore):
    breaks = ("test_tells_of_an_outage",)

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        self.listeners[:] = self.listeners or [listener]


class NamesItsFiguresBadly(HonestStore):
    breaks = ("test_stats_are_figures_by_snake_case_name",)

    def stats(self) -> Mapping[str, float]:
        return {**super().stats(), "hitRatio": 0.5}


class CountsBackwards(HonestStore):
    breaks = ("test_cumulative_stats_never_go_back",)

    def stats(self) -> Mapping[str, float]:
        return {"calls_total": -self.calls}
