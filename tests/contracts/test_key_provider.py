"""Every KeyProvider keeps the contract."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument
from authkit.key_set import KeySetProvider
from authkit.testing.contracts import KeyProviderContract
from authkit.testing.contracts.backend import Advance, Outage
from authkit_memory import MemoryKeyProvider

Rotate = Callable[[Mapping[str, Any]], Awaitable[None]]

FRESH_SECONDS = 60.0
COOLDOWN_SECONDS = 30.0


class TestMemoryInOneProcess(KeyProviderContract):
    """MemoryKeyProvider."""

    can_rotate = True
    is_observable = True

    @pytest.fixture
    def provider(self, published: Mapping[str, Any], clock: Clock) -> MemoryKeyProvider:
        return MemoryKeyProvider.from_jwks(published, clock=clock)

    @pytest.fixture
    def rotate(self, provider: MemoryKeyProvider) -> Rotate:
        async def rotate(published: Mapping[str, Any]) -> None:
            provider.replace(published)

        return rotate


class ScriptedSource:
    """A key source that publishes what a test tells it to, and goes down."""

    def __init__(self, published: Mapping[str, Any], clock: Clock) -> None:
        self.published = published
        self.is_down = False
        self._clock = clock

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        await asyncio.sleep(0)
        if self.is_down:
            raise BackendUnavailable("keys")
        return KeySetDocument(
            body=json.dumps(self.published).encode(),
            etag=None,
            fetched_at=self._clock.time(),
            fresh_seconds=FRESH_SECONDS,
        )

    @asynccontextmanager
    async def outage(self) -> AsyncGenerator[None]:
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False


class TestKeySetProviderAsked(KeyProviderContract):
    """KeySetProvider that nobody has entered, so that it fetches when it is asked."""

    can_rotate = True
    can_fail = True
    is_observable = True
    is_refreshable = True
    is_context_manager = True
    # Until a failure is three cooldowns old, requests do not wait for the next attempt.
    staleness_seconds = max(FRESH_SECONDS, 3 * COOLDOWN_SECONDS) + 1

    @pytest.fixture
    def source(self, published: Mapping[str, Any], clock: Clock) -> ScriptedSource:
        return ScriptedSource(published, clock)

    @pytest.fixture
    def provider(self, source: ScriptedSource, clock: Clock) -> KeySetProvider:
        return KeySetProvider(source, clock=clock, cooldown_seconds=COOLDOWN_SECONDS)

    @pytest.fixture
    def outage(self, source: ScriptedSource) -> Outage:
        return source.outage

    @pytest.fixture
    def rotate(self, source: ScriptedSource, provider: KeySetProvider, advance: Advance) -> Rotate:
        async def rotate(published: Mapping[str, Any]) -> None:
            source.published = published
            await advance(COOLDOWN_SECONDS)
            await provider.refresh()

        return rotate


class TestKeySetProviderEntered(TestKeySetProviderAsked):
    """KeySetProvider that is entered, so that it fetches ahead in the background."""

    @pytest.fixture
    async def provider(
        self, source: ScriptedSource, clock: Clock
    ) -> AsyncGenerator[KeySetProvider]:
        async with KeySetProvider(
            source, clock=clock, cooldown_seconds=COOLDOWN_SECONDS
        ) as provider:
            yield provider
