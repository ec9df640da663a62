"""Servers that change, stand still or begin anew while a key set is shared."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import pytest

from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument
from authkit_redis.shared_keys.source import RedisKeySource
from tests.redis.sentinels import SentinelTopology
from tests.redis.servers import RedisServer
from tests.redis.shared_keys import KEY, NEW, OLD, CountedSource, sharing
from tests.redis.stores import elsewhere, until

pytestmark = [pytest.mark.anyio, pytest.mark.full]

WORKER = """
import asyncio, sys
from tests.redis.shared_keys import CountedSource, sharing
async def worker(url):
    source = CountedSource({"keys": []})
    source.seconds = 0.2
    async with sharing(url, source) as shared:
        await shared.fetch(None)
    return source.requests
async def main():
    requests = await asyncio.gather(*(worker(sys.argv[1]) for _ in range(10)))
    sys.stdout.write(str(sum(requests)))
asyncio.run(main())
"""


async def test_workers_in_five_processes_ask_the_provider_once(redis_server: RedisServer) -> None:
    """Ten in each, started at once."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, redis_server.url, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(5)
    ]
    said = [await process.communicate() for process in processes]
    assert sum(int(output) for output, _ in said) == 1


async def test_a_server_that_stands_still_meanwhile_holds_nobody(redis_server: RedisServer) -> None:
    """Who waits asks by itself, and who fetches keeps what it has; later all share again."""
    source = CountedSource(OLD, fresh_seconds=0.1)
    source.seconds = 0.3
    options = {"cooldown_seconds": 0.1, "timeout_seconds": 0.25, "fetch_timeout_seconds": 1.0}
    async with (
        sharing(redis_server.url, source, **options) as one,
        sharing(redis_server.url, source, **options) as other,
    ):
        fetches = [asyncio.create_task(shared.fetch(None)) for shared in (one, other)]
        await until("one asks", lambda: source.requests == 1)
        await asyncio.sleep(0.1)
        begun = time.monotonic()
        redis_server.freeze()
        documents = await asyncio.gather(*fetches)
        redis_server.thaw()
        assert time.monotonic() - begun < 2
        assert [json.loads(document.body) for document in documents] == [OLD, OLD]
        assert source.requests == 2
        await asyncio.sleep(2.1)  # what could not be given back has run out
        source.published = NEW
        again = await asyncio.gather(*map(_refetched, (one, other), documents))
        assert again == [NEW, NEW]
        assert source.requests == 3


async def _refetched(shared: RedisKeySource, document: KeySetDocument) -> object:
    return json.loads((await shared.fetch(document)).body)


async def test_a_server_that_dies_and_begins_empty_is_used_again(
    own_redis_server: RedisServer,
) -> None:
    """Meanwhile each process asks by itself, and afterwards one for all."""
    source = CountedSource(OLD)
    async with (
        sharing(own_redis_server.url, source) as one,
        sharing(own_redis_server.url, source) as other,
    ):
        await one.fetch(None)
        own_redis_server.kill()
        assert json.loads((await other.fetch(None)).body) == OLD
        assert source.requests == 2
        await elsewhere(own_redis_server.restart)

        async def is_published() -> bool:
            await one.fetch(None)
            return bool(own_redis_server.command("HEXISTS", KEY, "record"))

        await until("it is shared again", is_published)
        asked = source.requests
        assert json.loads((await one.fetch(None)).body) == OLD
        assert source.requests == asked


async def test_after_a_failover_nothing_older_is_taken(sentinels: SentinelTopology) -> None:
    """The new master has the record, or an older one that is refused by who knows the newer."""
    source = CountedSource(OLD)
    async with (
        sharing(sentinels.url, source, cooldown_seconds=0.2) as one,
        sharing(sentinels.url, source, cooldown_seconds=0.2) as other,
    ):
        first = await one.fetch(None)
        older = sentinels.master.command("HGET", KEY, "record")
        await asyncio.sleep(0.2)
        source.published = NEW
        second = await one.fetch(first)
        master = await elsewhere(sentinels.failover)
        master.command("HSET", KEY, "record", older)  # as if the last write had not got there

        async def is_shared() -> bool:
            try:
                assert json.loads((await one.fetch(second)).body) == NEW
                assert json.loads((await other.fetch(None)).body) in (OLD, NEW)
            except BackendUnavailable:
                return False
            return bool(master.command("HGET", KEY, "record") != older)

        await until("the newer is published", is_shared, timeout_seconds=20)
