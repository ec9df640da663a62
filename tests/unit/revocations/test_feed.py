"""Subscriptions to revocations: from the call on, each with a queue of its own, within bounds."""

from __future__ import annotations

import asyncio
import gc

import pytest

from authkit.errors import BackendUnavailable
from authkit.interfaces import Revocation, RevocationScope
from authkit.revocations import Feed, Subscription

pytestmark = pytest.mark.anyio


def revocation(number: int = 1) -> Revocation:
    return Revocation(
        scope=RevocationScope.TOKEN, issuer="https://issuer.example", id=f"token-{number}"
    )


async def test_hears_in_order_from_the_call_on() -> None:
    """What came before the call is not told, what comes after it is, before anyone iterates."""
    feed = Feed()
    feed.publish(revocation(0))
    subscription = feed.subscribe()
    for number in (1, 2, 3):
        feed.publish(revocation(number))
    assert [(await anext(subscription)).id for _ in range(3)] == ["token-1", "token-2", "token-3"]


async def test_each_subscriber_hears_everything() -> None:
    """One that reads takes nothing from another that does not."""
    feed = Feed()
    quick, slow = feed.subscribe(), feed.subscribe()
    feed.publish(revocation(1))
    assert await anext(quick) == revocation(1)
    feed.publish(revocation(2))
    assert await anext(quick) == revocation(2)
    assert [await anext(slow) for _ in range(2)] == [revocation(1), revocation(2)]


async def test_works_with_async_for_and_ends_when_it_is_closed() -> None:
    """A task in the midst of `async for` goes on behind it when another one closes the feed."""
    feed = Feed()
    subscription = feed.subscribe()
    heard: list[str] = []

    async def listen() -> str:
        async for it in subscription:
            heard.append(it.id)
        return "ended"

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    feed.publish(revocation(1))
    await asyncio.sleep(0)
    await subscription.aclose()
    await subscription.aclose()
    assert await listening == "ended"
    assert heard == ["token-1"]
    feed.publish(revocation(2))
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_a_cancelled_wait_loses_nothing() -> None:
    """Who waits again hears what came in between."""
    feed = Feed()
    subscription = feed.subscribe()
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    waiting.cancel()
    feed.publish(revocation(1))
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert await anext(subscription) == revocation(1)


async def test_two_tasks_may_wait_for_the_same_subscription() -> None:
    """Each revocation goes to one of them, and the other waits on."""
    feed = Feed()
    subscription = feed.subscribe()
    waiting = [asyncio.ensure_future(anext(subscription)) for _ in range(2)]
    await asyncio.sleep(0)
    feed.publish(revocation(1))
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(pending)) == (1, 1)
    feed.publish(revocation(2))
    ids = {(await one).id for one in waiting}
    assert ids == {"token-1", "token-2"}


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_one_that_falls_behind_is_told_so(is_waiting: bool) -> None:
    """A thousand are held; with one more it hears only, and ever again, that it lost some."""
    feed = Feed()
    behind, other = feed.subscribe(), feed.subscribe()
    waiting = asyncio.ensure_future(anext(behind)) if is_waiting else None
    await asyncio.sleep(0)
    for number in range(1000):
        feed.publish(revocation(number))
    assert feed.overflow_total == 0
    assert (await anext(other)).id == "token-0"
    feed.publish(revocation(1000))
    for lost in (waiting or anext(behind), anext(behind)):
        with pytest.raises(BackendUnavailable, match="subscribe again") as raised:
            await lost
        assert raised.value.interface == "revocations"
    assert (feed.overflow_total, len(feed)) == (1, 1)
    feed.publish(revocation(1001))
    assert feed.overflow_total == 2  # the other one, with a thousand before it
    again = feed.subscribe()
    feed.publish(revocation(1002))
    assert (await anext(again)).id == "token-1002"


async def test_one_that_is_dropped_is_forgotten() -> None:
    """Neither a loop that was left nor an iterator that was never used is held."""
    feed = Feed()
    feed.subscribe()
    feed.publish(revocation(1))
    subscriptions: list[Subscription] = [feed.subscribe()]
    feed.publish(revocation(2))
    async for _ in subscriptions[0]:
        break
    assert len(feed) == 1
    subscriptions.clear()
    gc.collect()
    assert len(feed) == 0
