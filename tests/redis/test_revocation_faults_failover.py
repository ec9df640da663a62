"""Another server takes over, perhaps one that lags: what was acknowledged is kept."""

from __future__ import annotations

import asyncio
import struct
import time
from contextlib import suppress
from pathlib import Path

import hiredis
import pytest

from authkit.errors import BackendUnavailable
from authkit_redis import RedisRevocationStore
from authkit_redis.revocations.digests import Digests
from authkit_redis.revocations.entries import entry_of, pack_id
from authkit_redis.revocations.keys import RevocationKeys
from tests.redis.cluster import RedisCluster
from tests.redis.machine import ServerError
from tests.redis.proxy import Proxy
from tests.redis.sentinels import SERVICE, SentinelTopology
from tests.redis.servers import RedisServer
from tests.redis.stores import (
    LIVE,
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

pytestmark = [pytest.mark.anyio, pytest.mark.full]

KEYS = RevocationKeys(PREFIX)
LOG = KEYS.log.decode()


async def are_revoked(store: RedisRevocationStore, numbers: list[int]) -> bool:
    return await verdicts(store, numbers) == {REVOKED}


async def assert_that_all_know(url: str, numbers: list[int], *stores: RedisRevocationStore) -> None:
    """All stores, one that begins now, and Redis itself, in good time and with nobody's help."""
    await asyncio.sleep(STALENESS)  # from then on it is promised
    for store in stores:
        await until("fresh again", lambda: store.is_fresh, timeout_seconds=20)  # noqa: B023
        assert await verdicts(store, numbers) == {REVOKED}
        assert await verdict(store, "another") == LIVE
    async with opened(url) as later, asking(url) as direct:
        assert await later.wait_until_fresh(10)
        assert await verdicts(later, numbers) == {REVOKED}
        await until("redis has all", lambda: are_revoked(direct, numbers))


class Revoking:
    """Revokes one token after another, and keeps the numbers of those that were acknowledged."""

    def __init__(self, store: RedisRevocationStore) -> None:
        self._store = store
        self.acknowledged: list[int] = []
        self.refused = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Revoking:
        self._task = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _go_on(self) -> None:
        number = 1_000
        while True:
            number += 1
            try:
                await self._store.revoke(revocation(number))
            except BackendUnavailable:
                self.refused += 1
            else:
                self.acknowledged.append(number)
            await asyncio.sleep(0.01)


def swap_roles(sentinels: SentinelTopology) -> None:
    """Has Sentinel fail over with nobody killed; one that was given up is asked for again."""
    old = sentinels.master
    for _ in range(3):
        with suppress(hiredis.ReplyError):  # it is under way
            sentinels.sentinels[0].command("SENTINEL", "FAILOVER", SERVICE)
        with suppress(ServerError):
            sentinels.wait_for_new_master(old, timeout_seconds=8)
            return
    logs = "\n".join(sentinel.log[-3_000:] for sentinel in sentinels.sentinels)
    pytest.fail(f"the Sentinels did not fail over:\n{logs}")


class TestSentinels:
    """A master that is lost, and the replica that the Sentinels promote."""

    @pytest.mark.parametrize("harm", ["kill", "freeze"])
    async def test_a_failover_loses_nothing(self, sentinels: SentinelTopology, harm: str) -> None:
        """What was acknowledged before and meanwhile is kept, and it works again by itself."""
        async with opened(sentinels.url) as one, opened(sentinels.url) as other:
            await revoke(one, range(50))
            await until("known", lambda: are_revoked(other, list(range(50))))
            async with Watch((one, other), range(5)) as watch, Revoking(one) as revoking:
                old = await elsewhere(lambda: sentinels.master)
                getattr(old, harm)()
                await elsewhere(lambda: sentinels.wait_for_new_master(old))
                so_far = len(revoking.acknowledged)
                await until("revoking again", lambda: len(revoking.acknowledged) > so_far + 5)
            assert watch.said() == {REVOKED}
            assert revoking.refused
            await assert_that_all_know(
                sentinels.url, [*range(50), *revoking.acknowledged], one, other
            )
            old.thaw()

    async def test_an_orderly_failover_loses_nothing(self, sentinels: SentinelTopology) -> None:
        """Roles are swapped while revocations go on.

        The old master hears of it a second later than the new one, and goes on until then: who
        promises less than some seconds with Sentinels must bring them to be faster.
        """
        seconds = 3.0
        async with (
            opened(sentinels.url, max_staleness_seconds=seconds) as one,
            opened(sentinels.url, max_staleness_seconds=seconds) as other,
        ):
            async with Revoking(one) as revoking:
                await until("under way", lambda: len(revoking.acknowledged) > 5)
                await elsewhere(lambda: swap_roles(sentinels))
                so_far = len(revoking.acknowledged)
                await until(
                    "revoking again",
                    lambda: len(revoking.acknowledged) > so_far + 5,
                    timeout_seconds=20,
                )
            await asyncio.sleep(seconds)
            await assert_that_all_know(sentinels.url, revoking.acknowledged, one, other)


class TestCluster:
    """The master of the slot is another one."""

    async def test_a_failover_of_the_slot_loses_nothing(self, cluster: RedisCluster) -> None:
        """What was acknowledged before and meanwhile is kept, and it works again by itself."""
        async with opened(cluster.url) as one, opened(cluster.url) as other:
            await revoke(one, range(50))
            await until("known", lambda: are_revoked(other, list(range(50))))
            async with Watch((one, other), range(5)) as watch, Revoking(one) as revoking:
                old = await elsewhere(lambda: cluster.kill_master_of(LOG))
                await elsewhere(lambda: cluster.wait_for_new_master(old))
                so_far = len(revoking.acknowledged)
                await until("revoking again", lambda: len(revoking.acknowledged) > so_far + 5)
            assert watch.said() == {REVOKED}
            await assert_that_all_know(
                cluster.url, [*range(50), *revoking.acknowledged], one, other
            )

    async def test_an_orderly_failover_loses_nothing(self, cluster: RedisCluster) -> None:
        """Roles are swapped while revocations go on."""
        async with opened(cluster.url) as one, opened(cluster.url) as other:
            async with Revoking(one) as revoking:
                await until("under way", lambda: len(revoking.acknowledged) > 5)
                await elsewhere(lambda: cluster.failover(LOG))
                so_far = len(revoking.acknowledged)
                await until("revoking again", lambda: len(revoking.acknowledged) > so_far + 5)
            await assert_that_all_know(cluster.url, revoking.acknowledged, one, other)

    async def test_a_slot_that_moves_loses_nothing(self, cluster: RedisCluster) -> None:
        """Half way (ASK) and afterwards (MOVED) every answer is right, or there is none."""
        async with opened(cluster.url) as one, opened(cluster.url) as other:
            await revoke(one, range(20))
            await until("known", lambda: are_revoked(other, list(range(20))))
            async with Watch((one, other), range(5)) as watch, Revoking(one) as revoking:
                target = await elsewhere(lambda: cluster.begin_move(LOG))
                await asyncio.sleep(0.3)
                await elsewhere(lambda: cluster.finish_move(LOG, target))
                so_far = len(revoking.acknowledged)
                await until("revoking again", lambda: len(revoking.acknowledged) > so_far + 5)
            assert watch.said() == {REVOKED}
            await assert_that_all_know(
                cluster.url, [*range(20), *revoking.acknowledged], one, other
            )


@pytest.mark.parametrize("late", [0, 1, 10])
async def test_a_promoted_replica_that_lags_gets_what_it_lacks(
    redis_binary: Path, late: int
) -> None:
    """A real replica that got only the first of them; some more are made on it at once."""
    at_once = ("--repl-diskless-sync-delay", "0")
    with RedisServer(redis_binary, *at_once) as old, RedisServer(redis_binary, *at_once) as new:
        async with (
            Proxy(old.port) as proxy,
            opened(proxy.url) as one,
            opened(proxy.url) as other,
            asking(new.url) as stranger,
        ):
            await revoke(one, range(10))
            new.command("REPLICAOF", "127.0.0.1", old.port)
            await until("in step", lambda: new.command("XLEN", KEYS.log) == 10)
            new.command("REPLICAOF", "NO", "ONE")
            await revoke(one, range(10, 20))
            await until("known", lambda: are_revoked(other, list(range(20))))
            await revoke(stranger, range(100, 100 + late))
            async with Watch((one, other), range(20)) as watch:
                old.kill()
                proxy.target = new.port
                proxy.hang_up()
                await until("found out", lambda: one.stats()["resyncs_total"] > 1)
                await until("written back", lambda: new.command("XLEN", KEYS.log) >= 20 + late)
            assert watch.said() == {REVOKED}
            await assert_that_all_know(proxy.url, [*range(20), *range(100, 100 + late)], one, other)


@pytest.mark.parametrize("slower_by", [0, 1, 3_600_000], ids=lambda ms: f"{ms} ms")
@pytest.mark.parametrize("late", [0, 1, 30])
async def test_a_log_from_the_past_under_a_slower_clock_is_found_out(
    redis_server: RedisServer, late: int, slower_by: int
) -> None:
    """The log and the head are those of before, and the ids of new entries are ones of the past.

    So the end of the log may be one that the replica was at, before or after its own position.
    """
    digests = Digests(None)
    async with opened(redis_server.url) as one, opened(redis_server.url) as other:
        await revoke(one, range(10))
        await asyncio.sleep(0.01)
        dumps = {
            name: redis_server.command("DUMP", name) for name in redis_server.command("KEYS", "*")
        }
        last = redis_server.command("XINFO", "STREAM", KEYS.log)
        end: bytes = dict(zip(last[::2], last[1::2], strict=True))[b"last-generated-id"]
        await asyncio.sleep(0.01)
        await revoke(one, range(10, 20))
        await until("known", lambda: are_revoked(other, list(range(20))))
        words: list[tuple[str | bytes | int, ...]] = [("FLUSHALL",)]
        words += [("RESTORE", name, 0, dump) for name, dump in dumps.items()]
        now = int(time.time() * 1000)
        for number in range(late):
            given = revocation(100 + number)
            entry = entry_of(given, digests.hash(given.scope, given.issuer, given.id))
            payload = entry.what + struct.pack(">I", now // 1000 + 300) + pack_id(end)
            # Of a clock that is behind; but ids in a stream only grow.
            milliseconds, sequence = map(int, end.split(b"-"))
            end = b"%d-%d" % max((milliseconds, sequence + 1), (now - slower_by, 0))
            words.append(("XADD", KEYS.log, end, "v", payload + now.to_bytes(6, "big")))
        async with Watch((one, other), range(20)) as watch:
            with redis_server.connect() as connection:
                connection.command("MULTI")
                for command in words:
                    connection.command(*command)
                assert not any(isinstance(each, Exception) for each in connection.command("EXEC"))
            await until("found out", lambda: one.stats()["resyncs_total"] > 1)
            await until("written back", lambda: redis_server.command("XLEN", KEYS.log) >= 20 + late)
        assert watch.said() == {REVOKED}
        numbers = [*range(20), *range(100, 100 + late)]
        await until("known", lambda: are_revoked(one, numbers))
        await until("known to the other", lambda: are_revoked(other, numbers))
        async with opened(redis_server.url) as later:
            assert await later.wait_until_fresh(10)
            assert await verdicts(later, numbers) == {REVOKED}
            assert await verdict(later, "another") == LIVE
        await revoke_at_last(one, "afterwards")
        await until("heard", lambda: are_revoked(other, ["afterwards"]))
