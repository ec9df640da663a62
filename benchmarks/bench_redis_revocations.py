"""The revocations in Redis: what a check costs, how a snapshot is taken, and what each weighs."""

from __future__ import annotations

import asyncio
import gc
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle, islice

from redis.asyncio import Redis

from authkit.interfaces import TokenFacts
from authkit_redis import RedisBackends, RedisRevocationStore
from authkit_redis.revocations.digests import DIGEST_BYTES
from authkit_redis.revocations.keys import RevocationKeys
from benchmarks.baselines import ISSUER
from benchmarks.measure import Batch, Contender, Figures, Load, measure, measure_loads
from benchmarks.redis_fill import fill
from benchmarks.redis_floor import BareConnection
from benchmarks.redis_processes import another_process, figures_of
from tests.redis.servers import RedisServer

__all__ = ["revocation_figures"]

_MANY, _SNAPSHOT = 1_000_000, 100_000
_PAGE = 200
_SNAPSHOT_ROUNDS, _STALL_ROUNDS, _LOAD_ROUNDS = 7, 3, 11
_CHECKS = 100_000
# More than are remembered, so that none of them is when it comes again.
_STRANGERS, _FAMILIAR = 30_000, 1_000
_SECONDS = 60.0


async def revocation_figures(server: RedisServer, rounds: int) -> Figures:
    """Of an empty server."""
    figures = Figures()
    before = _used_bytes(server)
    await fill(server.url, "many", _MANY)
    weight = (_used_bytes(server) - before) / _MANY
    figures.amounts["a revocation in Redis, bytes"] = weight
    with another_process("weigh", server.url, "many") as output:
        weight = await asyncio.to_thread(figures_of, output)
    figures.amounts["a revocation in Python, bytes"] = weight
    await fill(server.url, "snapshot", _SNAPSHOT)
    figures.update(await _snapshot_figures(server, "snapshot"))
    figures.update(await _check_figures(server, "many", rounds))
    return figures


def _used_bytes(server: RedisServer) -> int:
    return int(server.info("memory")["used_memory"])


@asynccontextmanager
async def _store(
    server: RedisServer, prefix: str, max_staleness_seconds: float
) -> AsyncIterator[RedisRevocationStore]:
    """A store that has read all there is."""
    backends = RedisBackends.from_url(
        server.url, prefix=prefix, max_staleness_seconds=max_staleness_seconds
    )
    async with backends, backends.revocations as store:
        if not await store.wait_until_fresh(_SECONDS):
            raise RuntimeError("the replica did not come up to date")
        yield store


# --- the snapshot


async def _snapshot_figures(server: RedisServer, prefix: str) -> Figures:
    """How long it takes until a store that knows nothing is up to date."""
    figures = Figures({"snapshot": [], "bare snapshot": []})
    bare = await BareConnection.open(server.port)
    for _ in range(_SNAPSHOT_ROUNDS):
        gc.collect()
        figures.rounds["bare snapshot"].append(await _bare_snapshot(bare, prefix))
        gc.collect()
        started = time.perf_counter()
        async with _store(server, prefix, 5):
            figures.rounds["snapshot"].append((time.perf_counter() - started) * 1e6)
    bare.close()
    stalls = []
    for _ in range(_STALL_ROUNDS):
        gc.collect()
        ticks: list[float] = []
        watching = asyncio.create_task(_watch(ticks))
        async with _store(server, prefix, 5):
            watching.cancel()
        stalls.append(max(ticks))
    figures.amounts["longest stall in a snapshot, ms"] = statistics.median(stalls) * 1e3
    return figures


async def _bare_snapshot(bare: BareConnection, prefix: str) -> float:
    """Microseconds to read the same log, page by page, into a dict."""
    started = time.perf_counter()
    log, start, table = RevocationKeys(prefix).log, b"-", dict[bytes, int]()
    while True:
        page = await bare.call(b"XRANGE", log, start, b"+", b"COUNT", _PAGE)
        for _, fields in page:
            payload = fields[1]
            table[payload[1:16]] = int.from_bytes(payload[20:24], "big")
        if len(page) < _PAGE:
            break
        start = b"(" + page[-1][0]
    if len(table) != _SNAPSHOT:
        raise RuntimeError("the log is not what was written")
    return (time.perf_counter() - started) * 1e6


async def _watch(ticks: list[float]) -> None:
    """Notes how long the loop was busy each time; not what the system gave to other processes."""
    before = time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        ticks.append(now - before)
        before = now


# --- the check


def _token(number: int) -> TokenFacts:
    """A token that has everything to be revoked by."""
    return TokenFacts(
        issuer=ISSUER,
        token_id=f"dbe39bf3-a3ba-4238-a513-{number:012}",
        subject=f"2482897{number:08}",
        client_id="s6BhdRkqt3",
        session_id=f"08a5019c-17e1-4977-8f42-{number:012}",
        issued_at=1.0,
        expires_at=2.0,
        token_version=1,
        key_thumbprint="NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    )


def _finding(store: RedisRevocationStore, tokens: Iterable[TokenFacts]) -> Batch:
    upcoming, find = cycle(tokens), store.find

    async def run(strings: Sequence[bytes]) -> None:
        for token in islice(upcoming, len(strings)):
            await find(token)

    return run


def _missing() -> Batch:
    """One look-up in a dict as big, of a key that is not there."""
    table = {secrets.token_bytes(DIGEST_BYTES): number for number in range(_MANY)}
    upcoming = cycle([secrets.token_bytes(DIGEST_BYTES) for _ in range(_FAMILIAR)])

    async def run(strings: Sequence[bytes]) -> None:
        for digest in islice(upcoming, len(strings)):
            _ = digest in table

    return run


async def _check_figures(server: RedisServer, prefix: str, rounds: int) -> Figures:
    familiar = [_token(number) for number in range(_FAMILIAR)]
    strangers = [_token(_FAMILIAR + number) for number in range(_STRANGERS)]
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(_store(server, prefix, 20))
        client = await stack.enter_async_context(Redis.from_url(server.url))
        batches = {
            "dict miss, 1,000,000": _missing(),
            "check, seen before": _finding(store, familiar),
            "check, first sight": _finding(store, strangers),
        }
        figures = await measure(
            [Contender(name=name, batch=batches[name], token="") for name in batches], rounds
        )
        upcoming = cycle(familiar)
        loads = {
            "check, 100 tasks": lambda: store.find(next(upcoming)),
            "EXISTS, redis-py": lambda: client.exists("key"),
        }
        figures.update(
            await measure_loads([Load(name=name, call=loads[name]) for name in loads], _LOAD_ROUNDS)
        )
        figures.amounts["Redis commands of 100,000 checks"] = await _commands(
            server, store, familiar
        )
    return figures


async def _commands(
    server: RedisServer, store: RedisRevocationStore, tokens: Iterable[TokenFacts]
) -> int:
    """What the server counts while tokens are checked.

    No heartbeat begins meanwhile, for the event loop has no turn; one that was on its way would
    be counted, so the least of three counts.
    """
    counts = []
    for _ in range(3):
        await asyncio.sleep(0.1)
        before = _commands_so_far(server)
        for token in islice(cycle(tokens), _CHECKS):
            await store.find(token)
        counts.append(_commands_so_far(server) - before)
    return min(counts)


def _commands_so_far(server: RedisServer) -> int:
    """All calls of all commands, but for those by which it is asked."""
    return sum(
        int(figures.partition(",")[0].removeprefix("calls="))
        for name, figures in server.info("commandstats").items()
        if name not in ("cmdstat_info", "cmdstat_auth")
    )
