"""The queue of the audit trail: admission, order, sequence and chain."""

from __future__ import annotations

import os
from collections import deque

from authkit.audit.chain import chain_event
from authkit.audit.records import AnchorRecord, RequestRecord, readable_event
from authkit.interfaces import AuditEvent

__all__ = ["Backlog"]


class Backlog:
    """What was admitted and is not known to be written, in order of admission.

    Both lanes share this one queue and one sequence; they differ only in how full it may be for
    their admission.  Because nothing leaves from the middle, the number that an event gets when
    its batch is taken is the number of its admission: what was refused leaves no gap.

    Args:
        name: how the producer's name begins, or None.
        chain_key: of the chain, or None for none.

    Attributes:
        size: events that wait or are being written.
    """

    __slots__ = ("_chain", "_chain_key", "_name", "_producer", "_sequence", "_waiting", "size")

    def __init__(self, name: str | None, chain_key: bytes | None) -> None:
        self.size: int = 0
        self._waiting: deque[RequestRecord] = deque()
        self._name = name
        self._producer: str | None = None
        self._sequence = 0
        self._chain_key = chain_key
        self._chain = ""

    @property
    def producer(self) -> str:
        """The producer's name, made up when it is first needed.

        Not before: a server that makes its application first and its worker processes then would
        give the same name to each of them.
        """
        if self._producer is None:
            run = os.urandom(8).hex()
            self._producer = run if self._name is None else f"{self._name}-{run}"
        return self._producer

    @property
    def waiting(self) -> int:
        """Events that were not taken yet."""
        return len(self._waiting)

    def append(self, record: RequestRecord) -> None:
        """Admits a record."""
        self.size += 1
        self._waiting.append(record)

    def take(self, limit: int) -> tuple[AuditEvent, ...]:
        """The next events, at most `limit`; they count until they are released."""
        return tuple([self._next_event() for _ in range(min(limit, len(self._waiting)))])

    def release(self, count: int) -> None:
        """Forgets as many events, now that they are written."""
        self.size -= count

    def clear(self) -> int:
        """Gives everything up and returns how much it was.  The sequence goes on behind the gap."""
        lost, self.size = self.size, 0
        self._sequence += len(self._waiting)
        self._waiting.clear()
        return lost

    def _next_event(self) -> AuditEvent:
        self._sequence += 1
        record = self._waiting.popleft()
        if isinstance(record, AnchorRecord):
            record.previous = self._chain
        event = readable_event(record, self.producer, self._sequence)
        if self._chain_key is not None:
            self._chain = chain_event(self._chain_key, self._chain, event)
            # Nobody has seen the event yet; a copy with its chain would cost more than the chain.
            object.__setattr__(event, "chain", self._chain)
        return event
