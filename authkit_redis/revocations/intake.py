"""Takes the entries of the log into the table, and says what was new in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from authkit_redis.revocations.entries import Entry, NotAnEntry, milliseconds_of, unpack
from authkit_redis.revocations.repair import Repair
from authkit_redis.revocations.table import RevocationTable

__all__ = ["Intake"]

_A_DAY_MS = 86_400_000


class Intake:
    """Reads payloads into a table.

    Args:
        table: takes the entries in.
        repair: need not write what the log turns out to have.
        on_entries: called with the entries that said something new, after they were taken in.

    Attributes:
        foreign_total: payloads that authkit has not written.
    """

    def __init__(
        self, table: RevocationTable, repair: Repair, on_entries: Callable[[list[Entry]], None]
    ) -> None:
        self._table = table
        self._repair = repair
        self._on_entries = on_entries
        self.foreign_total: int = 0

    def take(
        self, entries: Iterable[tuple[bytes, bytes]], sought: set[bytes], *, is_first: bool = False
    ) -> list[bytes | None]:
        """Takes entries in, and tells what is new.

        Args:
            entries: their ids and payloads, in their order.
            sought: digests of which the log is to be searched; those found are taken out.
            is_first: whether the log is read for the first time, so that nothing in it is news.

        Returns:
            Of each the packed id of the one before it, or None if it is foreign.
        """
        predecessors: list[bytes | None] = []
        news: list[Entry] = []
        apply, repair = self._table.apply, self._repair
        is_seeking = bool(sought) or repair.is_pending
        for id, payload in entries:
            try:
                entry, before = unpack(payload)
                # What says that it is of the future would outlive every later word.
                if entry.stamp > milliseconds_of(id) + _A_DAY_MS:
                    raise NotAnEntry
            except NotAnEntry:
                self.foreign_total += 1
                predecessors.append(None)
                continue
            predecessors.append(before)
            if apply(entry):
                news.append(entry)
            if is_seeking and self._table.is_matched_by(entry):
                sought.discard(entry.digest)
                repair.saw(entry.digest)
        if news and not is_first:
            self._on_entries(news)
        return predecessors
