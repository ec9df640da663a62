"""What this process knows of the log: compact, and the same in whatever order it came."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from heapq import heappop, heappush

from authkit.interfaces import Revocation, TokenFacts
from authkit.revocations import EarliestTime, covers
from authkit_redis.revocations.digests import Digests, named
from authkit_redis.revocations.entries import (
    LIFTED,
    TAG,
    Entry,
    lifting_of,
    revocation_of,
)

__all__ = ["RevocationTable"]

_SLOT_SECONDS = 60
"""Ends are rounded up to the minute, so that what ends together shares one record of it."""

_ANSWERED_AFTER_EXPIRY_SECONDS = 120.0
_MAX_UNTOUCHED = 10_000
_MAX_STAMPS = 10_000


class _End:
    """Until when revocations are remembered, and which: those of one scope, issuer and minute."""

    __slots__ = ("digests", "expires_at", "until", "what")

    def __init__(self, what: bytes, expires_at: int) -> None:
        self.what = what  # of one of them: kind and scope and the issuer's tag hold for all
        self.expires_at = expires_at
        self.until = expires_at + _ANSWERED_AFTER_EXPIRY_SECONDS
        self.digests: list[bytes] = []

    def __lt__(self, other: _End) -> bool:
        return self.until < other.until


class _Term:
    """A revocation that has more to it than an end."""

    __slots__ = ("end", "stamp", "value")

    def __init__(self, end: _End, value: int | None, stamp: int) -> None:
        self.end = end
        self.value = value
        self.stamp = stamp


class RevocationTable:
    """The revocations that this process knows of, and the liftings.

    An id is revoked by the entries whose stamp is later than that of its last lifting; of these
    the latest end and the largest value hold.  Of a revocation that was never lifted the stamp is
    forgotten after 10,000 others, to save its memory: a lifting that comes later than that, and
    is older all the same, takes it away.

    A revocation of a single id takes about 100 bytes: its digest, its place in a dict, and its
    place in the list of those that end in the same minute.

    Args:
        digests: hash the ids.
        earliest: the time by which an entry is over.
    """

    def __init__(self, digests: Digests, earliest: EarliestTime) -> None:
        self._digests = digests
        self._earliest = earliest
        self._revoked: dict[bytes, _End | _Term] = {}
        self._lifted: dict[bytes, tuple[int, _End]] = {}
        self._known = self._revoked.keys()
        # The very objects that were asked for since an id was added, none of whose own is there.
        self._untouched: dict[int, TokenFacts] = {}
        # When the ids that were added last were revoked; those before them are in `_stamps_before`.
        self._stamps: dict[bytes, int] = {}
        self._stamps_before: dict[bytes, int] = {}
        self._ends: dict[tuple[int, bytes, int], _End] = {}
        self._due: list[_End] = []

    def __len__(self) -> int:
        return len(self._revoked)

    @property
    def lifted(self) -> int:
        """How many liftings are remembered."""
        return len(self._lifted)

    def find(self, token: TokenFacts) -> Revocation | None:
        """The first revocation that covers the token, in the order of RevocationScope."""
        # Taken now: what is noted in it after an id was added, by another thread, is lost.
        untouched = self._untouched
        if untouched.get(id(token)) is token:
            return None
        digests = self._digests.of(token)
        if self._known.isdisjoint(digests):
            if len(untouched) >= _MAX_UNTOUCHED:
                untouched.clear()
            untouched[id(token)] = token
            return None
        now = self._earliest.now()
        for (scope, name), digest in zip(named(token), digests, strict=True):
            kept = self._revoked.get(digest)
            if kept is None:
                continue
            end, value = (kept, None) if isinstance(kept, _End) else (kept.end, kept.value)
            if now <= end.until:
                revocation = revocation_of(scope, token.issuer, name, float(end.expires_at), value)
                if covers(revocation, token):
                    return revocation
        return None

    def stamp_of_lifting(self, digest: bytes) -> int:
        """When the id was lifted last, in milliseconds; 0 where it was not."""
        lifted = self._lifted.get(digest)
        return 0 if lifted is None else lifted[0]

    def apply(self, entry: Entry) -> bool:
        """Takes an entry in; whether it says anything new."""
        what, expires_at, stamp, value = entry
        if what[0] >= LIFTED:
            return self._lift(entry)
        digest = what[1:TAG]
        lifted = self._lifted.get(digest) if self._lifted else None
        if lifted is not None and stamp <= lifted[0]:
            return False
        end = self._end(what, expires_at)
        kept = self._revoked.get(digest)
        if kept is None:
            is_plain = value is None and lifted is None
            self._revoked[digest] = end if is_plain else _Term(end, value, stamp)
            end.digests.append(digest)
            if is_plain:
                self._note_stamp(digest, stamp)
            self._untouched = {}
            return True
        is_later = end.until > (kept if isinstance(kept, _End) else kept.end).until
        if is_later:
            end.digests.append(digest)
        if isinstance(kept, _End):
            self._note_stamp(digest, stamp)
            if is_later:
                self._revoked[digest] = end
            return is_later
        if is_later:
            kept.end = end
        kept.stamp = max(kept.stamp, stamp)
        if value is not None and kept.value is not None and value > kept.value:
            kept.value = value
            return True
        return is_later

    def _lift(self, entry: Entry) -> bool:
        digest = entry.digest
        lifted = self._lifted.get(digest)
        if lifted is not None and lifted[0] >= entry.stamp:
            return False
        end = self._end(entry.what, entry.expires_at)
        if lifted is not None and lifted[1].until > end.until:
            end = lifted[1]
        self._lifted[digest] = (entry.stamp, end)
        end.digests.append(digest)
        kept = self._revoked.get(digest)
        if isinstance(kept, _End) and self._stamp(digest) > entry.stamp:
            # Revoked again since: from here on it is told from what was lifted.
            self._revoked[digest] = _Term(kept, None, self._stamp(digest))
        elif kept is not None and (isinstance(kept, _End) or kept.stamp <= entry.stamp):
            del self._revoked[digest]
        return True

    def _note_stamp(self, digest: bytes, stamp: int) -> None:
        self._stamps[digest] = max(stamp, self._stamp(digest))
        if len(self._stamps) >= _MAX_STAMPS:
            self._stamps, self._stamps_before = {}, self._stamps

    def _stamp(self, digest: bytes) -> int:
        """When it was revoked, as far as it is still known."""
        return self._stamps.get(digest) or self._stamps_before.get(digest, 1)

    def _end(self, what: bytes, expires_at: int) -> _End:
        expires_at = _rounded_up(expires_at)
        key = (what[0], what[TAG:], expires_at)
        end = self._ends.get(key)
        if end is None:
            end = self._ends[key] = _End(what, expires_at)
            heappush(self._due, end)
        return end

    def is_matched_by(self, entry: Entry) -> bool:
        """Whether the entry says all that is known here of its id."""
        kept, lifted = self._revoked.get(entry.digest), self._lifted.get(entry.digest)
        if entry.is_lifted:
            return kept is None and lifted is not None and lifted[0] <= entry.stamp
        if kept is None or (lifted is not None and entry.stamp <= lifted[0]):
            return False
        end, value = (kept, None) if isinstance(kept, _End) else (kept.end, kept.value)
        is_as_large = value is None or (entry.value is not None and value <= entry.value)
        return is_as_large and end.expires_at <= _rounded_up(entry.expires_at)

    def forget(self, steps: int) -> bool:
        """Drops up to so many entries that are over; whether there are more."""
        now = self._earliest.now()
        while self._due and self._due[0].until < now:
            end = self._due[0]
            while end.digests:
                if steps == 0:
                    return True
                steps -= 1
                self._forget(end.digests.pop(), end)
            heappop(self._due)
            del self._ends[(end.what[0], end.what[TAG:], end.expires_at)]
        return False

    def _forget(self, digest: bytes, end: _End) -> None:
        kept = self._revoked.get(digest)
        if kept is end or (isinstance(kept, _Term) and kept.end is end):
            del self._revoked[digest]
        lifted = self._lifted.get(digest)
        if lifted is not None and lifted[1] is end:
            del self._lifted[digest]

    def digests(self) -> set[bytes]:
        """The digests of all that is revoked or lifted."""
        return self._revoked.keys() | self._lifted.keys()

    def entries(self, digests: Collection[bytes]) -> Iterator[Entry]:
        """What it knows of these ids, as entries; the present state, at the time of asking.

        A revocation whose stamp is forgotten has the stamp 1: any lifting of it counts.
        """
        for digest in digests:
            lifted = self._lifted.get(digest)
            if lifted is not None:
                stamp, end = lifted
                yield lifting_of(_what(end, digest), end.expires_at, stamp)
            kept = self._revoked.get(digest)
            if isinstance(kept, _Term):
                end = kept.end
                yield Entry(_what(end, digest), end.expires_at, kept.stamp, kept.value)
            elif kept is not None:
                yield Entry(_what(kept, digest), kept.expires_at, self._stamp(digest), None)


def _rounded_up(expires_at: int) -> int:
    return expires_at + -expires_at % _SLOT_SECONDS


def _what(end: _End, digest: bytes) -> bytes:
    return end.what[:1] + digest + end.what[TAG:]
