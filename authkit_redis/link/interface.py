"""What the backends ask of a connection to Redis, whatever the servers stand in."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

__all__ = ["Link", "Script", "Tail"]


class Script:
    """A Lua script, known to the server by its SHA-1."""

    __slots__ = ("sha1", "source")

    def __init__(self, source: str) -> None:
        self.source: str = source
        # Redis names scripts so; nothing is secured by it.
        self.sha1: bytes = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest().encode()


class Tail(Protocol):
    """A reader of one stream, on a connection of its own; not for concurrent use."""

    async def read(
        self, position: bytes, *, count: int, block_seconds: float
    ) -> list[tuple[bytes, list[bytes]]]:
        """Waits for entries after a position.

        Returns:
            At most `count` pairs of an entry's id and its fields and values in turn; none
            if none came within `block_seconds`.

        Raises:
            LinkError: nothing was learnt; the next call connects anew.
        """
        ...

    async def aclose(self) -> None:
        """Closes the connection; a later read would open another."""
        ...


class Link(Protocol):
    """Calls to Redis, many at once over few connections.

    It connects when it is first used, may be used from several event loops, and in a forked
    process starts afresh.  Entering it opens nothing; leaving it the last time closes what
    was opened in that event loop.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes | int],
        *,
        timeout_seconds: float,
        is_repeatable: bool = False,
    ) -> Awaitable[Any]:
        """Runs a script on the node that has the first key; all keys are in one slot.

        Args:
            timeout_seconds: when it ends at the latest, repetitions included.
            is_repeatable: running it twice does no harm, so that it is run once more where
                the first outcome is unknown and time is left.

        Returns:
            The reply as it came: bytes, int, None, or a list of these.

        Raises:
            NotSent: it was surely not executed.
            OutcomeUnknown: it may have been executed.
            ReplyError: the server answered with an error.
        """
        ...

    def prepared(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes | int],
        *,
        timeout_seconds: float,
    ) -> Callable[[], Awaitable[Any]]:
        """What runs a script as `run` does, each time it is called, but is packed only once.

        It may be kept for as long as the link.
        """
        ...

    def call(
        self, *parts: bytes | int, timeout_seconds: float, key: bytes | None = None
    ) -> Awaitable[Any]:
        """Runs one command that does not block, once; `key` chooses the node of a cluster.

        Raises:
            LinkError: as for `run`.
        """
        ...

    def tail(self, key: bytes) -> Tail:
        """A reader of the stream at a key."""
        ...

    def stats(self) -> Mapping[str, float]:
        """Counts since it was made: calls, connections, timeouts, and what is in flight."""
        ...
