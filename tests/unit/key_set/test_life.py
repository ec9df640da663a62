"""A provider is entered, works in the background, is left, and can be used without all that."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from authkit.clock import SystemClock
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import (
    KeySetDocument,
)
from authkit.key_set import KeySetProvider, refresher
from authkit.testing import ManualClock
from tests.unit.key_set.scripted import (
    DOWN,
    EnteredSource,
    ScriptedSource,
    jwks,
    kids,
    settle,
    until_fetched,
)

pytestmark = pytest.mark.anyio


async def test_entering_fetches_at_once_and_waits_for_nothing(
    provider: KeySetProvider, source: ScriptedSource
) -> None:
    """A service starts while its key server hangs, and has the keys before the first request."""
    source.gate.clear()
    async with asyncio.timeout(10), provider:
        await settle()
        assert source.fetches == 1
        source.gate.set()
        await settle()
        with pytest.raises(StopIteration) as answered:
            provider.find("a", "ES256").send(None)
        assert kids(answered.value.value) == ["a"]


async def test_entering_does_not_fail_because_the_key_server_is_down(
    provider: KeySetProvider, source: ScriptedSource
) -> None:
    """The outage is an answer to requests, not a service that does not start."""
    source.answer = RuntimeError("a bug in the source")
    async with provider:
        with pytest.raises(BackendUnavailable):
            await provider.find("a", "ES256")


@pytest.fixture
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresher, "SHORTEST_PAUSE_SECONDS", 0.01)


@pytest.mark.usefixtures("_no_pause")
async def test_entered_it_refreshes_without_being_asked() -> None:
    """Ahead of freshness, through failures, and for as long as it is entered."""
    system = SystemClock()
    source = ScriptedSource(system, jwks("a"))
    source.fresh_seconds = 0.2
    provider = KeySetProvider(
        source, clock=system, min_fresh_seconds=0.1, cooldown_seconds=0.02, timeout_seconds=1
    )
    async with provider:
        for answer in (jwks("a"), DOWN, jwks("b")):
            source.answer = answer
            await until_fetched(source, source.fetches + 2)
        assert kids(await provider.find("b", "ES256")) == ["b"]
    fetches = source.fetches
    await asyncio.sleep(0.3)
    assert source.fetches == fetches


@pytest.mark.usefixtures("_no_pause")
async def test_in_the_background_too_the_cooldown_is_obeyed(
    provider: KeySetProvider, source: ScriptedSource
) -> None:
    """An entered provider does not hammer a server that is down."""
    source.answer = DOWN
    async with provider:
        await asyncio.sleep(0.1)
        assert source.fetches == 1


async def test_entering_is_counted_and_the_last_exit_closes(clock: ManualClock) -> None:
    """Nested, repeated and concurrent entering enter the source once each time."""
    source = EnteredSource(clock, jwks("a"))
    provider = KeySetProvider(source, clock=clock)

    async def enter() -> None:
        async with provider as entered:
            assert entered is provider
            await settle()

    async with provider:
        async with provider:
            assert source.log == ["enter"]
        assert source.log == ["enter"]
        await asyncio.gather(enter(), enter(), enter())
        assert source.log == ["enter"]
    assert source.log == ["enter", "exit"]
    await asyncio.gather(enter(), enter())
    assert source.log == ["enter", "exit"] * 2


async def test_a_source_that_cannot_be_entered_leaves_nothing_open(clock: ManualClock) -> None:
    """Wrong credentials of a shared store fail the start, and a second try can succeed."""

    class ClosedSource(EnteredSource):
        async def __aenter__(self) -> EnteredSource:
            if not self.log:
                self.log.append("refused")
                raise ConfigurationError("wrong password")
            return await super().__aenter__()

    source = ClosedSource(clock, jwks("a"))
    provider = KeySetProvider(source, clock=clock)
    with pytest.raises(ConfigurationError):
        await provider.__aenter__()
    assert source.fetches == 0
    async with provider:
        assert source.log == ["refused", "enter"]
    assert source.log == ["refused", "enter", "exit"]


async def test_leaving_ends_the_fetch_and_those_who_wait_for_it(clock: ManualClock) -> None:
    """The source is left only when nothing uses it any more."""
    source = EnteredSource(clock, jwks("a"))
    source.gate.clear()
    provider = KeySetProvider(source, clock=clock)
    async with provider:
        waiting = asyncio.create_task(provider.find("a", "ES256"))
        await settle()
    assert source.cancelled == 1
    assert source.log == ["enter", "exit"]
    with pytest.raises(BackendUnavailable):
        await waiting
    assert provider.stats()["fetch_failures_total"] == 0  # A shutdown is not an outage.


async def test_leaving_does_not_wait_for_ever_for_a_source_that_will_not_end(
    clock: ManualClock,
) -> None:
    """A shutdown has its own deadline."""
    release = asyncio.Event()

    class StubbornSource(ScriptedSource):
        async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return await super().fetch(previous)

    provider = KeySetProvider(StubbornSource(clock, jwks("a")), clock=clock, timeout_seconds=0.05)
    async with asyncio.timeout(10), provider:
        await settle()
    release.set()
    await settle()


async def test_a_fetch_that_never_ends_is_given_up(clock: ManualClock) -> None:
    """One hanging fetch does not stand in the way of all later ones."""
    source = ScriptedSource(clock, jwks("a"))
    source.gate.clear()
    provider = KeySetProvider(source, clock=clock, timeout_seconds=0.02, cooldown_seconds=0.05)
    with pytest.raises(BackendUnavailable):
        await provider.find("a", "ES256")
    await asyncio.sleep(0.1)
    assert source.cancelled == 1
    assert provider.stats()["fetch_failures_total"] == 1
    source.gate.set()
    clock.advance(1)
    assert kids(await provider.find("a", "ES256")) == ["a"]


async def test_a_source_that_needs_long_is_given_the_time(clock: ManualClock) -> None:
    """Beyond the cooldown too: requests do not wait for it, and join it instead of asking anew."""
    source = ScriptedSource(clock, jwks("a"))
    source.gate.clear()
    provider = KeySetProvider(
        source, clock=clock, timeout_seconds=0.01, cooldown_seconds=0.01, longest_fetch_seconds=5
    )
    for _ in range(3):
        with pytest.raises(BackendUnavailable):
            await provider.find("a", "ES256")
        clock.advance(1)
    source.gate.set()
    await settle()
    assert kids(await provider.find("a", "ES256")) == ["a"]
    assert provider.stats()["fetches_total"] == 1


async def test_after_the_last_exit_it_works_on_demand(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """What is known stays known, and the next request can fetch."""
    async with provider:
        await settle()
    clock.advance(1000)
    assert kids(await provider.find("a", "ES256")) == ["a"]
    assert source.fetches == 2


def test_it_can_be_used_in_one_event_loop_after_another(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """A fetch that went down with its event loop is not waited for in the next one."""
    loop = asyncio.new_event_loop()
    source.gate.clear()
    waiting = loop.create_task(provider.find("a", "ES256"))
    loop.run_until_complete(asyncio.sleep(0.01))
    abandoned = asyncio.all_tasks(loop)
    assert len(abandoned) == 2
    for task in abandoned:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*abandoned, return_exceptions=True))
    assert waiting.cancelled()
    loop.close()

    clock.advance(30)
    source.gate = asyncio.Event()
    source.gate.set()
    assert kids(asyncio.run(provider.find("a", "ES256"))) == ["a"]


async def test_a_fetch_belongs_to_no_request(clock: ManualClock) -> None:
    """What a request keeps in context variables (a trace, a user) does not leak into it."""
    user: ContextVar[str] = ContextVar("user", default="nobody")
    seen: list[str] = []

    class WatchedSource(ScriptedSource):
        async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
            seen.append(user.get())
            return await super().fetch(previous)

    user.set("alice")
    await KeySetProvider(WatchedSource(clock, jwks("a")), clock=clock).find("a", "ES256")
    assert seen == ["nobody"]


def bad_arguments() -> Iterator[dict[str, Any]]:
    for name in ("timeout_seconds", "min_fresh_seconds", "max_keys"):
        yield {name: 0}
    for name in (
        "timeout_seconds",
        "cooldown_seconds",
        "last_known_good_seconds",
        "longest_fetch_seconds",
    ):
        for value in (-1, math.nan, math.inf, "5", True, None):
            yield {name: value}
    yield {"refresh_ahead": 1}
    yield {"refresh_ahead": -0.1}
    yield {"min_fresh_seconds": 100, "max_fresh_seconds": 99}


@pytest.mark.parametrize("arguments", list(bad_arguments()), ids=repr)
def test_a_number_that_cannot_be_meant_is_refused_at_construction(
    source: ScriptedSource, arguments: dict[str, Any]
) -> None:
    """And the message names it."""
    with pytest.raises(ConfigurationError, match=list(arguments)[-1]):
        KeySetProvider(source, **arguments)


def test_something_that_is_no_source_is_refused_at_construction() -> None:
    """Not at the first request."""
    nothing: Any = object()
    with pytest.raises(ConfigurationError, match="KeySource"):
        KeySetProvider(nothing)
