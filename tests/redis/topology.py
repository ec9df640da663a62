"""What clusters and sentinels have in common: servers that a test breaks, and that are healed."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self, TypeVar

import hiredis

from tests.redis.machine import ServerError
from tests.redis.servers import RedisServer

__all__ = ["Topology", "eventually"]

_T = TypeVar("_T")


def eventually(
    what: str, look: Callable[[], _T | None], *, timeout_seconds: float, every_seconds: float = 0.02
) -> _T:
    """The first answer of `look` that is true.

    A server that does not answer, or not yet with anything but an error, is asked again.

    Raises:
        ServerError: it did not come to `what` in time.
    """
    deadline = time.monotonic() + timeout_seconds
    last: object = None
    while True:
        try:
            if found := look():
                return found
            last = found
        except (OSError, hiredis.ReplyError) as error:
            last = error
        if time.monotonic() > deadline:
            raise ServerError(f"{what}: not within {timeout_seconds} s, last: {last!r}")
        time.sleep(every_seconds)


class Topology(ABC):
    """Servers that belong together.  A context manager: running on entry, gone on exit."""

    patience_seconds = 15.0
    """How long each step of the mending may take before all is built anew."""

    @property
    @abstractmethod
    def servers(self) -> list[RedisServer]:
        """All of them, running or not."""

    @abstractmethod
    def build(self) -> None:
        """Starts new servers, and returns once they have found together."""

    @abstractmethod
    def mend(self) -> None:
        """Brings running servers back to how they were built; it may raise whatever it likes."""

    @property
    def running(self) -> list[RedisServer]:
        """The servers that can answer."""
        return [server for server in self.servers if server.is_running and not server.is_frozen]

    def restore(self) -> None:
        """Takes back what a test did: nobody is dead, no data, no settings, no users of its own.

        What cannot be mended is built anew.
        """
        try:
            for server in self.servers:
                server.thaw()
                if not server.is_running:
                    server.start()
            self.mend()
        except Exception:
            self.close()
            self.build()

    def close(self) -> None:
        """Ends all servers."""
        for server in self.servers:
            server.close()

    def __enter__(self) -> Self:
        try:
            self.build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
