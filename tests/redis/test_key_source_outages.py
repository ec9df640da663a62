"""Whoever of a fleet dies or is late, and whether provider or Redis is down: the others go on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import pytest

from authkit.errors import BackendUnavailable
from tests.redis.servers import RedisServer
from tests.redis.shared_keys import KEY, NEW, OLD, CountedSource, fleet, keys_of, providers, sharing
from tests.redis.stores import until

pytestmark = pytest.mark.anyio

HANGING = """
import asyncio, sys
from tests.redis.shared_keys import CountedSource, sharing
async def main():
    source = CountedSource({"keys": []})
    source.seconds = 600
    async with sharing(sys.argv[1], source, fetch_timeout_seconds=0.5) as shared:
        await shared.fetch(None)
asyncio.run(main())
"""


async def test_a_missing_key_is_not_denied_by_a_newer_set_while_the_provider_is_down(
    redis_server: RedisServer,
) -> None:
    """That another worker did not see the key either, some time ago, proves nothing."""
    source = CountedSource(OLD)
    async with fleet(redis_server.url, source, 2, cooldown_seconds=0.2) as (one, other):
        first = await one.fetch(None)
        await asyncio.sleep(0.21)
        await other.fetch(await other.fetch(None))
        await asyncio.sleep(0.21)
        source.is_down = True
        for _ in range(2):  # asked, and held back
            with pytest.raises(BackendUnavailable):
                await one.fetch(first)
    assert source.requests == 3


async def test_a_failure_holds_back_the_whole_fleet(redis_server: RedisServer) -> None:
    """A provider that fails is asked by one process for each cooldown."""
    source = CountedSource(OLD)
    source.is_down = True
    async with fleet(redis_server.url, source, 10, cooldown_seconds=0.6) as workers:
        results = await asyncio.gather(*(w.fetch(None) for w in workers), return_exceptions=True)
        assert {type(result) for result in results} == {BackendUnavailable}
        assert source.requests == 1
        await asyncio.sleep(0.6)
        source.is_down = False
        assert keys_of((await workers[3].fetch(None)).body) == OLD
    assert source.requests == 2


async def test_a_new_process_begins_while_the_provider_is_down(redis_server: RedisServer) -> None:
    """With the shared set, however stale; a key that is not in it may exist all the same."""
    source = CountedSource(OLD, fresh_seconds=0.1)
    options = {"cooldown_seconds": 0.2, "min_fresh_seconds": 0.1}
    async with providers(redis_server.url, source, 1, **options) as (early,):
        assert await early.find("old", "ES256")
    await asyncio.sleep(0.3)
    source.is_down = True
    async with providers(redis_server.url, source, 3, **options) as late:
        for provider in late:
            assert await provider.find("old", "ES256")
            with pytest.raises(BackendUnavailable) as raised:
                await provider.find("new", "ES256")
            assert raised.value.code == "key_unknown_unconfirmed"
            assert provider.stats()["age_seconds"] >= 0.3
        assert sum(provider.stats()["shared_stale_total"] for provider in late) == 3
    assert source.requests == 2


async def test_a_set_past_its_horizon_is_given_to_nobody(redis_server: RedisServer) -> None:
    """Stale keys are not trusted for longer than was said, although Redis may still have them."""
    source = CountedSource(OLD, fresh_seconds=0.1)
    options = {"cooldown_seconds": 0.05, "stale_if_error_seconds": 0.1}
    async with fleet(redis_server.url, source, 2, **options) as (one, other):
        await one.fetch(None)
        redis_server.command("PERSIST", KEY)
        await asyncio.sleep(0.25)
        source.is_down = True
        with pytest.raises(BackendUnavailable):
            await other.fetch(None)


async def test_whoever_holds_the_lease_and_is_killed_is_replaced(
    redis_server: RedisServer,
) -> None:
    """Its lease runs out, and one of those who wait fetches."""
    hanging = await asyncio.create_subprocess_exec(sys.executable, "-c", HANGING, redis_server.url)
    source = CountedSource(OLD)
    try:
        await until("it fetches", lambda: bool(redis_server.command("HEXISTS", KEY, "lease")))
    finally:
        os.kill(hanging.pid, signal.SIGKILL)
        await hanging.wait()
    begun = time.monotonic()
    async with fleet(redis_server.url, source, 5, fetch_timeout_seconds=0.5) as workers:
        documents = await asyncio.gather(*(worker.fetch(None) for worker in workers))
        assert sum(worker.stats()["lease_lapsed_total"] for worker in workers) >= 1
    assert [keys_of(document.body) for document in documents] == [OLD] * 5
    assert source.requests == 1
    assert time.monotonic() - begun < 3


async def test_a_cancelled_fetch_gives_the_lease_back(redis_server: RedisServer) -> None:
    """Another need not wait until it has run out."""
    hanging, source = CountedSource(OLD), CountedSource(NEW)
    hanging.seconds = 600
    async with (
        sharing(redis_server.url, hanging) as one,
        sharing(redis_server.url, source) as other,
    ):
        task = asyncio.create_task(one.fetch(None))
        await until("it asks", lambda: hanging.requests > 0)
        task.cancel()
        begun = time.monotonic()
        assert keys_of((await other.fetch(None)).body) == NEW
        assert time.monotonic() - begun < 1
        await asyncio.wait([task])
        assert task.cancelled()


async def test_a_document_that_comes_too_late_is_not_published(redis_server: RedisServer) -> None:
    """Once another process has fetched, the former one's answer is for itself alone."""
    late, source = CountedSource(OLD), CountedSource(NEW)
    late.seconds = 0.3
    async with (
        sharing(redis_server.url, late) as one,
        sharing(redis_server.url, source) as other,
        sharing(redis_server.url, source) as third,
    ):
        task = asyncio.create_task(one.fetch(None))
        await until("it asks", lambda: late.requests > 0)
        redis_server.command("HSET", KEY, "lease", "1")  # as if it had run out
        await other.fetch(None)
        assert keys_of((await task).body) == OLD
        assert one.stats()["unshared_total"] == 1
        assert keys_of((await third.fetch(None)).body) == NEW
    assert source.requests == 1


async def test_after_a_flush_a_late_document_is_not_published(redis_server: RedisServer) -> None:
    """What the server has forgotten, nobody holds."""
    source = CountedSource(OLD)
    source.seconds = 0.2
    async with sharing(redis_server.url, source) as one:
        task = asyncio.create_task(one.fetch(None))
        await until("it asks", lambda: source.requests > 0)
        redis_server.command("FLUSHALL")
        assert keys_of((await task).body) == OLD
        assert not redis_server.command("EXISTS", KEY)
        again = await one.fetch(None)
        redis_server.command("SCRIPT", "FLUSH")
        assert (await one.fetch(None)).body == again.body
    assert source.requests == 2


async def test_without_redis_each_process_asks_by_itself(redis_server: RedisServer) -> None:
    """Frozen or gone, it costs the time of a call, and no fetch."""
    source = CountedSource(OLD)
    async with fleet(redis_server.url, source, 2, timeout_seconds=0.2) as workers:
        redis_server.freeze()
        for worker in workers:
            begun = time.monotonic()
            assert keys_of((await worker.fetch(None)).body) == OLD
            assert time.monotonic() - begun < 1
        redis_server.thaw()
    assert source.requests == 2
    assert [worker.stats()["direct_total"] for worker in workers] == [1, 1]


async def test_an_older_set_in_redis_does_not_replace_one_had_without_it(
    redis_server: RedisServer,
) -> None:
    """When Redis comes back, what it has may be older than what a process has."""
    source = CountedSource(OLD)
    options = {"cooldown_seconds": 0.3, "timeout_seconds": 0.2}
    async with fleet(redis_server.url, source, 2, **options) as (one, other):
        await one.fetch(None)
        redis_server.freeze()
        source.published = NEW
        own = await other.fetch(None)
        redis_server.thaw()
        assert keys_of((await other.fetch(own)).body) == NEW
