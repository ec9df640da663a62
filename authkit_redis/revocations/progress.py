"""Where in the log a replica is, and which proofs that it is up to date it waits for."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import NamedTuple

from authkit_redis.revocations.entries import is_before, pack_id

__all__ = ["Moment", "Progress"]

_PASSED = 10_000
_AWAITED = 100


class Moment(NamedTuple):
    """A point in time by both clocks."""

    monotonic: float
    wall: float


class Progress:
    """The entries that a replica has been at, one after the other without a gap.

    Attributes:
        position: the last one; None where the log has to be read anew.
    """

    __slots__ = ("_awaited", "_passed", "position")

    def __init__(self) -> None:
        self.position: bytes | None = None
        self._passed: OrderedDict[bytes, None] = OrderedDict()
        self._awaited: deque[tuple[bytes, Moment]] = deque(maxlen=_AWAITED)

    @property
    def is_awaiting(self) -> bool:
        """Whether an end of the log is known that has not been reached."""
        return bool(self._awaited)

    def restart(self, position: bytes | None = None) -> None:
        """Begins at a position of a log that was read as a whole, or with none."""
        self.position = position
        self._awaited.clear()
        self._passed.clear()
        if position is not None:
            self._passed[position] = None

    def has_passed(self, end: bytes) -> bool:
        """Whether it has been at this entry."""
        return end in self._passed

    def follows(self, before: bytes) -> bool:
        """Whether an entry that names this packed id as the one before it comes next."""
        return self.position is not None and before == pack_id(self.position)

    def expect(self, end: bytes, sent: Moment) -> None:
        """Notes that at a moment the log ended with an entry that is still to come."""
        self._awaited.append((end, sent))

    def advance(self, id: bytes) -> Moment | None:
        """Goes on to the next entry; the latest moment at which the log ended there, if any."""
        self.position = id
        self._passed[id] = None
        if len(self._passed) > _PASSED:
            self._passed.popitem(last=False)
        proven = None
        while self._awaited and not is_before(id, self._awaited[0][0]):
            end, sent = self._awaited.popleft()
            if end == id:
                proven = sent
        return proven
