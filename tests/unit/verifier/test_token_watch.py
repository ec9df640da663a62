"""Blocks and streams that end with their token, whatever they are doing at that moment."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from authkit.errors import TokenExpired, TokenRevoked
from authkit.testing import ManualClock, make_principal
from authkit.verifier import TokenWatch
from authkit.verifier.backend_errors import BackendErrors
from authkit.verifier.live_tokens import LiveTokens
from authkit_memory import MemoryRevocationStore

pytestmark = pytest.mark.anyio

CLOCK = ManualClock()


@pytest.fixture
async def live() -> Any:
    """Whatever is watched by it is ended by the test, or expires."""
    live = LiveTokens(MemoryRevocationStore(), CLOCK, BackendErrors())
    async with live:
        yield live


@pytest.fixture
def watch(live: LiveTokens) -> TokenWatch:
    return live.watch(make_principal(expires_at=CLOCK.time() + 300))


class Source:
    """An asynchronous generator whose every step can be seen.

    Attributes:
        asked: how many items it was asked for.
        is_closed: its last line has run.
        gate: is awaited before each item.
    """

    def __init__(self, items: int = 3) -> None:
        self.asked = 0
        self.is_closed = False
        self.gate: Callable[[int], Any] | None = None
        self._items = items

    async def __call__(self) -> AsyncIterator[int]:
        try:
            for number in range(self._items):
                self.asked += 1
                if self.gate is not None:
                    await self.gate(number)
                yield number
        finally:
            self.is_closed = True


async def for_ever(number: int = 0) -> None:
    await asyncio.Event().wait()


class TestBlock:
    """`async with`."""

    async def test_it_is_cancelled_once_and_says_why(self, watch: TokenWatch) -> None:
        """Whoever ends it first gives the reason."""
        first, second = TokenRevoked("session"), TokenExpired()

        async def block() -> None:
            async with watch:
                watch.end(first)
                watch.end(second)
                await for_ever()

        with pytest.raises(TokenRevoked) as caught:
            await block()
        assert caught.value is watch.ended is first

    async def test_a_block_that_is_done_in_the_same_moment_is_left_alone(
        self, watch: TokenWatch
    ) -> None:
        """It was not cancelled, so nothing is raised; what has ended it can be seen."""
        async with watch:
            watch.end(TokenExpired())
        assert isinstance(watch.ended, TokenExpired)

    async def test_what_is_over_does_not_end_later(self, live: LiveTokens) -> None:
        """Its timer goes with it."""
        watch = live.watch(make_principal(expires_at=CLOCK.time() + 0.01))
        async with watch:
            pass
        CLOCK.advance(1)
        await asyncio.sleep(0.03)
        assert watch.ended is None

    async def test_its_own_errors_pass(self, watch: TokenWatch) -> None:
        """A timeout of its own, and an error of this very kind."""
        with pytest.raises(TimeoutError):
            async with watch, asyncio.timeout(0):
                await for_ever()
        with pytest.raises(TokenRevoked):
            async with watch:
                raise TokenRevoked("token")
        assert watch.ended is None

    async def test_leaving_what_was_not_entered_is_nothing(self, watch: TokenWatch) -> None:
        """As an exit stack may do."""
        assert await watch.__aexit__(None, None, None) is None


class TestStream:
    """`stream`."""

    async def test_it_gives_what_the_source_gives(
        self, live: LiveTokens, watch: TokenWatch
    ) -> None:
        """In order, each when it is asked for, and then it is over."""
        source = Source(items=3)
        stream = watch.stream(source())
        assert source.asked == 0
        for number in range(3):
            assert await anext(stream) == number
            assert source.asked == number + 1
            assert len(live) == 1
        assert [item async for item in stream] == []
        assert source.is_closed
        assert watch.ended is None
        assert len(live) == 0

    async def test_waiting_for_an_item_ends_with_the_token(
        self, live: LiveTokens, watch: TokenWatch
    ) -> None:
        """The source is cancelled where it waits, and has run its last line by then."""
        source = Source()
        source.gate = for_ever
        asyncio.get_running_loop().call_later(0.01, watch.end, TokenRevoked("token"))
        assert [item async for item in watch.stream(source())] == []
        assert source.is_closed
        assert isinstance(watch.ended, TokenRevoked)
        assert len(live) == 0

    async def test_an_end_between_two_items_asks_for_no_more(self, watch: TokenWatch) -> None:
        """Whoever consumes it is not disturbed at what it does meanwhile."""
        source = Source()
        stream = watch.stream(source())
        assert await anext(stream) == 0
        watch.end(TokenRevoked("token"))
        await asyncio.sleep(0.01)
        assert [item async for item in stream] == []
        assert source.asked == 1
        assert source.is_closed

    async def test_an_expired_token_gets_nothing(self, live: LiveTokens) -> None:
        """The source is not even begun."""
        source = Source()
        watch = live.watch(make_principal(expires_at=CLOCK.time()))
        assert [item async for item in watch.stream(source())] == []
        assert source.asked == 0
        assert isinstance(watch.ended, TokenExpired)

    async def test_it_ends_when_the_token_expires(self, live: LiveTokens) -> None:
        """As a block does."""
        source = Source()
        source.gate = for_ever
        watch = live.watch(make_principal(expires_at=CLOCK.time() + 0.01))
        stream = watch.stream(source())
        CLOCK.advance(0.005)
        asyncio.get_running_loop().call_later(0.002, CLOCK.advance, 1)
        assert [item async for item in stream] == []
        assert isinstance(watch.ended, TokenExpired)

    async def test_an_item_of_the_last_moment_is_not_given(self, watch: TokenWatch) -> None:
        """It came after the revocation, if only just."""
        item: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        source = Source()

        async def gate(number: int) -> None:
            await item

        def both() -> None:
            item.set_result(None)
            watch.end(TokenRevoked("token"))

        source.gate = gate
        asyncio.get_running_loop().call_later(0.01, both)
        assert [item async for item in watch.stream(source())] == []
        assert source.is_closed

    async def test_a_source_that_goes_on_when_cancelled_is_closed(self, watch: TokenWatch) -> None:
        """What it gives then is not for this caller any more."""
        source = Source()

        async def stubborn(number: int) -> None:
            try:
                await for_ever()
            except asyncio.CancelledError:
                pass

        source.gate = stubborn
        asyncio.get_running_loop().call_later(0.01, watch.end, TokenRevoked("token"))
        assert [item async for item in watch.stream(source())] == []
        assert source.asked == 1
        assert source.is_closed

    @pytest.mark.parametrize(
        "error", [ValueError(), TimeoutError(), TokenRevoked("token"), asyncio.CancelledError()]
    )
    async def test_errors_of_the_source_pass(
        self, live: LiveTokens, watch: TokenWatch, error: BaseException
    ) -> None:
        """Also those that look like ours."""
        source = Source()

        async def failing(number: int) -> None:
            raise error

        source.gate = failing
        with pytest.raises(type(error)) as caught:
            await anext(watch.stream(source()))
        assert caught.value is error
        assert source.is_closed
        assert len(live) == 0

    async def test_a_source_need_not_be_a_generator(self, watch: TokenWatch) -> None:
        """Any asynchronous iterable will do."""

        class Countdown:
            left = 3

            def __aiter__(self) -> Countdown:
                return self

            async def __anext__(self) -> int:
                if not self.left:
                    raise StopAsyncIteration
                self.left -= 1
                return self.left

        assert [item async for item in watch.stream(Countdown())] == [2, 1, 0]

    async def test_cancelling_from_outside_passes_through(
        self, live: LiveTokens, watch: TokenWatch
    ) -> None:
        """As a server does when the client hangs up."""
        source = Source()
        source.gate = for_ever

        async def consume() -> None:
            async for _ in watch.stream(source()):
                pass  # pragma: no cover - there is no item

        task = asyncio.create_task(consume())
        await asyncio.sleep(0.01)
        assert len(live) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.is_closed
        assert watch.ended is None
        assert len(live) == 0

    async def test_closing_it_closes_the_source(self, live: LiveTokens, watch: TokenWatch) -> None:
        """In the middle."""
        source = Source()
        stream = watch.stream(source())
        assert await anext(stream) == 0
        await stream.aclose()
        assert source.is_closed
        assert len(live) == 0

    async def test_a_stream_that_is_dropped_is_watched_no_longer(
        self, live: LiveTokens, watch: TokenWatch
    ) -> None:
        """As a server does that finds the client gone when it sends."""
        source = Source()
        stream = watch.stream(source())
        assert await anext(stream) == 0
        del stream
        gc.collect()
        await asyncio.sleep(0.01)
        assert source.is_closed
        assert len(live) == 0

    async def test_no_task_is_left_of_it(self, watch: TokenWatch) -> None:
        """It runs in its consumer's."""
        before = len(asyncio.all_tasks())
        source = Source()
        async for _ in watch.stream(source()):
            # One for the feed, one for the rounds: they belong to the Verifier.
            assert len(asyncio.all_tasks()) <= before + 1
