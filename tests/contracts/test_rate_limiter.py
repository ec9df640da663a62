"""Every RateLimiter keeps the contract."""

from __future__ import annotations

import pytest

from authkit.clock import Clock
from authkit.testing.contracts import RateLimiterContract
from authkit_memory import MemoryRateLimiter


class TestMemoryInOneProcess(RateLimiterContract):
    """MemoryRateLimiter."""

    is_observable = True
    is_context_manager = True
    max_keys = 100

    @pytest.fixture
    def limiter(self, clock: Clock) -> MemoryRateLimiter:
        return MemoryRateLimiter(max_keys=self.max_keys, clock=clock)
