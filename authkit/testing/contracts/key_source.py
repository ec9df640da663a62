"""The contract of a KeySource."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest

from authkit.clock import Clock
from authkit.interfaces import KeySetDocument, KeySource
from authkit.jose.jwk import parse_jwk_set
from authkit.testing.contracts.backend import Advance, BackendContract, Outage, needs
from authkit.testing.contracts.concurrency import cancelled_among, together
from authkit.testing.contracts.key_provider import Rotate
from authkit.testing.contracts.published_keys import (
    jwk_set,
    make_signing_keys,
    published_document,
)

__all__ = ["KeySourceContract"]

AT_ONCE = 10


class KeySourceContract(BackendContract):
    """What a KeySource promises.

    Subclass it and override the fixture `source`, which gives a source of `published`, a JWK Set
    as a dict:

        class TestMySource(KeySourceContract):
            @pytest.fixture
            def source(self, published, clock, tmp_path):
                (tmp_path / "jwks.json").write_text(json.dumps(published))
                return MySource(tmp_path / "jwks.json", clock=clock)

    Attributes:
        can_rotate: the fixture `rotate` is overridden.

    The attributes of `BackendContract` and its fixtures `clock`, `advance` and `outage` are
    there too.
    """

    interface = "keys"
    can_rotate: bool = False

    @pytest.fixture
    def source(self) -> KeySource:
        """The source under test; to be overridden."""
        raise NotImplementedError("override the fixture `source`")

    @pytest.fixture
    def published(self) -> dict[str, Any]:
        """The JWK Set that the source gives at first, to be changed by nobody."""
        return published_document()

    @pytest.fixture
    def rotate(self) -> Rotate:
        """Override it, and declare `can_rotate = True`, where keys can change."""
        raise NotImplementedError("can_rotate = True needs the fixture `rotate`")

    @pytest.fixture
    def backend(self, source: KeySource) -> KeySource:
        return source

    async def use(self, backend: KeySource) -> None:
        assert parse_jwk_set((await backend.fetch(None)).body)

    async def fetch(
        self, source: KeySource, previous: KeySetDocument | None = None
    ) -> KeySetDocument:
        return await self.in_time(source.fetch(previous))

    async def test_fetches_what_is_published(
        self, source: KeySource, published: Mapping[str, Any], clock: Clock
    ) -> None:
        """`body` is the published set, as of `fetched_at`, which is no later than now."""
        document = await self.fetch(source)
        _assert_same_keys(document, published)
        assert document.fetched_at <= clock.time() + self.clock_tolerance_seconds
        assert document.fetched_at >= clock.time() - self.staleness_seconds - self.timeout_seconds
        assert 0 <= document.fresh_seconds < math.inf

    async def test_what_has_not_changed_is_known_anew(
        self, source: KeySource, advance: Advance
    ) -> None:
        """Given the last document, it gives the same keys with a later `fetched_at`."""
        first = await self.fetch(source)
        for _ in range(2):
            await advance(1 + self.staleness_seconds)
            second = await self.fetch(source, first)
            assert second.body == first.body
            assert second.fetched_at > first.fetched_at
            first = second

    async def test_a_document_is_fetched_whoever_had_it_before(
        self, source: KeySource, published: Mapping[str, Any]
    ) -> None:
        """Without the last document it gives the whole set, as often as it is asked."""
        for _ in range(2):
            _assert_same_keys(await self.fetch(source), published)

    @needs("can_rotate")
    async def test_what_has_changed_is_fetched(
        self, source: KeySource, rotate: Rotate, advance: Advance
    ) -> None:
        """Given the last document, it gives the new set where there is one."""
        first = await self.fetch(source)
        new = jwk_set(make_signing_keys()["rsa"].public_jwk())
        await rotate(new)
        await advance(self.staleness_seconds)
        _assert_same_keys(await self.fetch(source, first), new)

    async def test_answers_many_at_once(
        self, source: KeySource, published: Mapping[str, Any]
    ) -> None:
        """Calls at the same time get the document that one would get."""
        calls = (source.fetch(None) for _ in range(AT_ONCE))
        for document in await together(self.timeout_seconds, calls):
            _assert_same_keys(document, published)

    async def test_a_cancelled_fetch_harms_no_other(
        self, source: KeySource, published: Mapping[str, Any]
    ) -> None:
        """Cancelled at any await, a fetch leaves others their answer, in time."""

        async def fetch() -> KeySetDocument:
            return await source.fetch(None)

        for document in await cancelled_among(self.timeout_seconds, fetch, fetch):
            _assert_same_keys(document, published)

    @needs("can_fail")
    async def test_an_outage_is_said_to_be_one(
        self, source: KeySource, outage: Outage, advance: Advance
    ) -> None:
        """It raises BackendUnavailable, in time; it never gives the last document again."""
        first = await self.fetch(source)
        async with outage():
            await advance(self.staleness_seconds)
            await self.assert_unavailable(source.fetch(None))
            await self.assert_unavailable(source.fetch(first))

    @needs("can_fail")
    async def test_an_outage_ends(
        self, source: KeySource, published: Mapping[str, Any], outage: Outage, advance: Advance
    ) -> None:
        """After an outage from the start, the set is fetched."""
        async with outage():
            await advance(self.staleness_seconds)
            await self.assert_unavailable(source.fetch(None))
        await advance(self.staleness_seconds)
        _assert_same_keys(await self.fetch(source), published)


def _assert_same_keys(document: KeySetDocument, published: Mapping[str, Any]) -> None:
    expected = parse_jwk_set(json.dumps(published).encode())
    assert parse_jwk_set(document.body) == expected
