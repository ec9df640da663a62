"""A process that puts about 5,000 events a second on record, and counts them where a kill cannot.

    python -m tests.redis.audit_service COUNTER (REDIS_URL | FILE)

COUNTER is a file of eight bytes, in which there is at any moment how many events were admitted.
"""

from __future__ import annotations

import asyncio
import mmap
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from time import time

from authkit.audit import AuditTrail, FileAuditSink, RequestRecord
from authkit.interfaces import AuditSink
from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.link import open_link

__all__ = ["KEY", "PREFIX"]

KEY = b"k" * 32
PREFIX = "killed"
# No more at once, however late the process wakes: it is to be no burst, but a rate.
_AT_ONCE, _PAUSE_SECONDS = 5, 0.0008


async def main(counter: Path, where: str) -> None:
    """Until it is told to end."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncExitStack() as stack:
        count = stack.enter_context(_shared(counter))
        sink: AuditSink = FileAuditSink(where)
        if where.startswith("redis://"):
            link = await stack.enter_async_context(open_link(where))
            sink = RedisAuditSink(link, prefix=PREFIX)
        trail = await stack.enter_async_context(AuditTrail(sink, chain_key=KEY))
        admitted = 0
        while not stop.is_set():
            for _ in range(_AT_ONCE):
                trail.append_request(_record(admitted))
                admitted += 1
                count[:] = admitted.to_bytes(8, "big")
            await asyncio.sleep(_PAUSE_SECONDS)


def _shared(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 8)


def _record(number: int) -> RequestRecord:
    subject, client, address = f"subject-{number}", "client-1", "192.0.2.7"
    return RequestRecord(
        time(), "accepted", None, None, subject, client, None, None, address, None, None, None
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
