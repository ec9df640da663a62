"""What a process has seen of a key set and its server, so that nothing older takes its place."""

from __future__ import annotations

from typing import NamedTuple

from authkit.clock import Clock
from authkit.interfaces import KeySetDocument
from authkit_redis.shared_keys.terms import FUTURE_MS

__all__ = ["Moment", "Newest"]


class Moment(NamedTuple):
    """A time by the clocks of this process.

    Attributes:
        wall: seconds since the epoch.
        at: seconds of the monotonic clock.
    """

    wall: float
    at: float

    @property
    def wall_ms(self) -> int:
        """The first, in ms, as it is sealed."""
        return max(0, round(self.wall * 1000))


class Newest:
    """The newest document that a source has given, and when its provider was asked for it.

    Args:
        clock: measures ages where the server's time of asking is not known.
    """

    __slots__ = ("_asked_at", "_asked_ms", "_clock", "_document", "_server_ahead_ms")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._document: KeySetDocument | None = None
        self._asked_ms: int | None = None
        self._asked_at = 0.0
        self._server_ahead_ms: float | None = None

    def is_now(self, document: KeySetDocument, *, asked_ms: int | None, asked_at: float) -> None:
        """Takes a document for the newest, unless another fetch has brought a newer one meanwhile.

        Args:
            document: was given just now.
            asked_ms: when its provider was asked, by the Redis server, or None if it was not there.
            asked_at: the same by the monotonic clock of this process.
        """
        if self._document is not None:
            if asked_ms is not None and self._asked_ms is not None:
                is_older = asked_ms < self._asked_ms
            else:
                is_older = asked_at < self._asked_at
            if is_older:
                return
        self._document, self._asked_ms, self._asked_at = document, asked_ms, asked_at

    def known(self, previous: KeySetDocument | None) -> int:
        """When the provider was asked for what the caller has, in ms; or minus its age.

        It is 0 where the caller has nothing.
        """
        if previous is None:
            return 0
        if previous == self._document:
            return -self._age_ms() if self._asked_ms is None else self._asked_ms
        return -max(1, round((self._clock.time() - previous.fetched_at) * 1000))

    def asked_ms(self, now_ms: int) -> int:
        """When the provider was asked for the newest, by the clock of a server; 0 if never."""
        if self._document is None:
            return 0
        if self._asked_ms is None or self._asked_ms > now_ms + FUTURE_MS:
            # It was not there, or its clock was set back: what it said does not count any more.
            return now_ms - self._age_ms()
        return self._asked_ms

    # The server's clock ---------------------------------------------------------------------------

    def follows(self, now_ms: int, *, at: float) -> bool:
        """Whether the server's clock has gone on since it was read before.

        If it has not, it was set back, or somebody gives an old answer again.

        Args:
            now_ms: by the server.
            at: not later, by the monotonic clock of this process.
        """
        ahead_ms, before_ms = now_ms - at * 1000, self._server_ahead_ms
        if before_ms is None or ahead_ms > before_ms:
            self._server_ahead_ms = ahead_ms
            return True
        # Compared with the most it has been ahead, so that many small steps back count as one.
        return ahead_ms >= before_ms - FUTURE_MS

    def begins_anew(self, now_ms: int, *, at: float) -> None:
        """Reckons by a clock that was set back, now that the provider itself has been asked."""
        self._server_ahead_ms, self._asked_ms = now_ms - at * 1000, None

    def _age_ms(self) -> int:
        return max(1, round((self._clock.monotonic() - self._asked_at) * 1000))
