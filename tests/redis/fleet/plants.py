"""Stores with a mistake in them, each a likely one: the model test must find every one out."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

from authkit.errors import BackendUnavailable
from authkit.interfaces import Revocation, RevocationReceipt, TokenFacts
from authkit_redis import RedisRevocationStore
from tests.redis.fleet.stores import redis_store

__all__ = [
    "accepts_while_stale",
    "caches_answers",
    "is_staler_than_it_says",
    "keeps_nothing_itself",
    "writes_back_what_was_lifted",
]


class _Planted:
    """The real store, with all that it does."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.inner: RedisRevocationStore = redis_store(options)

    @property
    def is_fresh(self) -> bool:
        return self.inner.is_fresh

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.inner.__aexit__(*error)

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        return await self.inner.revoke(revocation)

    async def lift(self, revocation: Revocation) -> RevocationReceipt:
        return await self.inner.lift(revocation)

    async def find(self, token: TokenFacts) -> Revocation | None:
        return await self.inner.find(token)


class _AcceptsWhileStale(_Planted):
    async def find(self, token: TokenFacts) -> Revocation | None:
        try:
            return await self.inner.find(token)
        except BackendUnavailable:
            return None


class _CachesAnswers(_Planted):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._answers: dict[TokenFacts, tuple[float, Revocation | None]] = {}

    async def find(self, token: TokenFacts) -> Revocation | None:
        at, answer = self._answers.get(token, (0.0, None))
        if time.monotonic() - at > 2.0:
            answer = await self.inner.find(token)
            self._answers[token] = time.monotonic(), answer
        return answer


class _KeepsNothingItself(_Planted):
    """It is never entered, so it asks Redis each time, and has nothing to write back."""

    @property
    def is_fresh(self) -> bool:
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: Any) -> None:
        pass


class _WritesBackWhatWasLifted(_Planted):
    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._made: list[Revocation] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._task = asyncio.create_task(self._write_back())
        return self

    async def __aexit__(self, *error: Any) -> None:
        if self._task is not None:
            self._task.cancel()
        await super().__aexit__(*error)

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        self._made.append(revocation)
        return await super().revoke(revocation)

    async def _write_back(self) -> None:
        was_fresh = True
        while True:
            await asyncio.sleep(0.05)
            if self.is_fresh and not was_fresh:
                for revocation in self._made:
                    try:
                        await self.inner.revoke(revocation)
                    except BackendUnavailable:
                        break
            was_fresh = self.is_fresh


def accepts_while_stale(options: dict[str, Any]) -> _Planted:
    """Lets everybody in while nobody can tell."""
    return _AcceptsWhileStale(options)


def caches_answers(options: dict[str, Any]) -> _Planted:
    """Remembers for two seconds what it answered."""
    return _CachesAnswers(options)


def is_staler_than_it_says(options: dict[str, Any]) -> _Planted:
    """Lets a process that is cut off answer for three times as long."""
    bound = options["max_staleness_seconds"]
    return _Planted({**options, "max_staleness_seconds": 3 * bound})


def keeps_nothing_itself(options: dict[str, Any]) -> _Planted:
    """What the server loses is lost."""
    return _KeepsNothingItself(options)


def writes_back_what_was_lifted(options: dict[str, Any]) -> _Planted:
    """After an outage it makes its revocations anew, whatever happened to them since."""
    return _WritesBackWhatWasLifted(options)
