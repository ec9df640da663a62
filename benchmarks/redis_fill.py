"""Many revocations in Redis, written by the script that writes each."""

from __future__ import annotations

import asyncio
import math
import random
import secrets

from authkit.clock import SystemClock
from authkit.revocations import EarliestTime
from authkit_redis import RedisBackends
from authkit_redis.link import open_link
from authkit_redis.revocations.digests import DIGEST_BYTES, Digests, issuer_tag
from authkit_redis.revocations.entries import Entry
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.writer import Writer
from benchmarks.baselines import ISSUER

__all__ = ["fill"]

# As many as are written back at once, and how many such calls are under way.
_BATCH, _CALLS = 100, 4
_SECONDS = 10.0
_DAY_SECONDS = 86_400.0


async def fill(url: str, prefix: str, total: int) -> None:
    """Writes so many revocations of tokens that live for up to a day."""
    # From the first time that somebody follows the log, the server has its time to settle.
    async with RedisBackends.from_url(url, prefix=prefix, max_staleness_seconds=0.2) as backends:
        async with backends.revocations:
            pass
    clock = SystemClock()
    async with open_link(url) as link:
        earliest = EarliestTime(clock, _DAY_SECONDS)
        check = Digests(None).check
        writer = Writer(link, RevocationKeys(prefix), check, earliest, 2 * _DAY_SECONDS)

        async def write(batches: int) -> None:
            for _ in range(batches):
                entries = [_entry(clock.time()) for _ in range(_BATCH)]
                await writer.restore(entries, announced_seconds=0, timeout_seconds=_SECONDS)

        await asyncio.gather(*[write(total // _BATCH // _CALLS) for _ in range(_CALLS)])


def _entry(now: float) -> Entry:
    # A token's: kind and scope, and a digest that begins with the scope.
    what = b"\x11\x01" + secrets.token_bytes(DIGEST_BYTES - 1) + issuer_tag(ISSUER)
    expires_at = math.ceil(now + random.uniform(_DAY_SECONDS / 24, _DAY_SECONDS))
    return Entry(what, expires_at, int(now * 1000), None)
