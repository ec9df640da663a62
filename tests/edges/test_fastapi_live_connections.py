"""Open connections end with their token, on the stores that need no server."""

from __future__ import annotations

import pytest

from authkit.clock import Clock
from authkit_memory import MemoryRevocationStore
from tests.edges.live_connections import LiveConnections, MakeStore

pytestmark = pytest.mark.anyio


class TestOnMemory(LiveConnections):
    """The store in the memory of the process."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """One for all: it belongs to a process."""
        made: list[MemoryRevocationStore] = []

        def make(clock: Clock) -> MemoryRevocationStore:
            if not made:
                made.append(MemoryRevocationStore(clock=clock))
            return made[0]

        return make
