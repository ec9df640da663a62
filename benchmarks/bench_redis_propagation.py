"""How soon another process knows of a revocation, beside Pub/Sub."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from redis.asyncio import Redis

from authkit.interfaces import Revocation, RevocationScope
from authkit.jose.encoding import encode_base64url
from authkit_redis import RedisBackends
from authkit_redis.revocations.digests import Digests
from benchmarks.baselines import ISSUER
from benchmarks.measure import Figures
from benchmarks.redis_floor import BareConnection
from benchmarks.redis_processes import BARE_CHANNEL, CHANNEL, END, another_process, figures_of
from tests.redis.servers import RedisServer

__all__ = ["propagation_figures"]

_PREFIX = "propagation"
_ROUNDS, _AT_ONCE = 20, 50
_PAUSE_SECONDS = 0.001

# Tells of the id with this name; the name under which the other process hears of it.
Teller = Callable[[str], Awaitable[str]]


class Told:
    """When something was told, by the name under which it is heard."""

    def __init__(self, tell: Teller) -> None:
        self._tell = tell
        self.rounds: list[dict[str, tuple[int, int]]] = []

    async def round(self, number: int) -> None:
        """Tells so often, with a pause after each, and notes the times before and after."""
        moments: dict[str, tuple[int, int]] = {}
        for which in range(_AT_ONCE):
            started = time.monotonic_ns()
            name = await self._tell(f"{number}-{which}")
            moments[name] = (started, time.monotonic_ns())
            await asyncio.sleep(_PAUSE_SECONDS)
        self.rounds.append(moments)


async def propagation_figures(server: RedisServer) -> Figures:
    """From the call until it is heard, and from its return."""
    async with AsyncExitStack() as stack:
        told = {name: Told(tell) for name, tell in (await _tellers(server, stack)).items()}
        output = stack.enter_context(another_process("listen", server.url, _PREFIX))
        for number in range(-1, _ROUNDS):
            for each in random.sample(list(told.values()), len(told)):
                await each.round(number)
        await asyncio.sleep(0.5)
        server.command("PUBLISH", BARE_CHANNEL, END)
        heard = await asyncio.to_thread(figures_of, output)
    figures = Figures()
    for name, each in told.items():
        figures.rounds[f"{name}, heard"] = [
            statistics.median(heard[name][id] - started for id, (started, _) in moments.items())
            / 1_000
            for moments in each.rounds[1:]  # in the first one, connections are made
        ]
    late = [
        heard["revoke"][id] - acknowledged
        for moments in told["revoke"].rounds[1:]
        for id, (_, acknowledged) in moments.items()
    ]
    figures.amounts["revoke, heard after it returned, p99 ms"] = (
        statistics.quantiles(late, n=100)[98] / 1e6
    )
    return figures


async def _tellers(server: RedisServer, stack: AsyncExitStack) -> dict[str, Teller]:
    backends = RedisBackends.from_url(server.url, prefix=_PREFIX)
    await stack.enter_async_context(backends)
    store = await stack.enter_async_context(backends.revocations)
    client = await stack.enter_async_context(Redis.from_url(server.url))
    bare = await BareConnection.open(server.port)
    stack.callback(bare.close)
    digests = Digests(None)

    async def revoke(id: str) -> str:
        scope = RevocationScope.TOKEN
        await store.revoke(Revocation(scope=scope, issuer=ISSUER, id=id))
        # Ids are heard of as their hashes.
        return encode_base64url(digests.hash(scope, ISSUER, id))

    async def publish(id: str) -> str:
        await client.publish(CHANNEL.decode(), id)
        return id

    async def bare_publish(id: str) -> str:
        await bare.call(b"PUBLISH", BARE_CHANNEL, id.encode())
        return id

    return {"revoke": revoke, "publish": publish, "bare publish": bare_publish}
