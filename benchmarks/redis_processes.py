"""The processes beside the benchmark's own: one that listens, one that is weighed, and fleets.

    python -m benchmarks.redis_processes charge|fetch|listen|record|weigh URL PREFIX

Each writes one line when it is ready, and one with its figures when it is done.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

from redis.asyncio import Redis

from authkit_redis import RedisBackends
from benchmarks.redis_fleet import charge, fetch, record
from benchmarks.redis_floor import BareSubscriber

__all__ = ["BARE_CHANNEL", "CHANNEL", "END", "another_process", "figures_of"]

CHANNEL, BARE_CHANNEL, END = b"benchmark:channel", b"benchmark:bare-channel", b"end"

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SECONDS = 120.0


@contextmanager
def another_process(role: str, url: str, prefix: str) -> Iterator[IO[bytes]]:
    """What another process writes, once it is ready; on exit it is gone."""
    command = [sys.executable, "-m", "benchmarks.redis_processes", role, url, prefix]
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        try:
            output = cast("IO[bytes]", process.stdout)
            output.readline()
            yield output
        finally:
            process.kill()


def figures_of(output: IO[bytes]) -> Any:
    """What the process has found out; waits for it."""
    return json.loads(output.readline())


async def listen(url: str, prefix: str) -> dict[str, dict[str, int]]:
    """When this process learnt of each revocation and message, by the clock of the machine."""
    heard: dict[str, dict[str, int]] = {"revoke": {}, "publish": {}, "bare publish": {}}
    is_over = asyncio.Event()

    def note(message: bytes) -> None:
        heard["bare publish"][message.decode()] = time.monotonic_ns()
        if message == END:
            is_over.set()

    async def follow_store() -> None:
        async for revocation in store.subscribe():
            heard["revoke"][revocation.id] = time.monotonic_ns()

    async def follow_client() -> None:
        async for message in channel.listen():
            heard["publish"][message["data"].decode()] = time.monotonic_ns()

    address = urlsplit(url)
    bare = BareSubscriber(BARE_CHANNEL, note)
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: bare, str(address.hostname), address.port or 6379)
    await bare.is_subscribed.wait()
    backends = RedisBackends.from_url(url, prefix=prefix)
    async with Redis.from_url(url) as client, backends, backends.revocations as store:
        channel: Any = client.pubsub(ignore_subscribe_messages=True)
        await channel.subscribe(CHANNEL)
        await channel.get_message(timeout=1)
        following = [asyncio.create_task(follow_store()), asyncio.create_task(follow_client())]
        await asyncio.sleep(0.1)
        print(flush=True)
        await is_over.wait()
        await asyncio.sleep(0.1)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        await channel.aclose()
    return heard


async def weigh(url: str, prefix: str) -> float:
    """How many bytes this process grows for each revocation that its replica has."""
    # What the first connection needs is no part of the replica.
    async with RedisBackends.from_url(url, prefix=f"{prefix}-empty") as backends:
        async with backends.revocations:
            await asyncio.sleep(0.1)
    backends = RedisBackends.from_url(url, prefix=prefix, max_staleness_seconds=20)
    print(flush=True)
    before = _resident_bytes()
    async with backends, backends.revocations as store:
        if not await store.wait_until_fresh(_SECONDS):
            raise SystemExit("the replica did not come up to date")
        return (_resident_bytes() - before) / store.stats()["entries"]


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


_ROLES = {
    "charge": charge,
    "fetch": fetch,
    "listen": listen,
    "record": record,
    "weigh": weigh,
}


async def main(role: str, url: str, prefix: str) -> None:
    """Plays a role."""
    logging.getLogger("authkit").setLevel(logging.CRITICAL)  # faults are no news here
    async with asyncio.timeout(_SECONDS):
        play = _ROLES[role]
        print(json.dumps(await play(url, prefix)), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
