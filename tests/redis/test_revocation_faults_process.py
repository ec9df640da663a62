"""Clocks that jump, several event loops, and forks: each process and loop has its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from authkit_redis import RedisRevocationStore
from tests.redis.servers import RedisServer
from tests.redis.stores import (
    LIVE,
    NO_PROOF,
    REVOKED,
    STALENESS,
    Watch,
    asking,
    elsewhere,
    opened,
    revocation,
    revoke,
    until,
    verdict,
    verdicts,
)

pytestmark = pytest.mark.anyio

DAY = 86_400.0


class JumpingClock:
    """The machine's clock, with a wall clock that somebody sets."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()


class TestClocks:
    """The wall clock of one process jumps, and perhaps back again."""

    @pytest.mark.parametrize("seconds", [3600.0, 3 * DAY, -3600.0, -3 * DAY])
    async def test_a_jump_costs_no_revocation(
        self, redis_server: RedisServer, seconds: float
    ) -> None:
        """Known ones hold in this process and elsewhere, and it is fresh again by itself."""
        clock = JumpingClock()
        async with (
            opened(redis_server.url, clock=clock) as jumping,
            opened(redis_server.url) as steady,
        ):
            await revoke(steady, range(10))
            await until("known", lambda: jumping.stats()["entries"] == 10)
            async with Watch((jumping, steady), range(3)) as watch:
                clock.ahead = seconds
                await asyncio.sleep(STALENESS / 2)
                await until("fresh", lambda: jumping.is_fresh)
                assert await verdict(jumping, "another") == LIVE
                assert await verdicts(jumping, range(10)) == {REVOKED}
                redis_server.command("FLUSHALL")  # which both of them repair
                await until("found out", lambda: jumping.stats()["resyncs_total"] > 1)
                await until("fresh again", lambda: jumping.is_fresh and steady.is_fresh)
                clock.ahead = 0.0
                await asyncio.sleep(STALENESS / 2)
                await until("fresh at last", lambda: jumping.is_fresh)
            assert watch.said() == {REVOKED}
            async with opened(redis_server.url) as later:
                assert await later.wait_until_fresh(10)
                assert await verdicts(later, range(10)) == {REVOKED}

    @pytest.mark.parametrize("seconds", [3600.0, 3 * DAY, -3600.0, -3 * DAY])
    async def test_what_is_revoked_under_a_wrong_clock_is_revoked(
        self, redis_server: RedisServer, seconds: float
    ) -> None:
        """Everywhere, also by processes whose clock is right, and when it is set right again."""
        clock = JumpingClock()
        clock.ahead = seconds
        async with (
            opened(redis_server.url, clock=clock) as wrong,
            opened(redis_server.url) as right,
            asking(redis_server.url) as direct,
        ):
            await revoke(wrong, [1])
            await asyncio.sleep(STALENESS)
            assert await verdict(wrong, 1) == REVOKED
            assert await verdict(right, 1) == REVOKED
            assert await verdict(direct, 1) == REVOKED
            clock.ahead = 0.0
            await asyncio.sleep(STALENESS / 2)
            assert await verdict(wrong, 1) == REVOKED


class Elsewhere:
    """An event loop in a thread of its own, which ends as that of `asyncio.run` does."""

    def __enter__(self) -> Elsewhere:
        self._has_begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))
        self._thread.start()
        assert self._has_begun.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join(5)
        assert not self._thread.is_alive()

    async def _live(self) -> None:
        self._loop, self._ends = asyncio.get_running_loop(), asyncio.Event()
        self._has_begun.set()
        await self._ends.wait()

    async def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """The result of a coroutine function in that loop."""

        async def called() -> Any:
            return await call()

        future = asyncio.run_coroutine_threadsafe(called(), self._loop)
        return await asyncio.wrap_future(future)


class TestEventLoops:
    """One store that is used in two loops."""

    async def test_a_store_serves_two_loops(self, redis_server: RedisServer) -> None:
        """One follows the log, and both revoke and get right answers, each on its connection."""
        async with opened(redis_server.url) as store, opened(redis_server.url) as other:
            with Elsewhere() as there:
                await revoke(store, [1])
                assert await there.run(lambda: verdict(store, 1)) == REVOKED
                assert await there.run(lambda: verdict(store, "another")) == LIVE
                await there.run(lambda: store.revoke(revocation(2)))
                await asyncio.sleep(STALENESS)
                assert await verdict(store, 2) == REVOKED
                assert await verdict(other, 2) == REVOKED
                assert await there.run(lambda: store.wait_until_fresh(5))
            await revoke(store, [3])
            assert await verdicts(store, [1, 2, 3]) == {REVOKED}
            await until("fresh", lambda: store.is_fresh)

    @pytest.mark.full
    async def test_either_loop_may_wait_for_the_first_proof(
        self, own_redis_server: RedisServer
    ) -> None:
        """Also while the one that follows waits itself."""
        async with opened(own_redis_server.url) as store:
            own_redis_server.freeze()
            await until("stale", lambda: not store.is_fresh, timeout_seconds=5)
            with Elsewhere() as there:
                waiting = [
                    asyncio.ensure_future(store.wait_until_fresh(10)),
                    asyncio.ensure_future(there.run(lambda: store.wait_until_fresh(10))),
                ]
                await asyncio.sleep(STALENESS)
                assert await there.run(lambda: verdict(store, 1)) == NO_PROOF
                own_redis_server.thaw()
                assert await asyncio.gather(*waiting) == [True, True]

    async def test_a_loop_that_ends_takes_the_following_with_it(
        self, redis_server: RedisServer
    ) -> None:
        """Entered in a loop that is closed, it asks Redis, until it is entered again."""
        url = redis_server.url

        async def begin(store: RedisRevocationStore) -> None:
            await store.__aenter__()
            await revoke(store, [1])

        async with asking(url) as store:
            with Elsewhere() as there:
                await there.run(lambda: begin(store))
            await asyncio.sleep(STALENESS + 0.1)
            assert not store.is_fresh
            assert await verdict(store, 1) == REVOKED
            await until("asks Redis", lambda: _is_live(store, "another"))
            async with store:
                assert await store.wait_until_fresh(5)
                await revoke(store, [2])
                assert await verdict(store, 2) == REVOKED


async def _is_live(store: RedisRevocationStore, number: int | str) -> bool:
    return await verdict(store, number) == LIVE


_FORKING = """
import asyncio, json, os, sys
from tests.redis.stores import facts, opened, revocation, revoke, until, verdict

async def in_the_child(store):
    told = {"fresh": store.is_fresh, "connects": store.stats()["link_connects_total"]}
    told["known"] = await verdict(store, 1)
    told["unknown"] = await verdict(store, "another")
    await store.revoke(revocation("of the child"))
    told["own"] = await verdict(store, "of the child")
    async with store:
        told["entered"] = await store.wait_until_fresh(10)
        told["after"] = await verdict(store, "another")
    return told

async def main(url):
    async with opened(url) as store:
        await revoke(store, [1])
        await asyncio.sleep(0.3)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                told = asyncio.run(in_the_child(store))
            except BaseException as error:
                told = {"error": repr(error)}
            os.write(write, json.dumps(told).encode())
            os._exit(0)
        os.close(write)
        disconnects = store.stats()["link_disconnects_total"]
        for number in range(50):
            await revoke(store, [number])
            await asyncio.sleep(0.01)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        told = json.loads(os.read(read, 65536))
        told["status"] = status
        await until("heard of it", lambda: _is_revoked(store))
        told["parent"] = [await verdict(store, 1), store.is_fresh, await verdict(store, "another")]
        told["lost"] = store.stats()["link_disconnects_total"] - disconnects
        print(json.dumps(told))

async def _is_revoked(store):
    return await verdict(store, "of the child") == "revoked"

asyncio.run(main(sys.argv[1]))
"""


class TestForks:
    """A process that forks when it is connected already, as servers with a preloaded app do."""

    @pytest.mark.full
    async def test_parent_and_child_go_on_on_connections_of_their_own(
        self, redis_server: RedisServer
    ) -> None:
        """The child trusts nothing that the parent has proven, and can do all that it could."""
        done = await elsewhere(
            lambda: subprocess.run(
                [sys.executable, "-c", _FORKING, redis_server.url],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told == {
            "fresh": False,
            "connects": told.get("connects"),
            "known": REVOKED,
            "unknown": LIVE,  # Redis was asked, on a connection of the child's
            "own": REVOKED,
            "entered": True,
            "after": LIVE,
            "status": 0,
            "parent": [REVOKED, True, LIVE],
            "lost": 0,
        }
