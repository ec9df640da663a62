"""A fleet asks its provider once, whoever dies meanwhile, and begins while it is down."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.jose.signing import SigningKey
from authkit_redis.key_provider import RedisKeyProvider
from authkit_redis.link import open_link
from authkit_redis.shared_keys.source import RedisKeySource
from tests.redis.servers import RedisServer
from tests.redis.shared_keys import ADDRESS, ISSUER, KEY, PREFIX, SECRET, CountedSource, sharing
from tests.redis.stores import until

pytestmark = pytest.mark.anyio

OLD = {"keys": [SigningKey.generate("ES256", kid="old").public_jwk()]}
NEW = {"keys": [SigningKey.generate("ES256", kid="new").public_jwk()]}
WORKERS = 50

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


def keys_of(body: bytes) -> Any:
    """What was published."""
    return json.loads(body)


@asynccontextmanager
async def fleet(
    url: str, source: CountedSource, count: int, **options: Any
) -> AsyncIterator[list[RedisKeySource]]:
    """So many processes, each with a link of its own."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(sharing(url, source, **options)) for _ in range(count)
        ]


@asynccontextmanager
async def providers(
    url: str, source: CountedSource, count: int, **options: Any
) -> AsyncIterator[list[RedisKeyProvider]]:
    """The same with providers, which are not entered, so that they fetch when they are asked."""
    given = {"issuer": ISSUER, "address": ADDRESS, "prefix": PREFIX, "secret": SECRET, **options}
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(open_link(url)) for _ in range(count)]
        yield [RedisKeyProvider(link, source, **given) for link in links]


async def test_fifty_workers_that_start_at_once_ask_the_provider_once(
    redis_server: RedisServer,
) -> None:
    """Each gets the set, whoever it was that fetched it."""
    source = CountedSource(OLD)
    source.seconds = 0.1
    async with fleet(redis_server.url, source, WORKERS) as workers:
        documents = await asyncio.gather(*(worker.fetch(None) for worker in workers))
    assert source.requests == 1
    assert [keys_of(document.body) for document in documents] == [OLD] * WORKERS
    assert max(abs(document.fetched_at - documents[0].fetched_at) for document in documents) < 1


async def test_a_refresh_of_fifty_workers_asks_the_provider_once(
    redis_server: RedisServer,
) -> None:
    """Who refreshes for age takes a set that another has fetched meanwhile, in full."""
    source = CountedSource(OLD, fresh_seconds=0.6)
    async with fleet(redis_server.url, source, WORKERS, cooldown_seconds=0.2) as workers:
        documents = await asyncio.gather(*(worker.fetch(None) for worker in workers))
        await asyncio.sleep(0.5)
        source.published = NEW
        again = await asyncio.gather(
            *(worker.fetch(first) for worker, first in zip(workers, documents, strict=True))
        )
    assert source.requests == 2
    assert [keys_of(document.body) for document in again] == [NEW] * WORKERS


async def test_unknown_key_ids_cost_one_request_of_the_whole_fleet(
    redis_server: RedisServer,
) -> None:
    """Within the cooldown nobody asks; after it one does, and all find the key."""
    source = CountedSource(OLD)
    async with providers(redis_server.url, source, 10, cooldown_seconds=0.5) as fleet:
        for _ in range(3):
            found = await asyncio.gather(*(one.find("new", "ES256") for one in fleet))
            assert found == [()] * len(fleet)
        assert source.requests == 1
        await asyncio.sleep(0.55)
        source.published = NEW
        found = await asyncio.gather(*(one.find("new", "ES256") for one in fleet))
    assert all(len(keys) == 1 for keys in found)
    assert source.requests == 2
    assert sum(one.stats()["shared_provider_requests_total"] for one in fleet) == 2
    assert sum(one.stats()["shared_shared_total"] for one in fleet) >= 18


async def test_within_the_cooldown_a_set_is_confirmed_without_asking(
    redis_server: RedisServer,
) -> None:
    """Whoever misses a key gets the set again, as of when the provider was asked for it."""
    source = CountedSource(OLD)
    async with fleet(redis_server.url, source, 2) as (one, other):
        first = await one.fetch(None)
        for shared in (one, other):
            again = await shared.fetch(first)
            assert again.body == first.body
            assert again.fetched_at == pytest.approx(first.fetched_at, abs=1)
    assert source.requests == 1


async def test_a_missing_key_is_not_denied_by_a_set_that_is_older_than_the_cooldown(
    redis_server: RedisServer,
) -> None:
    """Another worker's set is newer than one's own, but does not tell of now."""
    source = CountedSource(OLD)
    async with fleet(redis_server.url, source, 2, cooldown_seconds=0.3) as (one, other):
        first = await one.fetch(None)
        await asyncio.sleep(0.31)
        await other.fetch(await other.fetch(None))  # a set newer than `first`
        await asyncio.sleep(0.31)
        source.published = NEW
        assert keys_of((await one.fetch(first)).body) == NEW
    assert source.requests == 3


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


async def test_a_fetch_that_takes_longer_than_the_cooldown_is_shared(
    redis_server: RedisServer,
) -> None:
    """Who has waited for it takes it, old as it is by then."""
    source = CountedSource(OLD, fresh_seconds=0.1)
    source.seconds = 0.4
    async with fleet(redis_server.url, source, 10, cooldown_seconds=0.1) as workers:
        await asyncio.gather(*(worker.fetch(None) for worker in workers))
    assert source.requests == 1


async def test_a_new_process_does_not_wait_for_another_that_fetches(
    redis_server: RedisServer,
) -> None:
    """It begins with the set there is; one that has keys waits for the newer."""
    source = CountedSource(OLD, fresh_seconds=0.1)
    async with fleet(redis_server.url, source, 2, cooldown_seconds=0.05) as (one, other):
        first = await one.fetch(None)
        await asyncio.sleep(0.15)
        source.published, source.seconds = NEW, 0.5
        fetch = asyncio.create_task(one.fetch(first))
        await until("it asks", lambda: source.requests == 2)
        assert keys_of((await other.fetch(None)).body) == OLD
        assert not fetch.done()
        assert keys_of((await fetch).body) == NEW
    assert source.requests == 2


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


async def test_whoever_waits_never_takes_the_lease(redis_server: RedisServer) -> None:
    """While one fetches, the name of its attempt stays the only one."""
    source = CountedSource(OLD)
    source.seconds = 0.4
    async with fleet(redis_server.url, source, 10) as workers:
        fetches = [asyncio.create_task(worker.fetch(None)) for worker in workers]
        await asyncio.sleep(0.1)
        owners = set()
        while redis_server.command("HEXISTS", KEY, "lease"):
            owners.add(redis_server.command("HGET", KEY, "owner"))
            await asyncio.sleep(0.01)
        await asyncio.gather(*fetches)
    assert len(owners) == 1


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


async def test_the_source_is_asked_with_the_newest_set_there_is(redis_server: RedisServer) -> None:
    """A server that answers 'not modified' to what any process has need not send it again."""
    source = CountedSource(OLD, fresh_seconds=0.1)
    source.etag = '"1"'
    async with fleet(redis_server.url, source, 2, cooldown_seconds=0.05) as (one, other):
        await one.fetch(None)
        await asyncio.sleep(0.15)
        await other.fetch(None)
    assert source.previous is not None
    assert source.previous.etag == '"1"'
    assert keys_of(source.previous.body) == OLD


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


async def test_a_wrong_password_is_said_when_it_is_entered(redis_server: RedisServer) -> None:
    """It is a mistake, and no outage."""
    url = redis_server.url.replace("redis://", "redis://nobody:wrong@")
    with pytest.raises(ConfigurationError, match="keys: the Redis server refuses this user"):
        async with sharing(url, CountedSource(OLD)):
            pass


async def test_a_user_with_just_the_documented_rules_can_share(redis_server: RedisServer) -> None:
    """And one that lacks a command is told which."""
    commands = "evalsha eval time type hget hmget hset hdel pexpire pttl del".split()
    rules = ["~{test:keys:*", "resetchannels"]
    url = redis_server.add_user(
        "authkit", *rules, *(f"+{command}" for command in commands), password="s3cret"
    )
    source = CountedSource(OLD)
    async with fleet(url, source, 2) as workers:
        for worker in workers:
            await worker.fetch(None)
    assert source.requests == 1
    few = [f"+{command}" for command in commands if command != "pttl"]
    url = redis_server.add_user("lesser", *rules, *few, password="s3cret")
    with pytest.raises(ConfigurationError, match="may not run PTTL"):
        async with sharing(url, source):
            pass
