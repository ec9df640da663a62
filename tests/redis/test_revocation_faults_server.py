"""A server that dies, hangs, forgets or refuses to write: no revocation is lost, none is missed.

Each store here has a link of its own, as if in a process of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from authkit.errors import BackendUnavailable
from authkit_redis import RedisRevocationStore
from authkit_redis.revocations.keys import RevocationKeys
from tests.redis.servers import RedisServer, free_port
from tests.redis.stores import (
    LIVE,
    NO_PROOF,
    PREFIX,
    REVOKED,
    STALENESS,
    Watch,
    asking,
    elsewhere,
    opened,
    revocation,
    revoke,
    revoke_at_last,
    until,
    verdict,
    verdicts,
)

pytestmark = pytest.mark.anyio

KEYS = RevocationKeys(PREFIX)
SLACK_SECONDS = 1.0
"""What a shared machine may take for what is done at once."""


def restart(server: RedisServer) -> None:
    server.restart()


def flush(server: RedisServer) -> None:
    server.command("FLUSHALL")


def delete_the_log(server: RedisServer) -> None:
    server.command("DEL", KEYS.log)


def delete_all_but_the_head(server: RedisServer) -> None:
    names = [name for name in server.command("KEYS", "*") if name != KEYS.head]
    server.command("DEL", *names)


@pytest.mark.parametrize(
    "loss",
    [restart, flush, delete_the_log, delete_all_but_the_head],
    ids=lambda loss: loss.__name__,
)
@pytest.mark.parametrize("was_empty", [True, False], ids=["from the first", "later"])
async def test_what_the_server_loses_is_written_back(
    own_redis_server: RedisServer, loss: Callable[[RedisServer], None], was_empty: bool
) -> None:
    """Whoever knew of a revocation refuses all along, and a process that begins later sees all."""
    url = own_redis_server.url
    if not was_empty:
        async with asking(url) as before:
            await revoke(before, range(100, 110))
    async with opened(url) as one, opened(url) as other:
        await revoke(one, range(20))
        await until("known in both", lambda: knows(other, 20 + 10 * (not was_empty)))
        async with Watch((one, other), range(5)) as watch:
            await elsewhere(loss, own_redis_server)
            await until("found out", lambda: one.stats()["resyncs_total"] > 1)
            await until("trusted again", lambda: one.is_fresh and other.is_fresh)
            await until("the log is whole", lambda: is_whole(own_redis_server, one))
        assert watch.said() == {REVOKED}
        async with opened(url) as later:
            assert await later.wait_until_fresh(10)
            assert await verdicts(later, range(20)) == {REVOKED}
            assert await verdict(later, "another") == LIVE
        async with asking(url) as direct:
            assert await verdicts(direct, range(20)) == {REVOKED}
            await until("settled", lambda: is_live(direct, "another"))


def knows(store: RedisRevocationStore, entries: int) -> bool:
    return store.stats()["entries"] == entries


async def is_live(store: RedisRevocationStore, number: int | str) -> bool:
    return await verdict(store, number) == LIVE


def is_whole(server: RedisServer, store: RedisRevocationStore) -> bool:
    return bool(server.command("XLEN", KEYS.log) >= store.stats()["entries"])


@pytest.mark.full
async def test_a_frozen_server_is_stale_within_the_bound(own_redis_server: RedisServer) -> None:
    """From the bound on nobody is let in, every call ends in time, and it mends by itself."""
    async with opened(own_redis_server.url) as store:
        changes: list[str] = []
        store.observe(lambda change: changes.append(change.new))
        await revoke(store, [1])
        own_redis_server.freeze()
        frozen_at = time.monotonic()
        async with Watch([store], ["another"]) as live, Watch([store], [1]) as revoked:
            began = time.monotonic()
            with pytest.raises(BackendUnavailable):
                await store.revoke(revocation(2))
            assert time.monotonic() - began < 1 + SLACK_SECONDS  # its timeout_seconds
            await asyncio.sleep(2 * STALENESS)
        assert not store.is_fresh
        assert changes == ["stale"]
        assert live.said(since=frozen_at + STALENESS) == {NO_PROOF}
        assert live.longest < 0.1 + SLACK_SECONDS
        assert revoked.said() == {REVOKED}  # a positive answer of its own needs no proof
        own_redis_server.thaw()
        await until("fresh again", lambda: store.is_fresh)
        await until("reported", lambda: changes == ["stale", "available"])
        assert await verdict(store, "another") == LIVE
        assert await verdict(store, 1) == REVOKED


@pytest.mark.full
async def test_a_killed_server_is_stale_within_the_bound(own_redis_server: RedisServer) -> None:
    """A server that is gone is answered for no longer than one that is frozen."""
    async with opened(own_redis_server.url) as store:
        await revoke(store, [1])
        own_redis_server.kill()
        killed_at = time.monotonic()
        async with Watch([store], ["another"]) as live:
            await asyncio.sleep(3 * STALENESS)
        assert live.said(since=killed_at + STALENESS) == {NO_PROOF}
        assert await verdict(store, 1) == REVOKED
        own_redis_server.start()
        await until("fresh again", lambda: store.is_fresh)
        assert await verdict(store, "another") == LIVE


async def test_a_store_may_begin_before_its_server(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Entered without a server it says so, answers for nobody, and begins when there is one."""
    own_redis_server.kill()
    async with opened(own_redis_server.url) as store:
        assert "begins without Redis" in caplog.text
        assert await verdict(store, 1) == NO_PROOF
        await elsewhere(own_redis_server.start)
        assert await store.wait_until_fresh(10)
        assert await verdict(store, 1) == LIVE


async def test_no_revocation_falls_into_the_gap_of_a_lost_connection(
    redis_server: RedisServer,
) -> None:
    """Twenty times all connections are killed and something is revoked before they are back."""
    async with opened(redis_server.url) as one, opened(redis_server.url) as other:
        for number in range(20):
            redis_server.command("CLIENT", "KILL", "TYPE", "normal")
            await revoke_at_last(one, number)
            assert await verdict(one, number) == REVOKED
        await until("all known", lambda: knows(other, 20))
        assert await verdicts(other, range(20)) == {REVOKED}
        assert other.stats()["forks_total"] == 0


async def test_each_killed_connection_alone_is_replaced(redis_server: RedisServer) -> None:
    """Killing one after the other, of heartbeats and of tails, stops neither."""
    async with opened(redis_server.url) as one, opened(redis_server.url) as other:
        for number in range(20):
            ids = [
                line.split()[0].removeprefix("id=")
                for line in redis_server.command("CLIENT", "LIST").decode().splitlines()
                if "cmd=client" not in line
            ]
            redis_server.command("CLIENT", "KILL", "ID", ids[number % len(ids)])
            await revoke_at_last(one, number)
            await until("known", lambda: knows(other, number + 1))  # noqa: B023


async def test_a_flush_of_the_scripts_is_not_noticed(redis_server: RedisServer) -> None:
    """Scripts are sent again where the server has forgotten them."""
    async with opened(redis_server.url) as one, asking(redis_server.url) as direct:
        await revoke(one, [1])
        assert await verdict(direct, 1) == REVOKED
        failures = one.stats()["replica_failures_total"]
        for number in range(2, 6):
            redis_server.command("SCRIPT", "FLUSH")
            await revoke(one, [number])
            redis_server.command("SCRIPT", "FLUSH")
            assert await verdict(direct, number) == REVOKED
        await until("fresh", lambda: one.is_fresh)
        assert one.stats()["replica_failures_total"] == failures
        assert one.stats()["link_disconnects_total"] == 0


@pytest.mark.full
async def test_a_server_that_became_a_replica_proves_nothing(redis_server: RedisServer) -> None:
    """READONLY: no receipt, and nobody is let in, until it is a master again; nothing is lost."""
    async with opened(redis_server.url) as store:
        await revoke(store, range(5))
        redis_server.command("REPLICAOF", "127.0.0.1", free_port())
        demoted_at = time.monotonic()
        async with Watch([store], ["another"]) as live:
            with pytest.raises(BackendUnavailable):
                await store.revoke(revocation(9))
            await asyncio.sleep(2 * STALENESS)
        assert live.said(since=demoted_at + STALENESS) == {NO_PROOF}
        async with asking(redis_server.url) as direct:
            assert await verdict(direct, "another") == NO_PROOF
        redis_server.command("REPLICAOF", "NO", "ONE")
        await until("fresh again", lambda: store.is_fresh)
        assert await verdicts(store, range(5)) == {REVOKED}
        assert await verdict(store, "another") == LIVE
        await revoke_at_last(store, 9)


async def test_a_server_without_enough_replicas_gives_no_receipt(
    redis_server: RedisServer,
) -> None:
    """NOREPLICAS: what cannot be kept as the operator wants it is not acknowledged."""
    async with opened(redis_server.url) as store:
        await revoke(store, [1])
        redis_server.command("CONFIG", "SET", "min-replicas-to-write", "1")
        with pytest.raises(BackendUnavailable):
            await store.revoke(revocation(2))
        assert await verdict(store, 1) == REVOKED
        redis_server.command("CONFIG", "SET", "min-replicas-to-write", "0")
        await revoke_at_last(store, 2)


async def test_a_server_that_loads_its_data_is_waited_for(own_redis_server: RedisServer) -> None:
    """Restarted with its data it has all of it, and nothing needs to be written back."""
    async with opened(own_redis_server.url) as store:
        await revoke(store, range(10))
        await elsewhere(lambda: own_redis_server.restart(empty=False))
        await until("found out", lambda: store.stats()["resyncs_total"] > 1)
        await until("fresh again", lambda: store.is_fresh)
        assert await verdicts(store, range(10)) == {REVOKED}
        assert await verdict(store, "another") == LIVE
