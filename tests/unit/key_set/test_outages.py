"""Fresh, refreshed ahead, last known good, unavailable; and unknown keys in each of them."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc

import pytest

from authkit.errors import BackendUnavailable
from authkit.interfaces import (
    StateChange,
)
from authkit.key_set import KeySetProvider
from authkit.testing import ManualClock
from tests.unit.key_set.scripted import (
    DOWN,
    ScriptedSource,
    jwks,
    kids,
    settle,
)

pytestmark = pytest.mark.anyio


async def test_a_set_is_refreshed_in_the_background_before_its_freshness_ends(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """No request waits for a refresh ahead of time, and the lease moves with it."""
    key = (await provider.find("a", "ES256"))[0]
    until = key.lease.trusted_until
    source.gate.clear()
    clock.advance(545)

    assert await provider.find("a", "ES256") == (key,)
    await settle()
    assert source.fetches == 2
    source.gate.set()
    await settle()
    assert key.lease.trusted_until == until + 545
    clock.advance(400)
    assert await provider.find("a", "ES256") == (key,)
    assert source.fetches == 2


async def test_a_source_is_given_the_document_it_gave(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """It can ask whether that has changed; one that was no good is not given back."""
    await provider.find("a", "ES256")
    clock.advance(60)
    source.answer = b"<html>"
    with pytest.raises(BackendUnavailable):
        await provider.refresh()
    clock.advance(60)
    source.answer = jwks("a")
    await provider.refresh()

    bodies = [document and document.body for document in source.previous]
    assert bodies == [None, jwks("a"), jwks("a")]


async def test_after_idling_a_request_waits_for_the_refresh(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """Keys that nobody asked for are not served past their freshness unasked."""
    old = (await provider.find("a", "ES256"))[0]
    source.answer = jwks("b")
    clock.advance(1000)

    assert kids(await provider.find("b", "ES256")) == ["b"]
    assert old.lease.withdrawn
    assert source.fetches == 2


async def test_after_idling_in_an_outage_the_last_known_good_keys_are_served(
    impatient: KeySetProvider,
    source: ScriptedSource,
    clock: ManualClock,
) -> None:
    """Also where the server does not even say that it is down."""
    changes: list[StateChange] = []
    impatient.observe(changes.append)
    await impatient.find("a", "ES256")
    source.gate.clear()
    clock.advance(1000)

    assert kids(await impatient.find("a", "ES256")) == ["a"]
    assert [change.new for change in changes] == ["fresh", "last_known_good"]


async def test_an_outage_is_bridged_for_a_bounded_time_and_reported(
    provider: KeySetProvider,
    source: ScriptedSource,
    clock: ManualClock,
    changes: list[StateChange],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Fresh, last known good, unavailable, fresh: each change once to listeners and to the log."""
    caplog.set_level(logging.INFO, "authkit")
    start = clock.time()
    await provider.find("a", "ES256")
    source.answer = DOWN
    while clock.time() < start + 600 + 3600 - 60:
        clock.advance(59)
        assert kids(await provider.find("a", "ES256")) == ["a"]
        await settle()
    clock.advance(120)
    for _ in range(3):
        with pytest.raises(BackendUnavailable) as refused:
            await provider.find("a", "ES256")
    assert refused.value.__cause__ is DOWN
    source.answer = jwks("a")
    clock.advance(90)
    assert kids(await provider.find("a", "ES256")) == ["a"]

    assert [(change.old, change.new, change.code) for change in changes] == [
        ("unknown", "fresh", None),
        ("fresh", "last_known_good", "backend_unavailable"),
        ("last_known_good", "unavailable", "backend_unavailable"),
        ("unavailable", "fresh", None),
    ]
    assert {(change.interface, change.name) for change in changes} == {
        ("keys", "https://issuer.example")
    }
    assert [(record.levelname, record.name) for record in caplog.records] == [
        ("INFO", "authkit"),
        ("WARNING", "authkit"),
        ("ERROR", "authkit"),
        ("WARNING", "authkit"),
    ]
    assert "https://issuer.example: last_known_good, was fresh" in caplog.messages[1]
    assert "the key server is down" in caplog.messages[1]


async def test_in_an_outage_requests_are_served_at_once(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """While the next attempt hangs, nobody waits for it."""
    await provider.find("a", "ES256")
    source.answer = DOWN
    clock.advance(545)
    await provider.find("a", "ES256")
    await settle()
    source.gate.clear()
    clock.advance(60)

    with pytest.raises(StopIteration) as answered:
        provider.find("a", "ES256").send(None)
    assert kids(answered.value.value) == ["a"]
    await settle()
    assert source.fetches == 3
    source.gate.set()
    await settle()


async def test_within_the_cooldown_nothing_is_fetched_and_the_answer_comes_at_once(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """A cold start against a dead server says when to come again."""
    source.answer = DOWN
    with pytest.raises(BackendUnavailable):
        await provider.find("a", "ES256")
    clock.advance(12)
    for _ in range(50):
        with pytest.raises(BackendUnavailable) as refused:
            await provider.find("a", "ES256")

    assert refused.value.retry_after_seconds == 18
    assert source.fetches == 1
    clock.advance(18)
    source.answer = jwks("a")
    with pytest.raises(BackendUnavailable):
        await provider.find("a", "ES256")
    await settle()
    assert kids(await provider.find("a", "ES256")) == ["a"]


async def test_unavailable_is_answered_at_once_while_the_next_attempt_hangs(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """No request waits for a server that was just found to be down; its end is noticed beside."""
    source.answer = DOWN
    with pytest.raises(BackendUnavailable):
        await provider.find("a", "ES256")
    source.gate.clear()
    source.answer = jwks("a")
    clock.advance(89)
    for _ in range(3):
        with pytest.raises(BackendUnavailable) as refused:
            provider.find("a", "ES256").send(None)
        assert refused.value.code == "backend_unavailable"
        await settle()
    assert source.fetches == 2

    source.gate.set()
    await settle()
    assert kids(await provider.find("a", "ES256")) == ["a"]
    assert source.fetches == 2


async def test_a_first_fetch_that_is_overdue_is_not_waited_for(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """A cold start waits for its keys, but each request only as long as there is hope."""
    source.gate.clear()
    first = asyncio.create_task(provider.find("a", "ES256"))
    await settle()
    assert not first.done()
    clock.advance(30)
    with pytest.raises(BackendUnavailable):
        provider.find("a", "ES256").send(None)

    source.gate.set()
    assert kids(await first) == ["a"]


async def test_a_changing_cause_is_logged_once_for_each_change(
    provider: KeySetProvider,
    source: ScriptedSource,
    clock: ManualClock,
    changes: list[StateChange],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever mends one fault sees the next; whoever asks often sees nothing more."""
    causes = ["HTML", "garbage", "garbage", "status 500", "garbage"]
    for cause in causes:
        source.answer = BackendUnavailable("keys", cause)
        for _ in range(3):
            with pytest.raises(BackendUnavailable):
                await provider.find("a", "ES256")
            await settle()
        clock.advance(30)

    assert caplog.messages == [
        "keys of https://issuer.example: unavailable, was unknown (keys: HTML)",
        "keys of https://issuer.example: still unavailable (keys: garbage)",
        "keys of https://issuer.example: still unavailable (keys: status 500)",
        "keys of https://issuer.example: still unavailable (keys: garbage)",
    ]
    assert [record.levelname for record in caplog.records] == ["ERROR", *["WARNING"] * 3]
    assert [change.new for change in changes] == ["unavailable"]


async def test_keys_that_were_never_in_doubt_are_no_warning(
    provider: KeySetProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """A usual start is silent under plain logging."""
    await provider.find("a", "ES256")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_an_unknown_key_id_costs_one_fetch_that_the_request_waits_for(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """The first token signed by a new key is accepted."""
    await provider.find("a", "ES256")
    clock.advance(30)
    source.answer = jwks("a", "new")

    assert kids(await provider.find("new", "ES256")) == ["new"]
    assert source.fetches == 2


async def test_a_key_with_another_algorithm_is_no_such_key(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """It may have been replaced under its id, so it is asked for like an unknown one."""
    await provider.find("a", "ES256")
    clock.advance(30)

    assert await provider.find("a", "ES384") == ()
    assert source.fetches == 2


async def test_a_flood_of_unknown_key_ids_costs_one_fetch_in_a_cooldown_and_no_memory(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """Nobody can make us a nuisance to the issuer by inventing key ids."""
    await provider.find("a", "ES256")
    await provider.find("warm", "ES256")
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for second in range(300):
        clock.advance(1)
        for number in range(10):
            assert await provider.find(f"kid-{second}-{number}", "ES256") == ()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert source.fetches == 1 + 10
    assert after - before < 50_000
    assert provider.stats()["unknown_key_ids_total"] == 3001


async def test_an_unknown_key_id_is_an_outage_if_the_last_refresh_failed(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """A new key during an outage is not a bad token; a known one is served all along."""
    await provider.find("a", "ES256")
    clock.advance(30)
    source.answer = DOWN
    for _ in range(3):
        with pytest.raises(BackendUnavailable) as refused:
            await provider.find("new", "ES256")
        assert refused.value.code == "key_unknown_unconfirmed"
        assert refused.value.retry_after_seconds == 30
        assert refused.value.__cause__ is DOWN
        assert kids(await provider.find("a", "ES256")) == ["a"]
    assert source.fetches == 2

    clock.advance(30)
    source.answer = jwks("a", "new")
    assert kids(await provider.find("new", "ES256")) == ["new"]


async def test_an_unknown_key_id_is_an_outage_if_the_refresh_does_not_end(
    impatient: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """It could not be confirmed in time."""
    await impatient.find("a", "ES256")
    clock.advance(30)
    source.gate.clear()
    with pytest.raises(BackendUnavailable) as refused:
        await impatient.find("new", "ES256")
    assert refused.value.code == "key_unknown_unconfirmed"
    source.gate.set()


async def test_any_successful_refresh_makes_a_refused_key_id_known(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """Having been refused is not held against a key that is published later."""
    await provider.find("a", "ES256")
    assert await provider.find("new", "ES256") == ()
    clock.advance(30)
    source.answer = jwks("a", "new")
    await provider.refresh()

    assert kids(await provider.find("new", "ES256")) == ["new"]
    assert source.fetches == 2


async def test_refresh_obeys_the_cooldown(
    provider: KeySetProvider, source: ScriptedSource, clock: ManualClock
) -> None:
    """Being told often does not make it ask often; it says so if what is known is in doubt."""
    for _ in range(5):
        await provider.refresh()
    assert source.fetches == 1
    clock.advance(30)
    source.answer = DOWN
    for _ in range(5):
        with pytest.raises(BackendUnavailable) as refused:
            await provider.refresh()
    assert refused.value.code == "backend_unavailable"
    assert source.fetches == 2
    assert kids(await provider.find("a", "ES256")) == ["a"]
