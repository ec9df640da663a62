"""Asks the store again for every token in use, whenever it tells of a revocation."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import suppress
from contextvars import Context

from authkit.errors import TokenRevoked
from authkit.interfaces import RevocationFeed, RevocationStore
from authkit.verifier.backend_errors import BackendErrors
from authkit.verifier.token_watch import TokenWatch

__all__ = ["Recheck"]

# So many questions are under way at once, for a store that has to ask elsewhere; and after so
# many of its own each asker lets others have a turn: 256 in one turn of the event loop.
_ASKERS = 64
_SLICE = 4

_LONGEST_REST_SECONDS = 0.1
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_LASTING_SECONDS = 1.0
_STOP_SECONDS = 1.0


class Recheck:
    """One task of one event loop, which keeps asking until it is stopped.

    However many tokens are in use, it subscribes once.  It asks in rounds: what is revoked
    during one is answered by the next, and it rests as long as it has worked, so that a flood of
    revocations takes at most half of the loop's time.  A question without an answer ends
    nothing and is asked again soon.

    Args:
        store: is asked.
        feed: the same store; tells when to ask.
        errors: counts the questions without an answer.

    Attributes:
        loop: the event loop that it was made in.
        tokens: those in use.
        revoked_total: those that it has ended.
    """

    __slots__ = (
        "_are_all_due",
        "_due",
        "_errors",
        "_feed",
        "_news",
        "_store",
        "_task",
        "loop",
        "revoked_total",
        "tokens",
    )

    def __init__(self, store: RevocationStore, feed: RevocationFeed, errors: BackendErrors) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.tokens: set[TokenWatch] = set()
        self.revoked_total: int = 0
        self._store = store
        self._feed = feed
        self._errors = errors
        self._due: set[TokenWatch] = set()
        self._are_all_due = False
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, token: TokenWatch) -> None:
        """Asks for the token at once, as it may have been revoked since it was verified."""
        # Whoever cancels every task of a loop that goes on has cancelled this one too.
        if self._task is None or self._task.done():
            # It outlives the connection that it begins with: none of its context variables.
            self._task = self.loop.create_task(
                self._run(), name="authkit-recheck", context=Context()
            )
        self.tokens.add(token)
        self._due.add(token)
        self._news.set()

    def discard(self, token: TokenWatch) -> None:
        """The token is in use no longer."""
        self.tokens.discard(token)
        self._due.discard(token)

    async def stop(self) -> None:
        """Ends the subscription.  In another loop than its own there is nothing left to end."""
        if self._task is not None and self.loop is asyncio.get_running_loop():
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=_STOP_SECONDS)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(), name="authkit-recheck-feed")
            # It subscribes first: the first question would have to be asked again after that.
            await asyncio.sleep(0)
            await self._ask_in_rounds()

    async def _listen(self) -> None:
        failures = 0
        while True:
            began = self.loop.time()
            try:
                signs = self._feed.subscribe()
                # What was revoked while nobody listened is found by asking for every token.
                self._ask_for_all()
                try:
                    async for _ in signs:
                        failures = 0
                        self._ask_for_all()
                finally:
                    aclose = getattr(signs, "aclose", None)
                    if aclose is not None:
                        await aclose()
            except (Exception, CancelledError) as error:
                self._errors.pass_over("revocations", error)
            # At once, unless it fails over and over.
            has_lasted = self.loop.time() - began > _LASTING_SECONDS
            await asyncio.sleep(0 if has_lasted else _pause_seconds(failures))
            failures = 0 if has_lasted else failures + 1

    def _ask_for_all(self) -> None:
        self._are_all_due = True
        self._news.set()

    async def _ask_in_rounds(self) -> None:
        failures = 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_pause_seconds(failures) if failures else None):
                    await self._news.wait()
            self._news.clear()
            began = self.loop.time()
            failures = 0 if await self._round() else failures + 1
            await asyncio.sleep(min(self.loop.time() - began, _LONGEST_REST_SECONDS))

    async def _round(self) -> bool:
        """Asks for every token that is due; whether each was answered."""
        due = tuple(self.tokens if self._are_all_due else self._due)
        self._are_all_due = False
        self._due.clear()
        unanswered: list[TokenWatch] = []
        waiting = iter(due)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_ASKERS, len(due))):
                group.create_task(self._ask(waiting, unanswered))
        self._due.update(self.tokens.intersection(unanswered))
        return not unanswered

    async def _ask(self, waiting: Iterator[TokenWatch], unanswered: list[TokenWatch]) -> None:
        for asked, token in enumerate(waiting, 1):
            if token.ended is None:
                try:
                    revocation = await self._store.find(token.facts)
                    error = None if revocation is None else TokenRevoked(revocation.scope.value)
                except (Exception, CancelledError) as outage:
                    self._errors.pass_over("revocations", outage)
                    unanswered.append(token)
                else:
                    if error is not None and token in self.tokens:
                        self.revoked_total += 1
                        token.end(error)
            if asked % _SLICE == 0:
                await asyncio.sleep(0)


def _pause_seconds(failures: int) -> float:
    return min(_FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 16), _LONGEST_PAUSE_SECONDS)
