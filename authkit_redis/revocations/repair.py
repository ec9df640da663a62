"""Writes back what a server has lost and this process still knows."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import repeat

from authkit.clock import Clock
from authkit_redis.link import LinkError, ReplyError
from authkit_redis.revocations.entries import TAG, Entry
from authkit_redis.revocations.issuer_names import IssuerNames
from authkit_redis.revocations.table import RevocationTable
from authkit_redis.revocations.timing import Timing
from authkit_redis.revocations.writer import Writer

__all__ = ["Repair"]

_log = logging.getLogger("authkit")

_AT_ONCE = 100
_OF_THE_ENTRIES = frozenset({"ERR", "FOREIGN", "WRONGTYPE"})
"""Codes of errors that come again however often the same is written."""

_MAX_RECENT = 10_000


class Repair:
    """What the server may lack, in two parts.

    What was learnt lately is written at once, by every process that knows it: others may lack it
    too, and wait for it only as long as a new server needs to settle.  All the rest is written
    after a random pause, so that one of many processes does it, and the others see it done.

    Args:
        writer: writes.
        names: are written back too.
        table: what is known.
        timing: its times.
        clock: tells the time.

    Attributes:
        written_total: entries that were written back.
    """

    def __init__(
        self,
        writer: Writer,
        names: IssuerNames,
        table: RevocationTable,
        timing: Timing,
        clock: Clock,
    ) -> None:
        self._writer = writer
        self._names = names
        self._table = table
        self._timing = timing
        self._monotonic = clock.monotonic
        self._recent: deque[tuple[float, bytes]] = deque(maxlen=_MAX_RECENT)
        self._urgent: set[bytes] = set()
        self._missing: set[bytes] = set()
        self._has_work = asyncio.Event()
        self.written_total: int = 0

    @property
    def is_pending(self) -> bool:
        """Whether anything is still to be written."""
        return bool(self._urgent or self._missing)

    def learnt(self, entries: Iterable[Entry]) -> None:
        """Notes what is news here, and so may be known to few."""
        now = self._monotonic()
        self._recent.extend(zip(repeat(now), [entry.what[1:TAG] for entry in entries]))
        while self._recent and now - self._recent[0][0] > self._timing.recent:
            self._recent.popleft()

    def begin(self) -> None:
        """The server may have lost something: writes what was learnt lately."""
        since = self._monotonic() - self._timing.recent
        self._urgent.update(digest for when, digest in self._recent if when >= since)
        self._has_work.set()

    def finish(self, missing: set[bytes]) -> None:
        """The log has been read: writes what is missing there."""
        self._missing = missing
        self._has_work.set()

    def saw(self, digest: bytes) -> None:
        """The log has it: it need not be written."""
        self._urgent.discard(digest)
        self._missing.discard(digest)

    async def run(self) -> None:
        """Writes whenever there is something to write, until it is cancelled."""
        self._has_work = asyncio.Event()  # of this event loop
        self._has_work.set()
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            try:
                await self._names.restore()
                await self._write(self._urgent, self._timing.settle / 20)
                await self._write(self._missing, self._timing.settle / 2)
                if self._urgent:  # there has been another loss meanwhile
                    self._has_work.set()
            except LinkError:
                await asyncio.sleep(self._timing.heartbeat)
                self._has_work.set()
            except Exception:
                _log.exception("revocations in redis: a fault of authkit while writing back")

    async def _write(self, digests: set[bytes], longest_pause: float) -> None:
        if not digests:
            return
        # So that many processes do not do the same at the same moment.
        await asyncio.sleep(random.uniform(0, longest_pause))  # noqa: S311 (it is no secret)
        timing = self._timing
        while digests and (digests is self._urgent or not self._urgent):
            batch = [digests.pop() for _ in range(min(len(digests), _AT_ONCE))]
            entries = list(self._table.entries(batch))
            try:
                await self._writer.restore(entries, timing.repair, timing.timeout)
            except ReplyError as error:
                if error.code not in _OF_THE_ENTRIES:
                    digests.update(batch)
                    raise
                await self._write_singly(entries)
            except BaseException:
                digests.update(batch)
                raise
            else:
                self.written_total += len(entries)

    async def _write_singly(self, entries: Sequence[Entry]) -> None:
        """Leaves out what the server will not take, so that the rest is not lost with it."""
        for entry in entries:
            try:
                await self._writer.restore([entry], self._timing.repair, self._timing.timeout)
                self.written_total += 1
            except ReplyError as error:
                if error.code not in _OF_THE_ENTRIES:
                    raise
                _log.error("revocations in redis: an entry cannot be written back: %s", error)
