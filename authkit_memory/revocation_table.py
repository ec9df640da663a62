"""Live revocations, found by the ids of a token and forgotten when they are over."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import Revocation, RevocationScope, TokenFacts
from authkit.reported_state import AVAILABLE, ReportedState
from authkit.revocations import EarliestTime, answered_until, covers, merged

__all__ = ["RevocationTable"]

_STEPS_PER_REVOCATION = 4
_STEPS_AT_ONCE = 64
_FINDS_BETWEEN_STEPS = 64
_ROOM_AGAIN = 0.9
"""The share of `max_entries` at which a full table says that it has room again."""


@dataclass(slots=True, eq=False)
class _Entry:
    revocation: Revocation
    until: float
    is_gone: bool = False


class RevocationTable:
    """At most `max_entries` revocations, none of which is ever dropped while it is live.

    Cleaning up is spread over the calls: each revocation, and now and then a question, looks
    at a few entries that should be over by now.  No call scans the table.

    Args:
        max_entries: how many it holds.
        earliest: the time by which an entry is over.
        state: where it tells that it is full, and that it has room again.

    Attributes:
        issuers: by issuer, then by id, the entries of whatever scope; to be read only.
        forgotten_total: entries that were over and have been forgotten.
        full_total: new revocations for which there was no room.

    Raises:
        ConfigurationError: `max_entries` is below 1.
    """

    def __init__(self, max_entries: int, earliest: EarliestTime, state: ReportedState) -> None:
        if max_entries < 1:
            raise ConfigurationError("max_entries must be at least 1")
        self._max_entries = max_entries
        self._room_again = int(max_entries * _ROOM_AGAIN)
        self._earliest = earliest
        self._state = state
        self._size = 0
        self._gone = 0
        self._finds = 0
        # One record for each entry, also for one that is gone: (a moment at or before its
        # end, its number, itself).
        self._due: list[tuple[float, int, _Entry]] = []
        self._number = count()
        self.issuers: dict[str, dict[str, tuple[_Entry, ...]]] = {}
        self.forgotten_total: int = 0
        self.full_total: int = 0

    def __len__(self) -> int:
        return self._size

    def find(self, ids: dict[str, tuple[_Entry, ...]], token: TokenFacts) -> Revocation | None:
        """The first live revocation, in the order of RevocationScope, that covers the token.

        Args:
            ids: `issuers[token.issuer]`.
            token: whose ids to look for.
        """
        self._finds += 1
        if self._finds >= _FINDS_BETWEEN_STEPS:
            self._finds = 0
            self._forget(self._earliest.now(), _STEPS_AT_ONCE)
        if (
            token.token_id in ids
            or token.subject in ids
            or token.session_id in ids
            or token.client_id in ids
            or token.key_thumbprint in ids
            or "" in ids
        ):
            return self._covering(ids, token)
        return None

    def _covering(self, ids: dict[str, tuple[_Entry, ...]], token: TokenFacts) -> Revocation | None:
        for scope, id in (
            (RevocationScope.TOKEN, token.token_id),
            (RevocationScope.SESSION, token.session_id),
            (RevocationScope.SUBJECT, token.subject),
            (RevocationScope.CLIENT, token.client_id),
            (RevocationScope.ISSUER, ""),
            (RevocationScope.VERSION, token.subject),
            (RevocationScope.KEY, token.key_thumbprint),
        ):
            for entry in ids.get(id, ()) if id is not None else ():
                revocation = entry.revocation
                if (
                    revocation.scope is scope
                    and covers(revocation, token)
                    and self._earliest.now() <= entry.until
                ):
                    return revocation
        return None

    def keep(self, revocation: Revocation) -> Revocation:
        """Remembers a revocation whose fields are filled in; merged with the live one, if any.

        Raises:
            BackendUnavailable: it is new, and all entries are live.
        """
        now = self._earliest.now()
        self._forget(now, _STEPS_PER_REVOCATION)
        entry = self._entry(revocation)
        if entry is not None and now <= entry.until:
            entry.revocation = merged(entry.revocation, revocation)
            entry.until = answered_until(entry.revocation)
            return entry.revocation
        if entry is not None:
            self._drop(entry)
        until = answered_until(revocation)
        if now <= until:
            self._make_room(now)
            self._add(_Entry(revocation, until))
        return revocation

    def lift(self, revocation: Revocation) -> Revocation | None:
        """Forgets the entry with the same scope, issuer and id; what it was, if there was one."""
        entry = self._entry(revocation)
        if entry is None:
            return None
        self._drop(entry)
        return entry.revocation

    def _entry(self, revocation: Revocation) -> _Entry | None:
        entries = self.issuers.get(revocation.issuer, {}).get(revocation.id, ())
        for entry in entries:
            if entry.revocation.scope is revocation.scope:
                return entry
        return None

    def _make_room(self, now: float) -> None:
        # Each round either forgets an entry or moves on the records of entries that have
        # been prolonged; those who prolonged them have paid for it.
        while self._size >= self._max_entries and self._due[0][0] < now:
            self._forget(now, _STEPS_AT_ONCE)
        if self._size >= self._max_entries:
            self.full_total += 1
            self._state.set("full", code="backend_unavailable")
            raise BackendUnavailable("revocations", "holds as many live revocations as it may")

    def _add(self, entry: _Entry) -> None:
        ids = self.issuers.setdefault(entry.revocation.issuer, {})
        ids[entry.revocation.id] = (*ids.get(entry.revocation.id, ()), entry)
        heappush(self._due, (entry.until, next(self._number), entry))
        self._size += 1

    def _forget(self, now: float, steps: int) -> None:
        due = self._due
        while steps and due and due[0][0] < now:
            steps -= 1
            _, number, entry = due[0]
            if entry.is_gone:
                heappop(due)
                self._gone -= 1
            elif now <= entry.until:
                heapreplace(due, (entry.until, number, entry))
            else:
                heappop(due)
                self._unlink(entry)
                self.forgotten_total += 1

    def _drop(self, entry: _Entry) -> None:
        """Takes an entry out before its record is due, which stays until then, within bounds."""
        self._unlink(entry)
        entry.is_gone = True
        self._gone += 1
        if self._gone > self._size + _STEPS_AT_ONCE:
            self._due = [record for record in self._due if not record[2].is_gone]
            heapify(self._due)
            self._gone = 0

    def _unlink(self, entry: _Entry) -> None:
        issuer, id = entry.revocation.issuer, entry.revocation.id
        ids = self.issuers[issuer]
        others = tuple(other for other in ids[id] if other is not entry)
        if others:
            ids[id] = others
        else:
            del ids[id]
            if not ids:
                del self.issuers[issuer]
        self._size -= 1
        if self._size <= self._room_again:
            self._state.set(AVAILABLE)
