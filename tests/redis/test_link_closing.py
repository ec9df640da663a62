"""A link that is closed at any moment leaves no connection open."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from authkit_redis.link import LinkError, open_link
from tests.redis.cluster import RedisCluster
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer
from tests.redis.stores import until

# How a link closes is not a matter of the version of Redis.
on_one_version = True

# More turns of the event loop than it takes to connect, to ask who is the master, and to call.
TURNS = 80

Life = Callable[..., Coroutine[Any, Any, None]]


@contextmanager
def left_open() -> Iterator[list[str]]:
    """What is found, when it is freed, to have been left open."""
    found: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda told: found.append(str(told.exc_value))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            yield found
            gc.collect()
    finally:
        sys.unraisablehook = before


async def closed(url: str, turns: int, **options: Any) -> None:
    """A link that is left in good order."""
    async with open_link(url, **options) as link:
        tail = link.tail(b"k")
        tasks = [
            asyncio.ensure_future(tail.read(b"0", count=1, block_seconds=5)),
            asyncio.ensure_future(link.call(b"PING", timeout_seconds=5, key=b"k")),
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
    await ended(tasks)


async def cancelled(url: str, turns: int, **options: Any) -> None:
    """A link whose owner is cancelled, and once more while it closes the link."""
    owner = asyncio.create_task(closed(url, 10 * TURNS, **options))
    for _ in range(turns):
        await asyncio.sleep(0)
    owner.cancel()
    for _ in range(turns % 4):
        await asyncio.sleep(0)
    owner.cancel()
    await ended([owner])


async def stopped_reading(url: str, turns: int, **options: Any) -> None:
    """A link whose tail is closed first, by a task that is cancelled while it does."""
    async with open_link(url, **options) as link:
        tail = link.tail(b"k")
        reading = asyncio.create_task(tail.read(b"0", count=1, block_seconds=5))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await ended([reading])
        closing = asyncio.create_task(tail.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await ended([closing])
        del tail, reading, closing


async def never_closed(url: str, turns: int, **options: Any) -> None:
    """A link that nobody closes: its event loop ends."""
    link = open_link(url, **options)
    _tasks = [
        asyncio.ensure_future(link.tail(b"k").read(b"0", count=1, block_seconds=5)),
        asyncio.ensure_future(link.call(b"PING", timeout_seconds=5, key=b"k")),
    ]
    for _ in range(turns):
        await asyncio.sleep(0)


async def ended(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, LinkError | asyncio.CancelledError), repr(outcome)


EACH_LIFE = pytest.mark.parametrize("life", [closed, cancelled, stopped_reading, never_closed])


def assert_nothing_is_left(life: Life, url: str, turns: range) -> None:
    gc.collect()
    gc.freeze()  # what there is already need not be looked through after each link
    try:
        for number in turns:
            with left_open() as found:
                asyncio.run(life(url, number))
            assert found == [], f"after {number} turns"
    finally:
        gc.unfreeze()


@EACH_LIFE
def test_leaves_no_connection_to_a_server(redis_server: RedisServer, life: Life) -> None:
    """Closed before, while and after it connects."""
    assert_nothing_is_left(life, redis_server.url, range(1, TURNS // 2))


@pytest.mark.parametrize("life", [closed, cancelled, stopped_reading])
def test_leaves_no_connection_with_tls(tls_redis_server: RedisServer, life: Life) -> None:
    """For longer than it takes the server to say farewell."""
    assert tls_redis_server.certificates is not None
    trusted = str(tls_redis_server.certificates.ca_path)  # which takes long to read, each time

    async def life_and_farewell(url: str, turns: int) -> None:
        before = len(os.listdir("/dev/fd"))
        await life(url, turns, ssl_ca_certs=trusted)
        # Where asyncio is cancelled at the end of the handshake, it waits for the server's word.
        await until("closed", lambda: len(os.listdir("/dev/fd")) <= before)

    assert_nothing_is_left(life_and_farewell, tls_redis_server.tls_url, range(1, TURNS, 5))


@EACH_LIFE
def test_leaves_no_connection_to_sentinels(sentinels: SentinelTopology, life: Life) -> None:
    """Nor to the master that they name."""
    assert_nothing_is_left(life, sentinels.url, range(1, TURNS))


@EACH_LIFE
def test_leaves_no_connection_to_a_cluster(cluster: RedisCluster, life: Life) -> None:
    """Nor to the node that was asked who has which slot."""
    assert_nothing_is_left(life, cluster.url, range(1, TURNS))
