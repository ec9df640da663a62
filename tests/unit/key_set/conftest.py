"""A provider over a scripted source, on a clock that stands still."""

from __future__ import annotations

import pytest

from authkit.interfaces import StateChange
from authkit.key_set import KeySetProvider
from authkit.testing import ManualClock
from tests.unit.key_set.scripted import ScriptedSource, jwks


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def source(clock: ManualClock) -> ScriptedSource:
    return ScriptedSource(clock, jwks("a"))


@pytest.fixture
def provider(source: ScriptedSource, clock: ManualClock) -> KeySetProvider:
    """One that waits for longer than any test takes, also on a busy machine."""
    return KeySetProvider(source, clock=clock, name="https://issuer.example", timeout_seconds=30)


@pytest.fixture
def impatient(source: ScriptedSource, clock: ManualClock) -> KeySetProvider:
    """One whose requests soon give up, for a source that hangs."""
    return KeySetProvider(source, clock=clock, name="https://issuer.example", timeout_seconds=0.1)


@pytest.fixture
def changes(provider: KeySetProvider) -> list[StateChange]:
    seen: list[StateChange] = []
    provider.observe(seen.append)
    return seen
