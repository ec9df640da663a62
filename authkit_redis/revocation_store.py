"""A RevocationStore that a fleet of processes shares through Redis."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from authkit.clock import Clock, SystemClock
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import Revocation, RevocationReceipt, StateChange, TokenFacts
from authkit.reported_state import ReportedState
from authkit.revocations import (
    EarliestTime,
    Subscription,
    filled_in,
    longest_seconds,
    require_within_horizon,
)
from authkit_redis.arguments import require_seconds
from authkit_redis.link import Link, LinkError
from authkit_redis.revocations.announcements import Announcements
from authkit_redis.revocations.asking import Asking
from authkit_redis.revocations.digests import Digests
from authkit_redis.revocations.entries import Entry, entry_of, lifting_of
from authkit_redis.revocations.following import STARTING, Following
from authkit_redis.revocations.issuer_names import IssuerNames
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.repair import Repair
from authkit_redis.revocations.replica import Replica
from authkit_redis.revocations.table import RevocationTable
from authkit_redis.revocations.timing import Timing
from authkit_redis.revocations.writer import Writer, Written, of_change

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from authkit.interfaces import (
        Observable,
        RevocationFeed,
        RevocationLifting,
        RevocationStore,
    )

__all__ = ["RedisRevocationStore"]


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
    `insecure_fail_open`; and, while it answers, `unwritable` where nothing can be revoked and
    `evicting` where Redis may drop keys when it is full.

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
        longest = max_token_lifetime_seconds
        require_seconds(max_token_lifetime_seconds=longest)
        if not isinstance(insecure_fail_open, bool):
            raise ConfigurationError("insecure_fail_open must be True or False")
        self._link = link
        self._clock = SystemClock() if clock is None else clock
        self._time, self._monotonic = self._clock.time, self._clock.monotonic
        self._max_token_lifetime_seconds = float(longest)
        self._timing = timing = Timing(max_staleness_seconds, timeout_seconds)
        self._max_staleness_seconds = float(max_staleness_seconds)
        keys, self._digests = RevocationKeys(prefix), Digests(secret)
        self._fails_open = insecure_fail_open
        self._tombstone_seconds = longest_seconds(self._max_token_lifetime_seconds)
        earliest = EarliestTime(self._clock, self._tombstone_seconds)
        self._table = RevocationTable(self._digests, earliest)
        self._writer = Writer(link, keys, self._digests.check, earliest, self._tombstone_seconds)
        names = IssuerNames(link, keys, timing)
        self._repair = Repair(self._writer, names, self._table, timing, self._clock)
        check, repair, table = self._digests.check, self._repair, self._table
        self._replica = Replica(link, keys, check, table, timing, self._clock, repair, self._learnt)
        self._asking = Asking(link, keys, self._digests, timing, self._clock)
        self._state = ReportedState("revocations", "redis", self._clock, state=STARTING)
        self._announcements = Announcements(names)
        self._following = Following(
            link, keys, check, timing, self._replica, self._state, fails_open=insecure_fail_open
        )
        self._revoked_total = self._lifted_total = self._unproven_total = 0

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
        return await self._following.wait_until_fresh(timeout_seconds)

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
            raise of_change(error) from error
        if entry.is_lifted:
            await self._following.at_home(lambda: self._take_in(written))
            return given
        kept = written.entry.revocation(given.issuer, given.id)
        # What has not been merged is as it was given, and not as it was rounded.
        until = (given if written.entry.value == entry.value else kept).issued_until
        expires_at, reason = written.expires_at, given.reason
        kept = replace(kept, expires_at=expires_at, issued_until=until, reason=reason)
        if not await self._following.at_home(lambda: self._take_in(written, kept)):
            self._announcements.made_here(kept)
        return kept

    def _take_in(self, written: Written, made: Revocation | None = None) -> None:
        entry, lifted_stamp = written.entry, written.lifted_stamp
        if lifted_stamp:  # perhaps unheard of here so far
            self._table.apply(lifting_of(entry.what, entry.expires_at, lifted_stamp))
        self._table.apply(entry)
        self._repair.learnt([entry])
        if made is not None:
            self._announcements.made_here(made)

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
        return self._announcements.subscribe()

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` on each change of the state."""
        self._state.observe(listener)

    def stats(self) -> Mapping[str, float]:
        """What it holds, `age_seconds` of its last proof, and totals; `link_` those of the link."""
        return {
            "entries": len(self._table),
            "liftings": self._table.lifted,
            "subscribers": len(self._announcements),
            **self._replica.stats(),
            "revoked_total": self._revoked_total,
            "lifted_total": self._lifted_total,
            "asked_total": self._asking.asked_total,
            "unproven_total": self._unproven_total,
            "written_back_total": self._repair.written_total,
            "feed_overflow_total": self._announcements.overflow_total,
            "listener_errors_total": self._state.listener_errors_total,
            **{f"link_{name}": value for name, value in self._link.stats().items()},
        }

    async def __aenter__(self) -> Self:
        """Begins to follow the log, and waits for the first proof, but not long.

        Where Redis cannot be reached it begins all the same, and answers BackendUnavailable
        until it can.

        Raises:
            ConfigurationError: Redis does not let this user in, or not do what is needed; another
                secret, or the data of another program, stand under the prefix.
        """
        await self._following.enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops following at the last exit; what is known stays known."""
        await self._following.leave()

    def _learnt(self, entries: Sequence[Entry]) -> None:
        self._repair.learnt(entries)
        self._announcements.learnt(entries)


if TYPE_CHECKING:

    def _kinds(store: RedisRevocationStore) -> None:
        _store: RevocationStore = store
        _lifting: RevocationLifting = store
        _feed: RevocationFeed = store
        _observable: Observable = store
        _entered: AbstractAsyncContextManager[RedisRevocationStore] = store
