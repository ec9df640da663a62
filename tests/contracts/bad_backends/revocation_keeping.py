"""Revocation stores that do not keep what they were given."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import Revocation, RevocationReceipt, TokenFacts
from tests.contracts.bad_backends.honest_revocation_store import HonestStore, Key


class LetsTheLastOneWin(HonestStore):
    breaks = (
        "test_a_shorter_repetition_shortens_nothing",
        "test_the_higher_version_holds",
        "test_the_later_expiry_holds",
        "test_the_later_moment_holds",
        "test_the_latest_of_many_at_once_holds",
    )

    def merged(self, old: Revocation, new: Revocation) -> Revocation:
        return new


class ComparesVersionsAsText(HonestStore):
    breaks = ("test_the_higher_version_holds",)

    def merged(self, old: Revocation, new: Revocation) -> Revocation:
        merged = super().merged(old, new)
        if new.minimum_version is None:
            return merged
        versions = (str(old.minimum_version), str(new.minimum_version))
        return replace(merged, minimum_version=int(max(versions)))


class SaysTheVersionThatWasAsked(HonestStore):
    breaks = ("test_the_higher_version_holds",)

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        receipt = await super().revoke(revocation)
        version = revocation.minimum_version
        return replace(receipt, revocation=replace(receipt.revocation, minimum_version=version))


class DropsTheReason(HonestStore):
    breaks = ("test_the_receipt_fills_in_what_was_left_open",)

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        return await super().revoke(replace(revocation, reason=""))


class CountsInWholeSeconds(HonestStore):
    breaks = ("test_the_receipt_fills_in_what_was_left_open",)
    breaks_more = True

    def filled_in(self, asked: Revocation, now: float) -> Revocation:
        filled = super().filled_in(asked, now)
        until = filled.issued_until
        return filled if until is None else replace(filled, issued_until=float(int(until)))


class KnowsNoFuture(HonestStore):
    breaks = ("test_a_moment_ahead_is_kept",)

    def filled_in(self, asked: Revocation, now: float) -> Revocation:
        filled = super().filled_in(asked, now)
        until = filled.issued_until
        return filled if until is None else replace(filled, issued_until=min(until, now))


class NeverForgets(HonestStore):
    breaks = ("test_is_forgotten_at_last",)

    async def find(self, token: TokenFacts) -> Revocation | None:
        for scope, id in self.ids(token):
            kept = self.kept.get(self.key(scope, token.issuer, id))
            if kept is not None and self.covers(kept, token):
                self.answer()
                return kept
        return await super().find(token)


class MakesRoomAtExpiry(HonestStore):
    breaks = ("test_making_room_forgets_nothing_before_its_time",)

    def make_room(self) -> None:
        if len(self.kept) >= self.max_entries:
            now = self.clock.time()
            self.kept = {
                key: kept for key, kept in self.kept.items() if now <= (kept.expires_at or 0)
            }
        super().make_room()


class ForgetsAtExpiry(HonestStore):
    breaks = (
        "test_is_answered_until_its_expiry",
        "test_is_answered_until_the_largest_leeway_has_passed_twice",
        "test_making_room_forgets_nothing_before_its_time",
    )

    def is_live(self, kept: Revocation) -> bool:
        return self.clock.time() <= (kept.expires_at or 0)


class ForgetsBeforeItsTokens(HonestStore):
    breaks = ("test_outlives_every_token_that_it_covers",)

    def filled_in(self, asked: Revocation, now: float) -> Revocation:
        filled = super().filled_in(asked, now)
        return filled if asked.expires_at is None else replace(filled, expires_at=asked.expires_at)


class LeavesTheReceiptOpen(HonestStore):
    breaks = ("test_the_receipt_fills_in_what_was_left_open",)

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        receipt = await super().revoke(revocation)
        if revocation.expires_at is not None:
            return receipt
        return replace(receipt, revocation=replace(receipt.revocation, expires_at=None))


class PromisesMoreThanItKnows(HonestStore):
    breaks = ("test_the_receipt_says_from_when_it_holds",)

    def effective_at(self, now: float) -> float:
        return now - 1


class PromisesWhatItCannotKeep(HonestStore):
    breaks = ("test_refuses_what_lies_beyond_its_horizon",)

    def filled_in(self, asked: Revocation, now: float) -> Revocation:
        horizon = now + self.max_token_lifetime_seconds
        expires_at = None if asked.expires_at is None else min(asked.expires_at, horizon)
        return super().filled_in(replace(asked, expires_at=expires_at), now)


class VouchesForEver(HonestStore):
    breaks = (
        "test_names_the_longest_lifetime_that_it_vouches_for",
        "test_the_later_expiry_holds",
    )

    @property
    def max_token_lifetime_seconds(self) -> float:  # type: ignore[override]  # it is a lie
        return 86_400.0 if self.calls else float("inf")


class LosesSomeAtOnce(HonestStore):
    breaks = (
        "test_a_cancelled_revocation_harms_no_other",
        "test_loses_none_of_many_at_once",
        "test_the_latest_of_many_at_once_holds",
    )
    breaks_more = True

    async def keep(self, key: Key, asked: Revocation) -> None:
        old = self.kept.get(key)
        if old is None:
            self.make_room()
        kept = dict(self.kept)
        await asyncio.sleep(0)
        kept[key] = asked if old is None else self.merged(old, asked)
        self.kept = kept


class ReadsBeforeItWaits(HonestStore):
    breaks = ("test_the_latest_of_many_at_once_holds",)

    async def keep(self, key: Key, asked: Revocation) -> None:
        old = self.kept.get(key)
        if old is None:
            self.make_room()
        await asyncio.sleep(0)
        self.kept[key] = asked if old is None else self.merged(old, asked)


class NeverFreesItsLock(HonestStore):
    breaks = ("test_a_cancelled_question_harms_no_other",)

    def __init__(self, clock: Clock, max_entries: int) -> None:
        super().__init__(clock, max_entries)
        self.lock = asyncio.Lock()

    async def find(self, token: TokenFacts) -> Revocation | None:
        await self.lock.acquire()
        await asyncio.sleep(0)  # where a cancellation leaves the lock behind
        try:
            return await super().find(token)
        finally:
            self.lock.release()


class SharesOneWrite(HonestStore):
    """Whoever comes while a write is under way waits for it, and is cancelled with it."""

    breaks = ("test_a_cancelled_revocation_harms_no_other",)

    def __init__(self, clock: Clock, max_entries: int) -> None:
        super().__init__(clock, max_entries)
        self.waiting: list[tuple[Key, Revocation]] = []
        self.write: asyncio.Task[None] | None = None

    async def keep(self, key: Key, asked: Revocation) -> None:
        self.waiting.append((key, asked))
        if self.write is None:
            self.write = asyncio.create_task(self.write_waiting())
        await self.write

    async def write_waiting(self) -> None:
        await asyncio.sleep(0)
        waiting, self.waiting, self.write = self.waiting, [], None
        for key, asked in waiting:
            await super().keep(key, asked)


class AnswersACancellation(HonestStore):
    breaks = ("test_a_cancelled_question_harms_no_other",)

    async def find(self, token: TokenFacts) -> Revocation | None:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise BackendUnavailable("revocations") from None
        return await super().find(token)


class EvictsTheOldest(HonestStore):
    breaks = (
        "test_a_full_store_evicts_nothing_live",
        "test_a_full_store_is_unavailable",
        "test_making_room_forgets_nothing_before_its_time",
    )

    def make_room(self) -> None:
        if len(self.kept) >= self.max_entries:
            del self.kept[next(iter(self.kept))]


class NeverMakesRoom(HonestStore):
    breaks = ("test_expired_revocations_make_room",)

    def make_room(self) -> None:
        if len(self.kept) >= self.max_entries:
            raise BackendUnavailable("revocations", "full")


class NeedsRoomForWhatItHas(HonestStore):
    breaks = ("test_a_full_store_still_takes_what_it_has",)

    async def keep(self, key: Key, asked: Revocation) -> None:
        self.make_room()
        await super().keep(key, asked)


class KeepsWhatItRefused(HonestStore):
    breaks = ("test_a_full_store_is_unavailable",)

    async def keep(self, key: Key, asked: Revocation) -> None:
        try:
            await super().keep(key, asked)
        except BackendUnavailable:
            self.kept[key] = asked
            raise


class RefusesToRevokeTwice(HonestStore):
    breaks = ("test_revoking_twice_is_revoking_once",)
    breaks_more = True

    def merged(self, old: Revocation, new: Revocation) -> Revocation:
        raise BackendUnavailable("revocations", "it is there already")
