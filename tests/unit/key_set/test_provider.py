"""Requests share one fetch, wait for it no longer than they like, and can be cancelled."""

from __future__ import annotations

import asyncio

import pytest

from authkit.errors import BackendUnavailable
from authkit.interfaces import (
    Observable,
    Refreshable,
)
from authkit.key_set import KeySetProvider
from authkit.testing import ManualClock
from tests.unit.key_set.scripted import (
    ScriptedSource,
    kids,
    settle,
)

pytestmark = pytest.mark.anyio


async def test_the_first_find_fetches_and_later_ones_do_not(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """A fresh set answers by itself, and its keys are trusted for the documented time."""
    key = (await provider.find("a", "ES256"))[0]
    clock.advance(400)

    assert await provider.find("a", "ES256") == (key,)
    assert source.fetches == 1
    assert key.lease.trusted_until == clock.time() - 400 + 600 + 3600


def test_it_has_every_ability_of_its_interfaces(provider: KeySetProvider) -> None:
    """The Verifier finds out by these."""
    assert isinstance(provider, Refreshable)
    assert isinstance(provider, Observable)


async def test_a_fresh_set_answers_without_suspending(provider: KeySetProvider) -> None:
    """A request that finds its key pays no trip through the event loop."""
    await provider.find("a", "ES256")
    with pytest.raises(StopIteration) as answered:
        provider.find("a", "ES256").send(None)
    assert kids(answered.value.value) == ["a"]


async def test_a_thousand_requests_at_once_share_one_fetch(
    provider: KeySetProvider, source: ScriptedSource
) -> None:
    """A cold start under load is one request to the issuer."""
    source.gate.clear()
    finds = [asyncio.create_task(provider.find("a", "ES256")) for _ in range(1000)]
    await settle()
    source.gate.set()

    answers = await asyncio.gather(*finds)
    assert source.fetches == 1
    assert {id(answer[0]) for answer in answers} == {id(answers[0][0])}


async def test_refreshes_and_finds_share_one_fetch(
    provider: KeySetProvider, source: ScriptedSource
) -> None:
    """Whoever asks first, the others join."""
    source.gate.clear()
    asked = [asyncio.create_task(provider.refresh()) for _ in range(10)]
    found = [asyncio.create_task(provider.find(kid, "ES256")) for kid in ("a", "x", None)]
    await settle()
    source.gate.set()

    await asyncio.gather(*asked)
    assert [kids(keys) for keys in await asyncio.gather(*found)] == [["a"], [], ["a"]]
    assert source.fetches == 1


async def test_a_request_waits_only_so_long_while_the_fetch_goes_on(
    impatient: KeySetProvider, source: ScriptedSource
) -> None:
    """A slow key server costs one request its timeout, and serves the next one."""
    source.gate.clear()
    with pytest.raises(BackendUnavailable) as refused:
        await impatient.find("a", "ES256")
    assert refused.value.interface == "keys"
    assert refused.value.code == "backend_unavailable"
    assert refused.value.retry_after_seconds == 30

    source.gate.set()
    assert kids(await impatient.find("a", "ES256")) == ["a"]
    assert source.fetches == 1


async def test_each_request_waits_by_its_own_timeout(
    source: ScriptedSource, clock: ManualClock
) -> None:
    """One that came later does not give up with the first."""
    provider = KeySetProvider(source, clock=clock, timeout_seconds=1)
    source.gate.clear()
    first = asyncio.create_task(provider.find("a", "ES256"))
    await asyncio.sleep(0.5)
    second = asyncio.create_task(provider.find("a", "ES256"))
    with pytest.raises(BackendUnavailable):
        await first
    source.gate.set()

    assert kids(await second) == ["a"]


async def test_a_cancelled_request_harms_neither_the_fetch_nor_others(
    provider: KeySetProvider, source: ScriptedSource
) -> None:
    """A client that hangs up takes nobody with it, not even if it was the first."""
    source.gate.clear()
    finds = [asyncio.create_task(provider.find("a", "ES256")) for _ in range(5)]
    await settle()
    for task in finds[:3]:
        task.cancel()
    await settle()
    source.gate.set()

    done = await asyncio.gather(*finds, return_exceptions=True)
    assert [type(result).__name__ for result in done[:3]] == ["CancelledError"] * 3
    assert [kids(result) for result in done[3:] if isinstance(result, tuple)] == [["a"]] * 2
    assert source.fetches == 1
    assert source.cancelled == 0


@pytest.mark.parametrize("kid", ["a", "unknown"])
@pytest.mark.parametrize("steps", range(8))
async def test_cancelled_at_any_await_the_next_request_is_served(
    provider: KeySetProvider, source: ScriptedSource, kid: str, steps: int
) -> None:
    """There is no moment at which hanging up leaves something behind."""
    cancelled = asyncio.create_task(provider.find(kid, "ES256"))
    for _ in range(steps):
        await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)

    assert kids(await provider.find("a", "ES256")) == ["a"]
    await provider.refresh()
    assert source.fetches == 1
