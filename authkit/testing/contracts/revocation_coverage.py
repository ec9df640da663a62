"""The promises of a RevocationStore about which tokens a revocation covers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

import pytest

from authkit.clock import Clock
from authkit.interfaces import (
    Revocation,
    RevocationFeed,
    RevocationLifting,
    RevocationReceipt,
    RevocationScope,
    RevocationStore,
    TokenFacts,
)
from authkit.testing.contracts.backend import Advance, BackendContract, wait_until
from authkit.testing.contracts.concurrency import together
from authkit.testing.contracts.difficult_text import EACH_DIFFICULT_TEXT, EACH_LOOK_ALIKE
from authkit.testing.contracts.revocation_examples import (
    EACH_ID_SCOPE,
    EACH_OPTIONAL_SCOPE,
    EACH_SCOPE,
    EACH_UNTIL_SCOPE,
    FIELD,
    ISSUER,
    OTHER_ISSUER,
    revocation,
    token,
    token_with,
)

__all__ = ["RevocationCoverage", "Revoke", "RevokeAll"]

Revoke = Callable[[Revocation], Awaitable[RevocationReceipt]]
"""Revokes in the store under test, and waits until it is in effect."""

RevokeAll = Callable[[Iterable[Revocation]], Awaitable[None]]
"""Revokes all at the same time, and waits until all are in effect."""


class RevocationCoverage(BackendContract):
    """The part of the suite that asks which tokens are covered."""

    interface = "revocations"
    is_lifting: bool = False
    is_feeding: bool = False

    abilities: ClassVar[Mapping[str, type]] = {
        **BackendContract.abilities,
        "is_lifting": RevocationLifting,
        "is_feeding": RevocationFeed,
    }

    @pytest.fixture
    def store(self) -> RevocationStore:
        """The store under test, empty for each test; to be overridden."""
        raise NotImplementedError("override the fixture `store`")

    @pytest.fixture
    def backend(self, store: RevocationStore) -> RevocationStore:
        return store

    @pytest.fixture
    def revoke(self, store: RevocationStore, clock: Clock, advance: Advance) -> Revoke:
        async def revoke(what: Revocation) -> RevocationReceipt:
            receipt = await self.in_time(store.revoke(what))
            await wait_until(receipt.effective_at, clock, advance)
            return receipt

        return revoke

    @pytest.fixture
    def revoke_all(self, store: RevocationStore, clock: Clock, advance: Advance) -> RevokeAll:
        async def revoke_all(several: Iterable[Revocation]) -> None:
            receipts = await together(self.timeout_seconds, map(store.revoke, several))
            latest = max(receipt.effective_at for receipt in receipts)
            await wait_until(latest, clock, advance)

        return revoke_all

    async def use(self, backend: RevocationStore) -> None:
        assert await backend.find(token(0, issuer="https://unused.example")) is None

    async def assert_covered(self, store: RevocationStore, facts: TokenFacts) -> Revocation:
        found = await self.in_time(store.find(facts))
        assert found is not None, f"not covered: {facts}"
        return found

    async def assert_not_covered(self, store: RevocationStore, facts: TokenFacts) -> None:
        found = await self.in_time(store.find(facts))
        assert found is None, f"covered, although it should not be: {facts}"

    async def test_an_empty_store_covers_nothing(
        self, store: RevocationStore, clock: Clock
    ) -> None:
        """Before anything is revoked, no token is covered."""
        await self.assert_not_covered(store, token(clock.time()))

    @EACH_SCOPE
    async def test_covers_the_token_that_it_names(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, scope: RevocationScope
    ) -> None:
        """From `effective_at` on, a revocation of each scope covers the token that fits it."""
        facts = token(clock.time())
        await revoke(revocation(scope))
        found = await self.assert_covered(store, facts)
        assert (found.scope, found.issuer) == (scope, ISSUER)

    @EACH_SCOPE
    async def test_leaves_another_issuers_tokens_alone(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, scope: RevocationScope
    ) -> None:
        """The same ids of another issuer are not covered, even if only a slash differs."""
        facts = token(clock.time(), issuer=OTHER_ISSUER)
        await revoke(revocation(scope))
        await self.assert_not_covered(store, facts)

    @EACH_ID_SCOPE
    async def test_leaves_other_ids_alone(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, scope: RevocationScope
    ) -> None:
        """A token with any other id is not covered."""
        facts = token_with(clock.time(), scope, "another")
        await revoke(revocation(scope))
        await self.assert_not_covered(store, facts)

    @EACH_OPTIONAL_SCOPE
    async def test_leaves_tokens_without_the_id_alone(
        self, store: RevocationStore, revoke_all: RevokeAll, clock: Clock, scope: RevocationScope
    ) -> None:
        """A token that lacks the id is not covered, not even by the id `None`."""
        facts = token_with(clock.time(), scope, None)
        await revoke_all([revocation(scope), revocation(scope, "None")])
        await self.assert_not_covered(store, facts)

    @EACH_ID_SCOPE
    async def test_keeps_the_scopes_apart(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, scope: RevocationScope
    ) -> None:
        """The same text as an id of any other kind does not cover the token."""
        others = {name: "same" for name in FIELD.values() if name != FIELD[scope]}
        facts = token(clock.time(), **others)
        await revoke(revocation(scope, "same"))
        await self.assert_not_covered(store, facts)

    @EACH_DIFFICULT_TEXT
    async def test_takes_any_text_for_an_id(
        self, store: RevocationStore, revoke_all: RevokeAll, clock: Clock, text: str
    ) -> None:
        """Ids of every kind may hold any characters and be long."""
        facts = {
            scope: token_with(clock.time(), scope, text, issuer=f"https://{scope}.example")
            for scope in FIELD
        }
        for one in facts.values():
            await self.assert_not_covered(store, one)
        await revoke_all(revocation(scope, text, issuer=it.issuer) for scope, it in facts.items())
        for one in facts.values():
            await self.assert_covered(store, one)

    @EACH_LOOK_ALIKE
    async def test_compares_ids_exactly(
        self, store: RevocationStore, revoke_all: RevokeAll, clock: Clock, one: str, other: str
    ) -> None:
        """Ids that are not equal are not alike, whichever of the two is revoked."""
        spared, asked = [], []
        for scope in FIELD:
            for revoked_id, spared_id in ((one, other), (other, one)):
                issuer = f"https://{scope}-{revoked_id == one}.example"
                spared.append(token_with(clock.time(), scope, spared_id, issuer=issuer))
                asked.append(revocation(scope, revoked_id, issuer=issuer))
        await revoke_all(asked)
        for facts in spared:
            await self.assert_not_covered(store, facts)

    @EACH_LOOK_ALIKE
    async def test_compares_issuers_exactly(
        self, store: RevocationStore, revoke_all: RevokeAll, clock: Clock, one: str, other: str
    ) -> None:
        """Issuers that are not equal are not alike."""
        facts = token(clock.time(), issuer=other)
        await revoke_all(revocation(scope, issuer=one) for scope in RevocationScope)
        await self.assert_not_covered(store, facts)

    @EACH_ID_SCOPE
    async def test_never_confuses_where_the_issuer_ends(
        self, store: RevocationStore, revoke_all: RevokeAll, clock: Clock, scope: RevocationScope
    ) -> None:
        """What is cut at another place between issuer and id is another revocation."""
        separators = (":", "|", "/", " ", "\x00", "\n", ",")
        await revoke_all(revocation(scope, "c", issuer=f"a{it}b") for it in separators)
        for separator in separators:
            id = f"b{separator}c"
            await self.assert_not_covered(store, token_with(clock.time(), scope, id, issuer="a"))

    @EACH_UNTIL_SCOPE
    async def test_covers_what_was_issued_until_then(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, scope: RevocationScope
    ) -> None:
        """A token issued before or exactly at `issued_until` is covered."""
        until = clock.time() - 10
        facts = token(clock.time())
        await revoke(revocation(scope, issued_until=until))
        await self.assert_covered(store, replace(facts, issued_at=until - 3600))
        await self.assert_covered(store, replace(facts, issued_at=until))

    @EACH_UNTIL_SCOPE
    async def test_leaves_what_was_issued_later_alone(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, scope: RevocationScope
    ) -> None:
        """A token issued a millisecond after `issued_until` is not covered."""
        until = clock.time() - 10
        facts = token(clock.time())
        await revoke(revocation(scope, issued_until=until))
        await self.assert_not_covered(store, replace(facts, issued_at=until + 0.001))
        await self.assert_not_covered(store, replace(facts, issued_at=until + 10))

    @EACH_UNTIL_SCOPE
    async def test_covers_a_token_of_unknown_age(
        self, store: RevocationStore, revoke: Revoke, clock: Clock, scope: RevocationScope
    ) -> None:
        """A token without `iat` may have been issued before, so it is covered."""
        facts = token(clock.time(), issued_at=None)
        await revoke(revocation(scope, issued_until=clock.time() - 10))
        await self.assert_covered(store, facts)

    async def test_covers_lower_versions_only(
        self, store: RevocationStore, revoke: Revoke, clock: Clock
    ) -> None:
        """A version below `minimum_version` is covered, the minimum itself and above are not."""
        facts = token(clock.time())
        await revoke(revocation(RevocationScope.VERSION, minimum_version=7))
        await self.assert_covered(store, replace(facts, token_version=0))
        await self.assert_covered(store, replace(facts, token_version=6))
        await self.assert_not_covered(store, replace(facts, token_version=7))
        await self.assert_not_covered(store, replace(facts, token_version=8))

    async def test_covers_a_token_of_unknown_version(
        self, store: RevocationStore, revoke: Revoke, clock: Clock
    ) -> None:
        """A token without a version may be older than any, so it is covered."""
        facts = token(clock.time(), token_version=None)
        await revoke(revocation(RevocationScope.VERSION))
        await self.assert_covered(store, facts)

    async def test_compares_versions_as_whole_numbers(
        self, store: RevocationStore, revoke: Revoke, clock: Clock
    ) -> None:
        """Versions as large as a time in nanoseconds are told apart to the last digit."""
        large = 1_800_000_000_000_000_001
        facts = token(clock.time())
        await revoke(revocation(RevocationScope.VERSION, minimum_version=large))
        await self.assert_covered(store, replace(facts, token_version=large - 1))
        await self.assert_not_covered(store, replace(facts, token_version=large))

    @EACH_SCOPE
    async def test_one_of_several_revocations_is_enough(
        self,
        store: RevocationStore,
        revoke: Revoke,
        revoke_all: RevokeAll,
        clock: Clock,
        scope: RevocationScope,
    ) -> None:
        """Revocations of other scopes that do not cover the token hide none that does."""
        facts, now = token(clock.time()), clock.time()
        others = {
            other: revocation(other, issued_until=now - 60)
            for other in (RevocationScope.SUBJECT, RevocationScope.CLIENT, RevocationScope.ISSUER)
        }
        others[RevocationScope.VERSION] = revocation(RevocationScope.VERSION, minimum_version=1)
        await revoke_all(one for other, one in others.items() if other is not scope)
        await self.assert_not_covered(store, facts)
        await revoke(revocation(scope))
        assert (await self.assert_covered(store, facts)).scope is scope
