"""A revocation store that keeps every promise; each of its steps can be replaced by a bad one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import (
    Revocation,
    RevocationReceipt,
    RevocationScope,
    RevocationStore,
    StateChange,
    TokenFacts,
)
from authkit.testing.contracts import RevocationStoreContract
from authkit.testing.contracts.backend import Outage

Key = tuple[object, ...]

UNTIL = (RevocationScope.SUBJECT, RevocationScope.CLIENT, RevocationScope.ISSUER)


class Feed:
    def __init__(self) -> None:
        self.queue: asyncio.Queue[Revocation] = asyncio.Queue()
        self.is_waiting = False

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> Revocation:
        self.is_waiting = self.queue.empty()
        try:
            return await self.queue.get()
        finally:
            self.is_waiting = False


class HonestStore:
    """Keeps every promise.  Each step is a method, for a bad store to replace."""

    breaks: tuple[str, ...] = ()
    """The tests that must fail, and no other."""

    breaks_more: bool = False
    """So much is wrong that other tests fail too."""

    declares: ClassVar[Mapping[str, object]] = {}
    """What its suite says beside what is true of all."""

    max_token_lifetime_seconds = 86_400.0

    def __init__(self, clock: Clock, max_entries: int) -> None:
        self.clock = clock
        self.max_entries = max_entries
        self.kept: dict[Key, Revocation] = {}
        self.feeds: list[Feed] = []
        self.listeners: list[Callable[[StateChange], None]] = []
        self.calls = 0
        self.entered = 0
        self.is_closed = False
        self.is_down = False

    # RevocationStore

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        self.answer()
        now = self.clock.time()
        asked = self.filled_in(revocation, now)
        key = self.key(asked.scope, asked.issuer, asked.id)
        await self.keep(key, asked)
        for feed in self.feeds:
            feed.queue.put_nowait(asked)
        return RevocationReceipt(revocation=self.kept[key], effective_at=self.effective_at(now))

    async def find(self, token: TokenFacts) -> Revocation | None:
        self.answer()
        for scope, id in self.ids(token):
            kept = self.kept.get(self.key(scope, token.issuer, id))
            if kept is not None and self.is_live(kept) and self.covers(kept, token):
                return kept
        return None

    # RevocationLifting, RevocationFeed, Observable, and the life of a context manager

    async def lift(self, revocation: Revocation) -> RevocationReceipt:
        self.answer()
        self.kept.pop(self.key(revocation.scope, revocation.issuer, revocation.id), None)
        return RevocationReceipt(revocation=revocation, effective_at=self.clock.time())

    def subscribe(self) -> AsyncIterator[Revocation]:
        self.feeds.append(Feed())
        return self.feeds[-1]

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        self.listeners.append(listener)

    def stats(self) -> Mapping[str, float]:
        return {"entries": len(self.kept), "calls_total": self.calls}

    async def __aenter__(self) -> HonestStore:
        self.entered += 1
        self.is_closed = False
        return self

    async def __aexit__(self, *_: object) -> None:
        self.entered -= 1
        self.is_closed = self.entered == 0

    # The steps

    def answer(self) -> None:
        self.calls += 1
        if self.is_down or self.is_closed:
            raise BackendUnavailable("revocations")

    def filled_in(self, asked: Revocation, now: float) -> Revocation:
        horizon = now + self.max_token_lifetime_seconds
        if asked.expires_at is not None and asked.expires_at > horizon + 300:
            raise ConfigurationError("expires_at lies too far away")
        expires_at = horizon if asked.expires_at is None else asked.expires_at
        if asked.scope not in UNTIL:
            return replace(asked, expires_at=expires_at)
        issued_until = now if asked.issued_until is None else asked.issued_until
        expires_at = max(expires_at, issued_until + self.max_token_lifetime_seconds)
        return replace(asked, issued_until=issued_until, expires_at=expires_at)

    def key(self, scope: RevocationScope, issuer: str, id: str | None) -> Key:
        return (scope, issuer, id)

    async def keep(self, key: Key, asked: Revocation) -> None:
        old = self.kept.get(key)
        if old is None:
            self.make_room()
        self.kept[key] = asked if old is None else self.merged(old, asked)

    def make_room(self) -> None:
        if len(self.kept) >= self.max_entries:
            self.kept = {key: kept for key, kept in self.kept.items() if self.is_live(kept)}
        if len(self.kept) >= self.max_entries:
            raise BackendUnavailable("revocations", "full")

    def merged(self, old: Revocation, new: Revocation) -> Revocation:
        changes: dict[str, Any] = {"expires_at": max(old.expires_at or 0, new.expires_at or 0)}
        if new.issued_until is not None:
            changes["issued_until"] = max(old.issued_until or 0, new.issued_until)
        if new.minimum_version is not None:
            changes["minimum_version"] = max(old.minimum_version or 0, new.minimum_version)
        return replace(new, **changes)

    def effective_at(self, now: float) -> float:
        return now

    def ids(self, token: TokenFacts) -> Iterator[tuple[RevocationScope, str | None]]:
        yield RevocationScope.TOKEN, token.token_id
        yield RevocationScope.KEY, token.key_thumbprint
        yield RevocationScope.ISSUER, ""
        for scope, id in (
            (RevocationScope.SESSION, token.session_id),
            (RevocationScope.SUBJECT, token.subject),
            (RevocationScope.CLIENT, token.client_id),
            (RevocationScope.VERSION, token.subject),
        ):
            if id is not None:
                yield scope, id

    def is_live(self, kept: Revocation) -> bool:
        return self.clock.time() <= (kept.expires_at or 0) + 120

    def covers(self, kept: Revocation, token: TokenFacts) -> bool:
        if kept.issued_until is not None:
            return token.issued_at is None or token.issued_at <= kept.issued_until
        if kept.minimum_version is not None:
            return token.token_version is None or token.token_version < kept.minimum_version
        return True

    # What the test does to it

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.set_down(True)
        try:
            yield
        finally:
            self.set_down(False)

    def set_down(self, is_down: bool) -> None:
        old, new = ("down", "up") if self.is_down else ("up", "down")
        self.is_down = is_down
        change = StateChange(
            interface="revocations", name="store", old=old, new=new, code=None, time=0.0
        )
        for listener in self.listeners:
            try:
                listener(change)
            except Exception:
                self.calls += 1


class Stores(RevocationStoreContract):
    kind = HonestStore
    max_entries = 200
    can_fail = True
    is_lifting = True
    is_feeding = True
    is_observable = True
    is_context_manager = True

    @pytest.fixture
    def store(self, clock: Clock) -> RevocationStore:
        return self.kind(clock, self.max_entries)

    @pytest.fixture
    def outage(self, store: HonestStore) -> Outage:
        return store.outage
