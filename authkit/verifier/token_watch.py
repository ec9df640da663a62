"""One open connection and its token: what runs for the connection ends when the token does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from authkit.clock import Clock
from authkit.errors import TokenExpired, TokenRevoked
from authkit.interfaces import TokenFacts

__all__ = ["TokenWatch"]

T = TypeVar("T")

# The wall clock may be set, and a timer stands still while the machine sleeps: so no single
# timer is trusted with a whole token lifetime.
_LONGEST_WAIT_SECONDS = 60.0

_END: Any = object()


class TokenWatch:
    """Ends what runs for a connection at the moment its token expires or is revoked.

        async with verifier.watch(principal):
            ...  # cancelled at whatever it awaits

    Made by `Verifier.watch`, for one block or one stream.  The issuer's leeway is not granted
    again: the end is at `principal.expires_at`.  It learns of revocations where the store is a
    RevocationFeed, as long as the Verifier is not left; else the token only expires.  A store that
    cannot answer ends nothing, but is asked until it does.  Nor does it end anything that the
    issuer withdraws the key, or that the caller is over a limit: that is found out at the next
    request.

    Args:
        facts: of the token.
        clock: tells when it has expired.
        enrol: is called with this watch when the token is in use from now on.
        dismiss: is called when it is in use no longer.

    Attributes:
        facts: as given.
        ended: why the token is good no longer, or None.
    """

    __slots__ = ("_block", "_clock", "_dismiss", "_enrol", "_scope", "_timer", "ended", "facts")

    def __init__(
        self,
        facts: TokenFacts,
        clock: Clock,
        enrol: Callable[[TokenWatch], None],
        dismiss: Callable[[TokenWatch], None],
    ) -> None:
        self.facts: TokenFacts = facts
        self.ended: TokenExpired | TokenRevoked | None = None
        self._clock = clock
        self._enrol = enrol
        self._dismiss = dismiss
        self._timer: asyncio.TimerHandle | None = None
        self._scope: asyncio.Timeout | None = None
        self._block: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> Self:
        """Watches from now on.

        Raises:
            ConfigurationError: the Verifier watches tokens in another event loop.
        """
        self._block = self._whole_block()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Watches no longer.

        Raises:
            TokenExpired, TokenRevoked: the block was cancelled, because the token ended so; it is
                the object in `ended`.
        """
        block, self._block = self._block, None
        return None if block is None else await block.__aexit__(kind, error, traceback)

    async def stream(self, source: AsyncIterable[T]) -> AsyncGenerator[T, None]:
        """The items of `source` as long as the token is good; then the stream just ends.

        Waiting for the next item is cancelled then, and `source` is closed, as it is when the
        stream is closed or cancelled itself.  Nothing is read ahead.  `ended` tells what it was.

        Raises:
            ConfigurationError: as entering does.
        """
        items = aiter(source)
        try:
            with self._in_use():
                while (item := await self._next(items)) is not _END:
                    yield item
        finally:
            aclose = getattr(items, "aclose", None)
            if aclose is not None:
                await aclose()

    def end(self, error: TokenExpired | TokenRevoked) -> None:
        """The token is good no longer; the first reason counts."""
        if self.ended is None:
            self.ended = error
            self._cancel_scope()

    @asynccontextmanager
    async def _whole_block(self) -> AsyncIterator[None]:
        with self._in_use():
            async with self._cancelled_at_end():
                yield

    async def _next(self, items: AsyncIterator[T]) -> T:
        """The next item, or the mark that there is none for this token."""
        item: T = _END
        try:
            if self.ended is None:
                async with self._cancelled_at_end():
                    item = await anext(items, _END)
        except (TokenExpired, TokenRevoked) as error:
            if error is not self.ended:
                raise
        # One that came in the same moment as the end is not for this caller any more.
        return item if self.ended is None else _END

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        self._enrol(self)
        try:
            self._look()
            yield
        finally:
            self._dismiss(self)
            if self._timer is not None:
                self._timer.cancel()

    def _look(self) -> None:
        left = self.facts.expires_at - self._clock.time()
        if left <= 0:
            self.end(TokenExpired())
        else:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(left, _LONGEST_WAIT_SECONDS), self._look)

    @asynccontextmanager
    async def _cancelled_at_end(self) -> AsyncIterator[None]:
        """Cancels the block at the end of the token, and raises why."""
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scope = scope
                if self.ended is not None:
                    self._cancel_scope()
                yield
        except TimeoutError:
            # One that the block raised of its own is not ours.
            if not scope.expired():
                raise
        finally:
            self._scope = None
        if scope.expired() and self.ended is not None:
            raise self.ended

    def _cancel_scope(self) -> None:
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())
