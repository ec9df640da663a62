"""A RevocationStore that a fleet of processes shares through Redis."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from authkit.clock import Clock, SystemClock
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import (
    Revocation,
    RevocationReceipt,
    RevocationScope,
    StateChange,
    TokenFacts,
)
from authkit.jose.encoding import encode_base64url
from authkit.reported_state import AVAILABLE, ReportedState
from authkit.revocations import (
    EarliestTime,
    Feed,
    Subscription,
    filled_in,
    longest_seconds,
    require_within_horizon,
)
from authkit_redis.link import AccessRefused, Link, LinkError, ReplyError
from authkit_redis.revocations.admission import admission
from authkit_redis.revocations.asking import Asking
from authkit_redis.revocations.digests import Digests
from authkit_redis.revocations.entries import Entry, entry_of, scope_of
from authkit_redis.revocations.issuer_names import IssuerNames
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.repair import Repair
from authkit_redis.revocations.replica import Replica
from authkit_redis.revocations.table import RevocationTable
from authkit_redis.revocations.timing import Timing
from authkit_redis.revocations.writer import Writer

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from authkit.interfaces import (
        Observable,
        RevocationFeed,
        RevocationLifting,
        RevocationStore,
    )

__all__ = ["RedisRevocationStore"]

_log = logging.getLogger("authkit")

_CHECKED_EVERY_SECONDS = 30.0
_STARTING, _STALE, _OPEN, _EVICTING = "starting", "stale", "open", "evicting"


class RedisRevocationStore:
    """Remembers revocations in Redis, and answers from a replica in this process.

    While it is entered it follows the log of revocations; then a question costs no command, and
    a revocation made in another process is known here within milliseconds.  A replica that is
    not certainly up to date asks Redis directly, and where that proves nothing either, the answer
    is BackendUnavailable.  What is known to be revoked is refused in any case.

    When `revoke` has returned at a moment t, every process refuses what it covers from t +
    `max_staleness_seconds` on, or answers BackendUnavailable.

    It may be used without being entered while the link is: `revoke` and `lift` work, and every
    question asks Redis.  It can lift, it feeds subscribers, and it is an Observable, whose states
    are `available`; `starting`; `stale`, while the replica proves nothing; `open`, the same with
    `insecure_fail_open`; and `evicting`, available, but Redis may drop keys when it is full.

    Args:
        link: to the servers.
        prefix: of all keys; the same for all processes that share revocations, 1 to 64 printable
            ASCII characters without braces.
        secret: keys the hashes that stand for ids, at least 16 bytes; the same for all processes.
            Without one, whoever reads the database can try names and find them.
        max_token_lifetime_seconds: the longest-lived token that it vouches for.
        max_staleness_seconds: how long ago the replica must have been up to date, at least 0.2;
            give all processes the same.
        timeout_seconds: within which a revocation or a lifting ends.
        insecure_fail_open: lets a caller in where nobody can tell whether the token is revoked.
        clock: tells the time; None is the machine's clock.

    Raises:
        ConfigurationError: a value has no sense; the message says which.
    """

    def __init__(
        self,
        link: Link,
        *,
        prefix: str = "authkit",
        secret: bytes | None = None,
        max_token_lifetime_seconds: float = 86_400.0,
        max_staleness_seconds: float = 5.0,
        timeout_seconds: float = 1.0,
        insecure_fail_open: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if not 0 < max_token_lifetime_seconds < math.inf:
            raise ConfigurationError("max_token_lifetime_seconds must be positive and finite")
        self._link = link
        self._clock = SystemClock() if clock is None else clock
        self._time, self._monotonic = self._clock.time, self._clock.monotonic
        self._max_token_lifetime_seconds = float(max_token_lifetime_seconds)
        self._timing = timing = Timing(max_staleness_seconds, timeout_seconds)
        self._max_staleness_seconds = float(max_staleness_seconds)
        self._keys = keys = RevocationKeys(prefix)
        self._digests = digests = Digests(secret)
        self._fails_open = insecure_fail_open
        self._tombstone_seconds = longest_seconds(self._max_token_lifetime_seconds)
        earliest = EarliestTime(self._clock, self._tombstone_seconds)
        self._table = RevocationTable(digests, earliest)
        self._writer = Writer(link, keys, digests.check, earliest)
        self._names = IssuerNames(link, keys, timing)
        self._repair = Repair(self._writer, self._names, self._table, timing, self._clock)
        self._replica = Replica(
            link,
            keys,
            digests.check,
            self._table,
            timing,
            self._clock,
            self._repair,
            self._learnt,
        )
        self._asking = Asking(link, keys, digests, timing, self._clock)
        self._state = ReportedState("revocations", "redis", self._clock, state=_STARTING)
        self._feed = Feed()
        self._unnamed: list[Entry] = []
        self._naming: asyncio.Task[None] | None = None
        self._entered = 0
        self._following: asyncio.Task[None] | None = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._is_evicting = False
        self._revoked_total = 0
        self._lifted_total = 0
        self._unproven_total = 0

    @property
    def max_token_lifetime_seconds(self) -> float:
        """The longest-lived token that it vouches for."""
        return self._max_token_lifetime_seconds

    @property
    def is_fresh(self) -> bool:
        """Whether the replica can prove that it is up to date, within the staleness bound."""
        return self._replica.is_fresh

    async def wait_until_fresh(self, timeout_seconds: float) -> bool:
        """Waits until `is_fresh`, or for so long; whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not self.is_fresh:
                    await self._next_report()
        return self.is_fresh

    async def _next_report(self) -> None:
        # Whoever waits may do so in another event loop than the one that follows.
        waiting = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(waiting)
        try:
            await waiting[1].wait()
        finally:
            self._waiting.discard(waiting)

    # The interface

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        """Keeps a revocation; see `RevocationStore.revoke`.

        In this process it holds when the call returns, everywhere from `effective_at` on.

        Raises:
            ConfigurationError: `expires_at`, or `issued_until`, lies further ahead than a
                token that is issued now could live; or Redis does not let this user in, or another
                secret is in use under the prefix.
            BackendUnavailable: it may or may not be kept; revoking again is safe.
        """
        now = self._time()
        require_within_horizon(revocation, now, self._max_token_lifetime_seconds)
        given = filled_in(revocation, now, self._max_token_lifetime_seconds)
        digest = self._digests.hash(given.scope, given.issuer, given.id)
        hint = self._table.stamp_of_lifting(digest) + 1
        entry = entry_of(given, digest)._replace(stamp=hint)
        kept = await self._write(entry, given, given.expires_at or now, now)
        self._revoked_total += 1
        self._feed.publish(kept)
        return RevocationReceipt(
            revocation=kept, effective_at=self._time() + self._max_staleness_seconds
        )

    async def lift(self, revocation: Revocation) -> RevocationReceipt:
        """Forgets the revocation with this scope, issuer and id; see `RevocationLifting.lift`.

        From `effective_at` on, nobody who follows the log refuses for it; a process that is cut
        off from Redis goes on refusing what it knows to be revoked.

        Raises:
            ConfigurationError: Redis does not let this user in, or another secret is in use.
            BackendUnavailable: it may or may not have been lifted; lifting again is safe.
        """
        now = self._time()
        given = filled_in(revocation, now, self._max_token_lifetime_seconds)
        digest = self._digests.hash(given.scope, given.issuer, given.id)
        until = now + self._tombstone_seconds
        entry = entry_of(given, digest, is_lifted=True)._replace(expires_at=math.ceil(until))
        await self._write(entry, given, until, now)
        self._lifted_total += 1
        return RevocationReceipt(
            revocation=given, effective_at=self._time() + self._max_staleness_seconds
        )

    async def _write(
        self, entry: Entry, given: Revocation, expires_at: float, now: float
    ) -> Revocation:
        """Writes an entry and takes it in here; the revocation as it is kept."""
        try:
            written = await self._writer.add(
                entry, given.issuer, expires_at, now, self._timing.timeout
            )
        except LinkError as error:
            raise _of_change(error) from error
        self._names.add(given.issuer)
        if self._is_at_home():
            self._table.apply(written.entry)
            self._repair.learnt([written.entry])
        if entry.is_lifted:
            return given
        kept = written.entry.revocation(given.issuer, given.id)
        same = written.entry.value == entry.value
        return replace(
            kept,
            expires_at=written.expires_at,
            issued_until=given.issued_until if same else kept.issued_until,
            reason=given.reason,
        )

    async def find(self, token: TokenFacts) -> Revocation | None:
        """A live revocation that covers the token, or None; see `RevocationStore.find`.

        Raises:
            BackendUnavailable: neither the replica nor Redis can tell.
        """
        revocation = self._table.find(token)
        if revocation is not None:
            return revocation
        replica, bound = self._replica, self._max_staleness_seconds
        # As `is_fresh`, without the calls: this is asked for every request.
        if (
            self._monotonic() - replica.as_of <= bound
            and self._time() - replica.as_of_wall <= bound
        ):
            return None
        try:
            return await self._asking.find(token)
        except LinkError as error:
            self._unproven_total += 1
            if self._fails_open:
                return None
            raise BackendUnavailable("revocations", str(error)) from error

    def subscribe(self) -> Subscription:
        """The revocations from this call on; see `RevocationFeed.subscribe`.

        Those of other processes are heard while the store is entered; their `id` is a hash.  Each
        subscriber may fall 1,000 revocations behind.  One that is dropped is forgotten.
        """
        return self._feed.subscribe()

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` on each change of the state."""
        self._state.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """What it holds, how old its last proof is, and what happened so far.

        `age_seconds` is how long ago the replica was certainly up to date; it is not there before
        it ever was.  Those of the link begin with `link_`.
        """
        replica = self._replica
        age = replica.age_seconds
        return {
            "entries": len(self._table),
            "liftings": self._table.lifted,
            "subscribers": len(self._feed),
            **({"age_seconds": age} if math.isfinite(age) else {}),
            "is_fresh": float(replica.is_fresh),
            "revoked_total": self._revoked_total,
            "lifted_total": self._lifted_total,
            "asked_total": self._asking.asked_total,
            "unproven_total": self._unproven_total,
            "resyncs_total": replica.resyncs_total,
            "forks_total": replica.forks_total,
            "replica_failures_total": replica.failures_total,
            "foreign_entries_total": replica.foreign_entries_total,
            "written_back_total": self._repair.written_total,
            "feed_overflow_total": self._feed.overflow_total,
            "listener_errors_total": self._state.listener_errors_total,
            **{f"link_{name}": value for name, value in self._link.stats().items()},
        }

    # The life of the replica

    async def __aenter__(self) -> Self:
        """Begins to follow the log, and waits for the first proof, but not long.

        Where Redis cannot be reached it begins all the same, and answers BackendUnavailable
        until it can.

        Raises:
            ConfigurationError: Redis does not let this user in, or not do what is needed; another
                secret, or the data of another program, stand under the prefix.
        """
        self._entered += 1
        if self._entered > 1 and self._is_followed():
            return self
        await self._link.__aenter__()
        try:
            await self._begin()
        except BaseException:
            self._entered -= 1
            await self._link.__aexit__(None, None, None)
            raise
        return self

    async def _begin(self) -> None:
        if self._fails_open:
            _log.warning(
                "insecure_fail_open: while nobody can tell whether a token is revoked, "
                "its caller is let in"
            )
        try:
            await self._check()
        except LinkError as error:
            _log.warning("revocations in redis: begins without Redis: %s", error)
        self._replica.distrust()
        self._home = (os.getpid(), asyncio.get_running_loop())
        self._following = asyncio.create_task(self._follow())
        try:
            await self.wait_until_fresh(self._timing.settle + 2 * self._timing.answer)
        except BaseException:
            await self._end()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops following at the last exit; what is known stays known."""
        self._entered -= 1
        if self._entered == 0:
            await self._end()
            await self._link.__aexit__(kind, error, trace)

    async def _end(self) -> None:
        following, self._following = self._following, None
        self._replica.distrust()
        if following is None or self._home is None:
            return
        pid, loop = self._home
        if pid == os.getpid() and loop is asyncio.get_running_loop():
            following.cancel()
            await asyncio.wait([following])
        elif pid == os.getpid() and not loop.is_closed():
            loop.call_soon_threadsafe(following.cancel)

    def _is_followed(self) -> bool:
        """Whether some event loop of this very process follows the log."""
        if self._following is None or self._home is None:
            return False
        pid, loop = self._home
        return pid == os.getpid() and not loop.is_closed() and not self._following.done()

    def _is_at_home(self) -> bool:
        return (
            self._is_followed()
            and self._home is not None
            and self._home[1] is asyncio.get_running_loop()
        )

    async def _follow(self) -> None:
        checking = asyncio.create_task(self._keep_checking())
        try:
            await self._replica.run(self._report)
        finally:
            checking.cancel()
            await asyncio.wait([checking])

    async def _check(self) -> None:
        self._is_evicting = await admission(
            self._link, self._keys, self._digests.check, self._timing
        )

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(_CHECKED_EVERY_SECONDS)
            try:
                await self._check()
            except ConfigurationError as error:
                _log.error("%s", error)
            except LinkError:
                pass  # the heartbeat has told of it

    def _report(self) -> None:
        """Tells what state it is in, after a heartbeat."""
        for loop, event in tuple(self._waiting):
            with suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(event.set)
        if not self._replica.is_fresh:
            if self._state.current == _STARTING and not self._replica.failures_total:
                return
            self._state.set(
                _OPEN if self._fails_open else _STALE,
                code="revocations_unproven" if self._fails_open else "revocations_stale",
                why=self._replica.last_failure,
            )
        elif self._is_evicting:
            self._state.set(
                _EVICTING,
                code="revocations_evicting",
                why="maxmemory-policy is not noeviction, so Redis may forget revocations",
            )
        else:
            self._state.set(AVAILABLE)

    # News

    def _learnt(self, entries: Sequence[Entry]) -> None:
        """Notes what the log has told, and tells the subscribers."""
        self._repair.learnt(entries)
        if not len(self._feed):
            return
        for entry in entries:
            if entry.is_lifted:
                continue
            if self._unnamed or self._names.get(entry.what[16:]) is None:
                self._unnamed.append(entry)
            else:
                self._publish(entry)
        if self._unnamed and (self._naming is None or self._naming.done()):
            self._naming = asyncio.create_task(self._name())

    async def _name(self) -> None:
        """Tells of revocations by issuers that this process has not heard of before."""
        with suppress(LinkError):
            await self._names.restore()
        unnamed, self._unnamed = self._unnamed, []
        for entry in unnamed:
            self._publish(entry)

    def _publish(self, entry: Entry) -> None:
        issuer = self._names.get(entry.what[16:]) or "unknown"
        is_issuer = scope_of(entry.what) is RevocationScope.ISSUER
        self._feed.publish(
            entry.revocation(issuer, "" if is_issuer else encode_base64url(entry.digest))
        )


def _of_change(error: LinkError) -> ConfigurationError | BackendUnavailable:
    """What becomes of a revocation or a lifting that Redis has not taken."""
    if isinstance(error, AccessRefused):
        return ConfigurationError(f"revocations: {error}")
    if isinstance(error, ReplyError) and error.code == "SECRET":
        return ConfigurationError("revocations: another secret is in use under this prefix")
    if isinstance(error, ReplyError) and error.code == "OOM":
        return BackendUnavailable("revocations", "Redis is full, nothing was kept")
    return BackendUnavailable("revocations", str(error))


if TYPE_CHECKING:

    def _kinds(store: RedisRevocationStore) -> None:
        _store: RevocationStore = store
        _lifting: RevocationLifting = store
        _feed: RevocationFeed = store
        _observable: Observable = store
        _entered: AbstractAsyncContextManager[RedisRevocationStore] = store
