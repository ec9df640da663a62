"""The same web for each client that we promise to work with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import httpx2
import pytest

from authkit.remote_keys import HttpKeySource
from authkit.testing import ManualClock
from tests.unit.remote_keys.web import (
    ISSUER,
    JWKS_URL,
    Web,
)


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def web(request: pytest.FixtureRequest) -> Web:
    """The same web for each client that we promise to work with."""
    return Web(request.param)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def by_issuer(web: Web, clock: ManualClock) -> AsyncIterator[HttpKeySource]:
    web.publish()
    async with web.client() as client:
        yield HttpKeySource(issuer=ISSUER, client=client, clock=clock, timeout_seconds=5)


@pytest.fixture
async def by_address(web: Web, clock: ManualClock) -> AsyncIterator[HttpKeySource]:
    web.publish()
    async with web.client() as client:
        yield HttpKeySource(JWKS_URL, client=client, clock=clock, timeout_seconds=5)
