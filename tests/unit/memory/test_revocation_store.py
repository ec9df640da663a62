"""The revocation store in memory: its horizon, jumps of the clock, its bounds, its speed to forget.

That it remembers as a RevocationStore must is checked by the contract suite.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import (
    Observable,
    Revocation,
    RevocationFeed,
    RevocationLifting,
    RevocationScope,
    StateChange,
    TokenFacts,
)
from authkit.principal import Principal
from authkit.testing import ManualClock
from authkit_memory import MemoryRevocationStore

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0
LIFETIME = 3600.0
ISSUER = "https://issuer.example"
TOKEN = TokenFacts(
    issuer=ISSUER,
    token_id="token-1",
    subject="alice",
    client_id="shop",
    session_id="session-1",
    issued_at=NOW - 10,
    expires_at=NOW + 290,
    token_version=3,
    key_thumbprint="thumbprint",
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def store(clock: ManualClock) -> MemoryRevocationStore:
    return MemoryRevocationStore(max_token_lifetime_seconds=LIFETIME, clock=clock)


def revocation(scope: RevocationScope = RevocationScope.TOKEN, **changes: Any) -> Revocation:
    ids = {
        RevocationScope.TOKEN: "token-1",
        RevocationScope.SESSION: "session-1",
        RevocationScope.SUBJECT: "alice",
        RevocationScope.CLIENT: "shop",
        RevocationScope.ISSUER: "",
        RevocationScope.VERSION: "alice",
        RevocationScope.KEY: "thumbprint",
    }
    if scope is RevocationScope.VERSION:
        changes.setdefault("minimum_version", 4)
    return Revocation(**({"scope": scope, "issuer": ISSUER, "id": ids[scope]} | changes))


def numbered(number: int, **changes: Any) -> Revocation:
    return revocation(id=f"token-{number}", **changes)


async def is_revoked(store: MemoryRevocationStore, **changes: Any) -> bool:
    return await store.find(replace(TOKEN, **changes)) is not None


class TestWhatIsFound:
    async def test_of_several_the_first_in_the_order_of_scopes(
        self, store: MemoryRevocationStore
    ) -> None:
        """With everything revoked, lifting one after the other shows the next."""
        for scope in reversed(RevocationScope):
            await store.revoke(revocation(scope))
        found = []
        while (one := await store.find(TOKEN)) is not None:
            found.append(one.scope)
            await store.lift(one)
        assert found == list(RevocationScope)

    async def test_scopes_with_the_same_id_stay_apart(self, store: MemoryRevocationStore) -> None:
        """A subject and a version floor of that subject are lifted one by one."""
        await store.revoke(revocation(RevocationScope.SUBJECT, issued_until=NOW - 100))
        await store.revoke(revocation(RevocationScope.VERSION))
        assert await is_revoked(store, issued_at=NOW - 200, token_version=9)
        await store.lift(revocation(RevocationScope.SUBJECT))
        assert not await is_revoked(store, issued_at=NOW - 200, token_version=9)
        assert await is_revoked(store)

    async def test_an_expired_one_hides_no_live_one(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """What is over is passed over, although it is not forgotten yet."""
        await store.revoke(revocation(expires_at=NOW + 10))
        await store.revoke(revocation(RevocationScope.KEY))
        clock.advance(200)
        found = await store.find(TOKEN)
        assert found is not None
        assert found.scope is RevocationScope.KEY

    async def test_never_suspends(self, store: MemoryRevocationStore) -> None:
        """An answer takes no turn of the event loop."""
        await store.revoke(revocation())
        call = store.find(TOKEN)
        with pytest.raises(StopIteration) as ended:
            call.send(None)
        assert ended.value.value.scope is RevocationScope.TOKEN

    async def test_keeps_the_reason_unless_another_is_given(
        self, store: MemoryRevocationStore
    ) -> None:
        """The last reason that was given stands in the receipt and in what is found."""
        await store.revoke(revocation(reason="lost"))
        assert (await store.revoke(revocation())).revocation.reason == "lost"
        receipt = await store.revoke(revocation(reason="stolen"))
        assert receipt.revocation.reason == "stolen"
        assert await store.find(TOKEN) == receipt.revocation

    async def test_a_revocation_that_was_over_starts_anew(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """Its values are not merged with those of one that holds no more, forgotten yet or not."""
        for number in range(20):  # the first to be cleaned up
            await store.revoke(numbered(number, expires_at=NOW + 10))
        await store.revoke(revocation(RevocationScope.VERSION, minimum_version=9, reason="old"))
        clock.advance(LIFETIME + 121)
        kept = (await store.revoke(revocation(RevocationScope.VERSION))).revocation
        assert (kept.minimum_version, kept.reason) == (4, "")
        assert not await is_revoked(store, token_version=5)


class TestHorizon:
    @pytest.mark.parametrize("ahead", [LIFETIME, LIFETIME + 60, LIFETIME + 120])
    async def test_takes_any_token_that_can_exist(
        self, store: MemoryRevocationStore, clock: ManualClock, ahead: float
    ) -> None:
        """A token issued by a clock that is ahead can be revoked, and stays so."""
        principal = Principal(
            subject="alice", issuer=ISSUER, token_id="token-1", expires_at=NOW + ahead
        )
        await store.revoke(Revocation.of(principal))
        clock.advance(ahead + 120)
        assert await is_revoked(store)
        clock.advance(0.001)
        assert not await is_revoked(store)

    async def test_refuses_what_no_token_lives_for(self, store: MemoryRevocationStore) -> None:
        """Further ahead it is a ConfigurationError, and nothing is kept."""
        with pytest.raises(ConfigurationError, match="expires_at"):
            await store.revoke(revocation(expires_at=NOW + LIFETIME + 121))
        with pytest.raises(ConfigurationError, match="expires_at"):
            await store.revoke(
                revocation(RevocationScope.SUBJECT, expires_at=NOW + 2 * LIFETIME + 121)
            )
        assert store.stats()["entries"] == 0

    async def test_a_moment_ahead_is_kept_for_as_long_as_it_must(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """Tokens may be taken back that are issued later today; the last of them lives on."""
        until = NOW + LIFETIME
        receipt = await store.revoke(revocation(RevocationScope.SUBJECT, issued_until=until))
        assert receipt.revocation.expires_at == until + LIFETIME
        clock.advance(2 * LIFETIME)
        assert await is_revoked(store, issued_at=until)
        assert not await is_revoked(store, issued_at=until + 1)

    async def test_refuses_a_moment_in_other_units(self, store: MemoryRevocationStore) -> None:
        """Milliseconds since the epoch are a mistake that says so."""
        with pytest.raises(ConfigurationError, match="seconds"):
            await store.revoke(revocation(RevocationScope.SUBJECT, issued_until=NOW * 1000))

    async def test_what_has_expired_already_does_no_harm(
        self, store: MemoryRevocationStore
    ) -> None:
        """It is accepted and takes no place."""
        receipt = await store.revoke(revocation(expires_at=NOW - 121))
        assert receipt.effective_at == NOW
        assert not await is_revoked(store)
        assert store.stats()["entries"] == 0

    @pytest.mark.parametrize("lifetime", [0, -1.0, math.inf, math.nan])
    def test_needs_a_lifetime(self, lifetime: float) -> None:
        """A lifetime that says nothing is a ConfigurationError that names the argument."""
        with pytest.raises(ConfigurationError, match="max_token_lifetime_seconds"):
            MemoryRevocationStore(max_token_lifetime_seconds=lifetime)

    def test_vouches_for_a_day_unless_told_otherwise(self) -> None:
        """The default is the lifetime that trusted issuers default to."""
        assert MemoryRevocationStore().max_token_lifetime_seconds == 86_400.0


class TestClocks:
    async def test_a_wall_clock_set_back_loses_nothing(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """The token lives longer by that clock, and so does its revocation."""
        await store.revoke(revocation(expires_at=NOW + 10))
        clock.advance(100)
        clock.set_time(NOW - 5000)
        clock.advance(5000)
        assert clock.time() == NOW
        assert await is_revoked(store)

    async def test_a_jump_ahead_that_is_corrected_loses_nothing(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """A year ahead for a moment, with all cleaning up done meanwhile, costs no revocation."""
        await store.revoke(revocation())
        clock.set_time(NOW + 365 * 86_400)
        for number in range(500):
            await store.revoke(numbered(1000 + number))
            await is_revoked(store)
        clock.set_time(NOW + 1)
        assert await is_revoked(store)

    async def test_what_is_revoked_during_a_jump_ahead_is_kept(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """Although its token has expired by that clock; corrected, the clock lets it live again."""
        clock.set_time(NOW + 86_400)
        await store.revoke(revocation(expires_at=NOW + 290))
        clock.set_time(NOW + 5)
        assert await is_revoked(store)

    async def test_a_jump_ahead_is_not_remembered_for_ever(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """A clock that was wrong when the program started costs memory for hours, not for ever."""
        clock.set_time(NOW + 10 * 365 * 86_400)  # as it should have been from the start
        for number in range(200):
            await store.revoke(numbered(number, expires_at=clock.time() + 100))
        assert store.stats()["entries"] == 200
        for _ in range(100):
            clock.advance(LIFETIME / 4)
            await store.revoke(revocation(RevocationScope.KEY))
        assert store.stats()["entries"] == 1


class TestBounds:
    async def test_a_full_store_is_unavailable_and_forgets_nothing(
        self, clock: ManualClock
    ) -> None:
        """It still takes what it has, what it has lifted, and what has expired already."""
        store = MemoryRevocationStore(max_entries=3, clock=clock)
        for number in (1, 2, 3):
            await store.revoke(numbered(number))
        with pytest.raises(BackendUnavailable) as raised:
            await store.revoke(numbered(4))
        assert raised.value.interface == "revocations"
        await store.revoke(numbered(3))
        await store.revoke(numbered(4, expires_at=NOW - 500))
        await store.lift(numbered(1))
        await store.revoke(numbered(4))
        with pytest.raises(BackendUnavailable):
            await store.revoke(numbered(1))
        found = [await is_revoked(store, token_id=f"token-{number}") for number in (1, 2, 3, 4)]
        assert found == [False, True, True, True]
        assert store.stats()["full_total"] == 2

    async def test_room_is_there_as_soon_as_one_is_over(self, clock: ManualClock) -> None:
        """One that was prolonged is not the one to go."""
        store = MemoryRevocationStore(max_entries=2, clock=clock)
        await store.revoke(numbered(1, expires_at=NOW + 10))
        await store.revoke(numbered(2, expires_at=NOW + 20))
        await store.revoke(numbered(1, expires_at=NOW + 3000))
        clock.advance(140)
        with pytest.raises(BackendUnavailable):
            await store.revoke(numbered(3))
        clock.advance(0.001)
        await store.revoke(numbered(3))
        found = [await is_revoked(store, token_id=f"token-{number}") for number in (1, 2, 3)]
        assert found == [True, False, True]

    async def test_room_is_found_behind_many_that_were_prolonged(self, clock: ManualClock) -> None:
        """However many records have to be moved on first, the one that is over makes room."""
        store = MemoryRevocationStore(max_entries=1000, clock=clock)
        for number in range(1000):
            await store.revoke(numbered(number, expires_at=NOW + 10))
        for number in range(999):
            await store.revoke(numbered(number, expires_at=NOW + 3000))
        clock.advance(131)
        await store.revoke(numbered(1000))
        assert (store.stats()["entries"], store.stats()["forgotten_total"]) == (1000, 1)

    async def test_revocations_clean_up(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """In a steady stream memory follows what is live."""
        for number in range(3000):
            await store.revoke(numbered(number, expires_at=clock.time() + 10))
            clock.advance(1)
        assert store.stats()["entries"] <= 135

    async def test_questions_clean_up(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """Without a further revocation the store is empty in the end, and holds nothing."""
        for number in range(300):
            await store.revoke(numbered(number))
        clock.advance(LIFETIME + 121)
        for _ in range(400):
            assert not await is_revoked(store)
        assert store.stats()["entries"] == 0
        assert (store._table.issuers, store._table._due) == ({}, [])

    async def test_no_call_cleans_up_everything(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """When all are over at once, the next call forgets a few."""
        for number in range(2000):
            await store.revoke(numbered(number))
        clock.advance(LIFETIME + 121)
        await store.revoke(numbered(5000))
        assert 1900 < store.stats()["entries"] < 2000

    async def test_revoking_and_lifting_for_ever_takes_no_memory(
        self, store: MemoryRevocationStore
    ) -> None:
        """What was lifted leaves nothing that piles up until it would have expired."""
        for _ in range(1000):
            await store.revoke(revocation())
            await store.lift(revocation())
        assert len(store._table._due) <= 65
        await store.revoke(revocation())
        assert await is_revoked(store)

    async def test_what_was_lifted_is_not_counted_when_it_would_have_expired(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """Its end takes nothing out a second time."""
        for number in range(10):
            await store.revoke(numbered(number, expires_at=NOW + 10))
        for number in range(5):
            await store.lift(numbered(number))
        clock.advance(131)
        await store.revoke(numbered(100))
        await store.revoke(numbered(101))
        await store.revoke(numbered(102))
        assert (store.stats()["entries"], store.stats()["forgotten_total"]) == (3, 5)

    @pytest.mark.parametrize("max_entries", [0, -1])
    def test_needs_room_for_one(self, max_entries: int) -> None:
        """A bound that allows nothing is a ConfigurationError that names the argument."""
        with pytest.raises(ConfigurationError, match="max_entries"):
            MemoryRevocationStore(max_entries=max_entries)

    async def test_tells_when_it_is_full_and_when_it_has_room_again(
        self, clock: ManualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once each, to listeners and to the log."""
        caplog.set_level(logging.INFO, logger="authkit")
        store = MemoryRevocationStore(max_entries=10, clock=clock)
        heard: list[StateChange] = []
        store.observe(heard.append)
        for number in range(10):
            await store.revoke(numbered(number))
        for _ in range(3):
            with pytest.raises(BackendUnavailable):
                await store.revoke(numbered(10))
        assert [change.new for change in heard] == ["full"]
        await store.lift(numbered(0))
        assert [(change.interface, change.new) for change in heard] == [
            ("revocations", "full"),
            ("revocations", "available"),
        ]
        assert len(caplog.records) == 2


class TestLifting:
    async def test_the_receipt_names_what_was_lifted(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """It is the revocation as it was kept, from now on without effect."""
        kept = (await store.revoke(revocation(reason="by mistake"))).revocation
        clock.advance(10)
        receipt = await store.lift(revocation())
        assert (receipt.revocation, receipt.effective_at) == (kept, NOW + 10)

    async def test_lifting_what_is_not_there_is_no_error(
        self, store: MemoryRevocationStore
    ) -> None:
        """The receipt fills in what the store would have, and nothing is counted."""
        receipt = await store.lift(revocation(RevocationScope.CLIENT))
        assert receipt.revocation.issued_until == NOW
        assert receipt.revocation.expires_at == NOW + LIFETIME
        assert store.stats()["lifted_total"] == 0


class TestAbilities:
    def test_are_found_by_their_methods(self, store: MemoryRevocationStore) -> None:
        """It lifts, it feeds, and it can be observed."""
        for ability in (RevocationLifting, RevocationFeed, Observable):
            assert isinstance(store, ability)

    async def test_says_how_it_fares(
        self, store: MemoryRevocationStore, clock: ManualClock
    ) -> None:
        """Entries, subscribers and what happened are counted."""
        subscription = store.subscribe()
        await store.revoke(revocation(expires_at=NOW + 1))
        await store.revoke(revocation(RevocationScope.KEY))
        await store.lift(revocation(RevocationScope.KEY))
        clock.advance(122)
        await store.revoke(revocation(RevocationScope.SESSION))
        assert store.stats() == {
            "entries": 1,
            "subscribers": 1,
            "revoked_total": 3,
            "lifted_total": 1,
            "forgotten_total": 1,
            "full_total": 0,
            "feed_overflow_total": 0,
            "listener_errors_total": 0,
        }
        await subscription.aclose()

    async def test_subscribers_hear_what_is_kept(self, store: MemoryRevocationStore) -> None:
        """They hear the merged revocation, repetitions too, and nothing of a lifting."""
        subscription = store.subscribe()
        first = (await store.revoke(revocation(expires_at=NOW + 500))).revocation
        await store.lift(revocation())
        await store.revoke(revocation(expires_at=NOW + 400))
        again = (await store.revoke(revocation(expires_at=NOW + 300))).revocation
        heard = [await anext(subscription) for _ in range(3)]
        assert heard == [first, again, again]
        assert again.expires_at == NOW + 400

    @pytest.mark.parametrize("what", ["full", "beyond"])
    async def test_subscribers_hear_nothing_of_what_is_not_kept(
        self, clock: ManualClock, what: str
    ) -> None:
        """A revocation that raised is no news."""
        store = MemoryRevocationStore(max_entries=1, clock=clock)
        await store.revoke(numbered(1))
        subscription = store.subscribe()
        refused: Callable[[], Awaitable[object]] = {
            "full": lambda: store.revoke(numbered(2)),
            "beyond": lambda: store.revoke(numbered(1, expires_at=NOW * 2)),
        }[what]
        with pytest.raises((BackendUnavailable, ConfigurationError)):
            await refused()
        await store.revoke(numbered(1, reason="next"))
        assert (await anext(subscription)).reason == "next"
