"""A fleet asks its provider once in a period, and all of it has the answer."""

from __future__ import annotations

import asyncio
import time

import pytest

from authkit.errors import ConfigurationError
from tests.redis.servers import RedisServer
from tests.redis.shared_keys import KEY, NEW, OLD, CountedSource, fleet, keys_of, providers, sharing
from tests.redis.stores import until

pytestmark = pytest.mark.anyio

WORKERS = 50


class OtherClock:
    """Of a machine that is not quite right."""

    def __init__(self, ahead_seconds: float) -> None:
        self._ahead_seconds = ahead_seconds

    def time(self) -> float:
        return time.time() + self._ahead_seconds

    def monotonic(self) -> float:
        return time.monotonic()


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


async def test_clocks_that_are_minutes_apart_are_no_matter(redis_server: RedisServer) -> None:
    """Ages are by the server's clock, and each process reckons from there by its own."""
    source = CountedSource(OLD)
    for minutes in (0, -30, 30, 0):
        clock = OtherClock(minutes * 60)
        async with sharing(redis_server.url, source, clock=clock) as shared:
            document = await shared.fetch(None)
            assert 0 <= clock.time() - document.fetched_at < 5
            assert shared.stats()["refused_total"] == 0
    assert source.requests == 1


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
