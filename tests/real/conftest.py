"""The certified OpenID Provider of `tests/idp`, running; nothing in these tests is mocked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from authkit import NoRevocation, RemoteKeyProvider, TrustedIssuer, Verifier
from authkit.clock import Clock, SystemClock
from authkit.testing import AssertingAuditSink, ManualClock
from tests.real.provider import API, Provider, running_provider


@pytest.fixture(scope="session")
def _session_provider() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
async def provider(_session_provider: Provider) -> AsyncIterator[Provider]:
    """The session's provider, with its faults healed."""
    await _session_provider.heal()
    yield _session_provider
    await _session_provider.heal()


@pytest.fixture
def own_provider() -> Iterator[Provider]:
    """A provider of this test alone, which it may stop."""
    with running_provider() as provider:
        yield provider


@pytest.fixture
def clock() -> ManualClock:
    """The present, until the test moves it."""
    return ManualClock(start=SystemClock().time())


@pytest.fixture
def audit_sink() -> AssertingAuditSink:
    """What the verifier records."""
    return AssertingAuditSink()


Trusting = Callable[..., Awaitable[Verifier]]


@pytest.fixture
async def trusting(clock: ManualClock, audit_sink: AssertingAuditSink) -> AsyncIterator[Trusting]:
    """`await trusting(provider, audience, keys=..., **policy)`: a Verifier, running."""
    async with AsyncExitStack() as until_the_end:

        async def start(
            provider: Provider,
            audience: str = API,
            *,
            keys: RemoteKeyProvider | None = None,
            **policy: Any,
        ) -> Verifier:
            verifier = Verifier(
                TrustedIssuer(
                    provider.issuer, audience, keys=keys or keys_of(provider, clock), **policy
                ),
                revocations=NoRevocation(),
                audit=audit_sink,
                clock=clock,
            )
            return await until_the_end.enter_async_context(verifier)

        yield start


def keys_of(provider: Provider, clock: Clock, **options: Any) -> RemoteKeyProvider:
    """The provider's keys, by discovery."""
    return RemoteKeyProvider(provider.issuer, insecure_loopback_http=True, clock=clock, **options)
