"""Every RevocationStore keeps the contract."""

from __future__ import annotations

import pytest

from authkit.clock import Clock
from authkit.testing.contracts import RevocationStoreContract
from authkit_memory import MemoryRevocationStore


class TestMemoryInOneProcess(RevocationStoreContract):
    """MemoryRevocationStore."""

    is_lifting = True
    is_feeding = True
    is_observable = True
    is_context_manager = True
    max_entries = 100
    max_pending = 1_000

    @pytest.fixture
    def store(self, clock: Clock) -> MemoryRevocationStore:
        return MemoryRevocationStore(max_entries=self.max_entries, clock=clock)
