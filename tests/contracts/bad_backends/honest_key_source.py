"""A key source that keeps every promise; each of its steps can be replaced by a bad one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument, KeySource
from authkit.testing.contracts import KeySourceContract
from authkit.testing.contracts.backend import Outage
from authkit.testing.contracts.key_provider import Rotate


class HonestSource:
    """Gives a document in memory, which can be exchanged, and can go away."""

    breaks: tuple[str, ...] = ()
    """The tests that must fail, and no other."""

    breaks_more: bool = False
    """So much is wrong that other tests fail too."""

    declares: ClassVar[Mapping[str, object]] = {}
    """What its suite says beside what is true of all."""

    def __init__(self, published: Mapping[str, Any], clock: Clock) -> None:
        self.clock = clock
        self.published = published
        self.is_down = False

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        await asyncio.sleep(0)
        if self.is_down:
            return self.unavailable(previous)
        body = json.dumps(self.published).encode()
        if previous is not None and self.is_same(previous, body):
            return replace(previous, fetched_at=self.fetched_at(previous))
        return KeySetDocument(
            body=body, etag=None, fetched_at=self.fetched_at(None), fresh_seconds=60.0
        )

    # The steps

    def unavailable(self, previous: KeySetDocument | None) -> KeySetDocument:
        raise BackendUnavailable("keys")

    def is_same(self, previous: KeySetDocument, body: bytes) -> bool:
        return previous.body == body

    def fetched_at(self, previous: KeySetDocument | None) -> float:
        return self.clock.time()

    # What the test does to it

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self.is_down = True
        try:
            yield
        finally:
            self.is_down = False


class Sources(KeySourceContract):
    kind = HonestSource
    can_rotate = True
    can_fail = True

    @pytest.fixture
    def source(self, clock: Clock, published: Mapping[str, Any]) -> KeySource:
        return self.kind(published, clock)

    @pytest.fixture
    def outage(self, source: HonestSource) -> Outage:
        return source.outage

    @pytest.fixture
    def rotate(self, source: HonestSource) -> Rotate:
        async def rotate(published: Mapping[str, Any]) -> None:
            source.published = published

        return rotate
