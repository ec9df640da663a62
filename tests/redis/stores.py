"""Revocation stores as several processes have them, and what tests ask of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from authkit.errors import BackendUnavailable
from authkit.interfaces import Revocation, RevocationReceipt, RevocationScope, TokenFacts
from authkit.testing.contracts.revocation_examples import ISSUER, token
from authkit_redis import RedisBackends, RedisRevocationStore

__all__ = [
    "LIVE",
    "NO_PROOF",
    "PREFIX",
    "REVOKED",
    "STALENESS",
    "Watch",
    "asking",
    "elsewhere",
    "facts",
    "lift",
    "opened",
    "revocation",
    "revoke",
    "revoke_at_last",
    "until",
    "verdict",
    "verdicts",
]

T = TypeVar("T")

PREFIX = "test"
STALENESS = 0.5
LIVE, REVOKED, NO_PROOF = "live", "revoked", "no proof"

elsewhere = asyncio.to_thread
"""Runs what blocks, as a server that starts, while the stores go on."""


@asynccontextmanager
async def asking(url: str, **options: Any) -> AsyncIterator[RedisRevocationStore]:
    """A store on a link of its own that is not entered: it asks Redis for every token."""
    options = {"prefix": PREFIX, "max_staleness_seconds": STALENESS, **options}
    async with RedisBackends.from_url(url, **options) as redis:
        yield redis.revocations


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[RedisRevocationStore]:
    """A store that follows the log on a link of its own, as in a process of its own."""
    async with asking(url, **options) as store, store:
        if store.stats()["link_connects_total"]:
            # Entering does not wait long for the first proof, which a busy machine gives later.
            await store.wait_until_fresh(2)
        yield store


def facts(number: int | str, **changes: Any) -> TokenFacts:
    """A token with an id of its own; nothing else of it is ever revoked."""
    return token(time.time(), token_id=f"token-{number}", **changes)


def revocation(number: int | str) -> Revocation:
    """That of `facts(number)` alone."""
    return Revocation(scope=RevocationScope.TOKEN, issuer=ISSUER, id=f"token-{number}")


async def revoke(
    store: RedisRevocationStore, numbers: Iterable[int | str]
) -> list[RevocationReceipt]:
    """Revokes all of them at once."""
    return await asyncio.gather(*(store.revoke(revocation(number)) for number in numbers))


async def revoke_at_last(store: RedisRevocationStore, number: int | str) -> RevocationReceipt:
    """Revokes as somebody does who tries again until there is a receipt."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return await store.revoke(revocation(number))
        except BackendUnavailable:
            assert time.monotonic() < deadline, "it could not be revoked"
            await asyncio.sleep(0.02)


async def lift(store: RedisRevocationStore, number: int | str) -> RevocationReceipt:
    """Takes one of them back."""
    return await store.lift(revocation(number))


async def verdict(store: RedisRevocationStore, number: int | str) -> str:
    """What becomes of a request with the token."""
    return await _verdict(store, facts(number))


async def _verdict(store: RedisRevocationStore, token: TokenFacts) -> str:
    try:
        return LIVE if await store.find(token) is None else REVOKED
    except BackendUnavailable:
        return NO_PROOF


async def verdicts(store: RedisRevocationStore, numbers: Iterable[int | str]) -> set[str]:
    """What becomes of requests with these tokens, all at once."""
    return set(await asyncio.gather(*(verdict(store, number) for number in numbers)))


async def until(
    what: str,
    holds: Callable[[], bool | Coroutine[Any, Any, bool]],
    *,
    timeout_seconds: float = 10.0,
) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = holds()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < deadline, f"{what}: not within {timeout_seconds} s"
        await asyncio.sleep(0.01)


class Watch:
    """Asks stores again and again for tokens while something happens, and keeps the answers.

    Args:
        stores: whom to ask.
        numbers: for which tokens.
    """

    def __init__(
        self, stores: Iterable[RedisRevocationStore], numbers: Iterable[int | str]
    ) -> None:
        self._stores = tuple(stores)
        self._tokens = [facts(number) for number in numbers]
        self.seen: list[tuple[float, float, str]] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    async def _look(self) -> None:
        while True:
            for store in self._stores:
                for one in self._tokens:
                    begun = time.monotonic()
                    said = await _verdict(store, one)
                    self.seen.append((begun, time.monotonic(), said))
            await asyncio.sleep(0.005)

    def said(self, *, since: float = 0.0) -> set[str]:
        """The answers to what was asked after a moment of the monotonic clock."""
        return {answer for begun, _, answer in self.seen if begun >= since}

    @property
    def longest(self) -> float:
        """How long the slowest answer took."""
        return max(ended - begun for begun, ended, _ in self.seen)
