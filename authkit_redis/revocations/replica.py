"""The replica of the log in this process: how it follows, and what proves it up to date."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import aclosing, suppress

from authkit.clock import Clock
from authkit_redis.link import Link, LinkError, ReplyError, Tail
from authkit_redis.revocations.entries import NO_ENTRY, Entry, is_before
from authkit_redis.revocations.head import Head
from authkit_redis.revocations.intake import Intake
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.pages import PAGE_ENTRIES, Pages
from authkit_redis.revocations.progress import Moment, Progress
from authkit_redis.revocations.repair import Repair
from authkit_redis.revocations.table import RevocationTable
from authkit_redis.revocations.timing import Timing

__all__ = ["Replica"]

_log = logging.getLogger("authkit")

_NEVER = float("-inf")
_FAULTS_TOLD = 10


class Replica:
    """Follows the log of one prefix.

    It is up to date with what the server had when a heartbeat was *sent*, if the heartbeat's
    answer names as the log's end an entry that this replica has been at.  That moment, not the
    one of the answer, is `as_of`.  Every entry names the one before it: an entry that does not
    follow the last one here, or an end that this replica never was at and that is not ahead of
    it, means that the log is another one (a server restarted without its data, a failover to a
    replica that lagged).  Then the log is read anew and merged with what is known here, nothing
    that is known is dropped, and what the server lacks is written back.

    Args:
        link: to the servers.
        keys: where the log is.
        check: differs where the secret does; a log under another one is not followed.
        table: takes the entries in.
        timing: its times.
        clock: tells the time; the monotonic one decides.
        repair: writes back what the server lacks.
        on_entries: called with the entries that said something new, after they were taken in.

    Attributes:
        table: as given.
        as_of: when it was certainly up to date, by the monotonic clock.
        as_of_wall: the same moment by the wall clock.
        last_failure: why the last heartbeat has proved nothing; empty where it has.
        failures_total: heartbeats and reads of the log that failed.
    """

    def __init__(
        self,
        link: Link,
        keys: RevocationKeys,
        check: bytes,
        table: RevocationTable,
        timing: Timing,
        clock: Clock,
        repair: Repair,
        on_entries: Callable[[list[Entry]], None],
    ) -> None:
        self._link = link
        self._keys = keys
        self._pages = Pages(link, keys, timing)
        self._head = Head(link, keys, check, timing)
        self.table = table
        self._timing = timing
        self._clock = clock
        self._repair = repair
        self._intake = Intake(table, repair, on_entries)
        self._is_forked = False
        self._is_refused = False
        self._epoch: bytes | None = None
        self._progress = Progress()
        self._is_following = asyncio.Event()
        self._wakes = asyncio.Event()
        self._has_all = False
        self.as_of: float = _NEVER
        self.as_of_wall: float = _NEVER
        self.last_failure: str = ""
        self.resyncs_total: int = 0
        self.forks_total: int = 0
        self.failures_total: int = 0
        self._faults = 0

    @property
    def age_seconds(self) -> float:
        """How long ago it was certainly up to date; infinite before it ever was."""
        # A machine that was suspended has not counted that time on the monotonic clock.
        return max(self._clock.monotonic() - self.as_of, self._clock.time() - self.as_of_wall)

    @property
    def is_fresh(self) -> bool:
        """Whether it may answer that a token is not revoked."""
        return self.age_seconds <= self._timing.max_staleness

    def distrust(self) -> None:
        """Forgets that it was ever up to date, as in a forked process, where nothing follows."""
        self.as_of = self.as_of_wall = _NEVER

    def stats(self) -> dict[str, float]:
        """How old the last proof is, where there ever was one, and what happened so far."""
        age = self.age_seconds
        return {
            **({"age_seconds": age} if math.isfinite(age) else {}),
            "is_fresh": float(self.is_fresh),
            "resyncs_total": self.resyncs_total,
            "forks_total": self.forks_total,
            "replica_failures_total": self.failures_total,
            "foreign_entries_total": self._intake.foreign_total,
        }

    # The heartbeat

    async def beat(self) -> str:
        """Asks the server where the log ends, and does what follows from the answer.

        Returns:
            Why the answer proves nothing; empty where it does.

        Raises:
            LinkError: the server did not answer, or not in time.
        """
        if self._is_refused:
            raise ReplyError("SECRET")  # also where the server has forgotten whose secret it was
        if self._is_forked:
            await self._head.renew(self._epoch or b"")
            self._is_forked, self._epoch = False, None
        sent = Moment(self._clock.monotonic(), self._clock.time())
        position = self._progress.position
        sight = await self._head.look()
        progress = self._progress
        if sight.epoch != self._epoch or position is None or progress.position is None:
            await self._resync(sight.epoch)
            self._wakes.set()
            return "the log has just been read"
        end, is_settled = sight.end, sight.is_settled and (self._has_all or not sight.is_repaired)
        if is_before(end, position):
            # It was there already when this was asked: the log has lost its newest entries.
            self._fork()
            return "the log is another one"
        if progress.has_passed(end):
            if is_settled:
                self._prove(sent)
        elif is_before(progress.position, end):
            is_late = progress.is_awaiting
            if is_settled:
                progress.expect(end, sent)
            if is_late:
                await self._catch_up()
        else:
            self._fork()
        return "" if is_settled else "others may still write back what the server lacks"

    def _prove(self, sent: Moment) -> None:
        if sent.monotonic > self.as_of:
            self.as_of, self.as_of_wall = sent
        self._has_all = True

    @property
    def _was_current(self) -> bool:
        """Whether it was up to date so lately that others may rely on what it knows."""
        return self._clock.monotonic() - self.as_of <= self._timing.recent

    def _fork(self) -> None:
        self.forks_total += 1
        if self._was_current:
            self._is_forked = True
        else:  # It may only have missed what was trimmed meanwhile, which concerns nobody else.
            self._epoch = None
        self._is_following.clear()
        self._wakes.set()

    # Reading

    async def _resync(self, epoch: bytes) -> None:
        self._is_following.clear()
        self.resyncs_total += 1
        known = self.table.digests()
        # Not before its new end is known is anything awaited, or passed, in the new log.
        self._progress.restart()
        self._has_all = self._was_current
        if known:
            self._repair.begin()
        async with aclosing(self._pages.all(announces=bool(known))) as pages:
            async for page in pages:
                end, entries = page
                self._intake.take(entries, known, is_first=not known)
        if self._has_all:
            _log.warning(
                "revocations in redis: another server, or another log; %d entries to write back",
                len(known),
            )
        self._epoch = epoch
        self._progress.restart(end)
        self._is_following.set()
        self._repair.finish(known)

    async def _catch_up(self) -> None:
        """Reads what the tail has not brought in time."""
        end = b""
        while not end:
            asked = self._progress.position
            if asked is None:
                return
            end, entries = await self._pages.after(asked)
            if asked == self._progress.position and self._is_following.is_set():
                self._follow([(id, [b"v", payload]) for id, payload in entries])
                if end and self._is_following.is_set() and self._progress.position != end:
                    self._fork()  # the entry that the log ends with has been taken away

    async def _read(self, tail: Tail) -> None:
        await self._is_following.wait()
        asked = self._progress.position
        entries = await tail.read(
            asked or NO_ENTRY, count=PAGE_ENTRIES, block_seconds=self._timing.max_staleness / 10
        )
        # Another log, or what the tail left out, may have been read in the meantime.
        if asked == self._progress.position and self._is_following.is_set():
            self._follow(entries)

    def _follow(self, entries: list[tuple[bytes, list[bytes]]]) -> None:
        predecessors = self._intake.take([(id, fields[1]) for id, fields in entries], set())
        for (id, _), before in zip(entries, predecessors, strict=True):
            if before is not None and not self._progress.follows(before):
                self._fork()
                break
            proven = self._progress.advance(id)
            if proven is not None:
                self._prove(proven)

    async def run(self, on_change: Callable[[], None]) -> None:
        """Follows until it is cancelled; `on_change` is called after each heartbeat."""
        self._is_following, self._wakes = asyncio.Event(), asyncio.Event()
        self._progress.restart()
        tail = asyncio.create_task(self._keep_tailing())
        repair = asyncio.create_task(self._repair.run())
        try:
            while True:
                self._wakes.clear()
                try:
                    self.last_failure = await self.beat()
                except LinkError as error:
                    self._note_failure(error)
                except Exception:
                    self._note_fault()
                on_change()
                await self._forget()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._timing.heartbeat):
                        await self._wakes.wait()
        finally:
            tail.cancel()
            repair.cancel()
            await asyncio.gather(tail, repair, return_exceptions=True)

    async def _forget(self) -> None:
        has_more = True
        while has_more:
            has_more = self.table.forget(PAGE_ENTRIES)
            await asyncio.sleep(0)

    async def _keep_tailing(self) -> None:
        tail = self._link.tail(self._keys.log)
        try:
            while True:
                try:
                    await self._read(tail)
                    continue
                except LinkError:
                    self.failures_total += 1
                except Exception:
                    self._note_fault()
                await asyncio.sleep(self._timing.heartbeat)
        finally:
            await tail.aclose()

    def _note_failure(self, error: LinkError) -> None:
        self.failures_total += 1
        self.last_failure = str(error)
        if isinstance(error, ReplyError) and error.code == "SECRET":
            self._is_refused = True

    def _note_fault(self) -> None:
        # Whatever it was, the replica grows stale and says so; following must not end with it.
        self.failures_total += 1
        self.last_failure = "a fault of authkit"
        self._faults += 1
        if self._faults < _FAULTS_TOLD:
            _log.exception("the replica of the revocations: a fault of authkit, going on")
