"""Whoever stands before Redis, and gives its old answers again, brings no old key set back."""

from __future__ import annotations

from typing import Any

import pytest

from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument
from authkit.testing import ManualClock
from authkit_redis.link import NotSent
from authkit_redis.shared_keys.newest import Newest
from authkit_redis.shared_keys.scripts import CLAIM
from authkit_redis.shared_keys.seal import Note, Record
from authkit_redis.shared_keys.source import RedisKeySource
from tests.unit.redis.scripted_keys import (
    BODY,
    NOW_MS,
    SEAL,
    ScriptedLink,
    Source,
    granted,
    shared,
)

pytestmark = pytest.mark.anyio

OLD = b'{"keys":[ ]}'
DAY_MS = 86_400_000
WALL_MS = 1_800_000_000_000


def sealed(asked_ms: int, wall_ms: int, body: bytes = OLD) -> bytes:
    """What the fleet has published."""
    given: dict[str, Any] = {"fresh_seconds": 600.0, "etag": None, "body": body}
    return SEAL.record(Record(asked_ms=asked_ms, wall_ms=wall_ms, **given))


def document(body: bytes) -> KeySetDocument:
    """What a source gives."""
    return KeySetDocument(body=body, etag=None, fetched_at=5000.0, fresh_seconds=600.0)


def suffices(now_ms: int, record: bytes) -> list[Any]:
    """The answer that a record is new enough."""
    return [0, str(now_ms).encode(), record, None, b"o" * 16, 0]


def begun() -> tuple[ScriptedLink, Source, ManualClock, RedisKeySource]:
    """A process that is to fetch, and its surroundings."""
    link, clock = ScriptedLink(claim=granted()), ManualClock(WALL_MS / 1000)
    source = Source(fetched_at=clock.time())
    return link, source, clock, shared(link, source, clock=clock)


@pytest.mark.parametrize("back_ms", [2_000, 120_000, 90 * DAY_MS])
async def test_an_old_answer_brings_nothing_back_to_who_has_seen_a_newer_set(back_ms: int) -> None:
    """However often it is given: the provider itself is asked each time."""
    link, source, clock, process = begun()
    had = await process.fetch(None)
    clock.advance(300)
    # As any process was answered then, when the provider had been asked 50 ms before.
    then = NOW_MS - back_ms
    link.answers[CLAIM] = suffices(then, sealed(then - 50, WALL_MS - back_ms - 50))
    for requests, previous in enumerate((had, None, had), start=2):
        assert (await process.fetch(previous)).body == BODY
        assert source.requests == requests
        clock.advance(600)
    assert process.stats()["rolled_back_total"] == process.stats()["direct_total"] == 3
    assert process.stats()["shared_total"] == 0


async def test_an_old_answer_brings_nothing_back_where_redis_was_not_there() -> None:
    """What was fetched without it is not followed by what was there before."""
    link, source, clock, process = begun()
    link.answers[CLAIM] = replayed = suffices(NOW_MS, sealed(NOW_MS - 50, WALL_MS - 50))
    assert (await process.fetch(None)).body == OLD
    link.answers[CLAIM] = NotSent("cut off")
    clock.advance(300)
    had = await process.fetch(None)
    link.answers[CLAIM] = replayed
    clock.advance(300)
    assert (await process.fetch(had)).body == BODY
    assert source.requests == 2


async def test_a_server_whose_clock_was_set_back_is_shared_with_again() -> None:
    """By who has asked the provider itself once, and from then on by its new clock."""
    link, source, clock, process = begun()
    had = await process.fetch(None)
    clock.advance(300)
    now_ms, wall_ms = NOW_MS - 300_000, WALL_MS + 300_000
    link.answers[CLAIM] = suffices(now_ms, sealed(now_ms - 50, wall_ms - 50))
    had = await process.fetch(had)
    assert (had.body, source.requests) == (BODY, 2)
    clock.advance(300)
    newer = sealed(now_ms + 299_000, wall_ms + 299_000, b'{"keys":[  ]}')
    link.answers[CLAIM] = suffices(now_ms + 300_000, newer)
    assert (await process.fetch(had)).body == b'{"keys":[  ]}'
    assert source.requests == 2


async def test_whoever_may_fetch_by_a_clock_that_was_set_back_does_it_for_the_fleet() -> None:
    """By that clock; and does not take what it had for newer than that."""
    link, _, clock, process = begun()
    had = await process.fetch(None)
    clock.advance(300)
    link.answers[CLAIM] = granted(NOW_MS - DAY_MS)
    had = await process.fetch(had)
    assert [args[2] for args in link.published] == [NOW_MS, NOW_MS - DAY_MS]
    clock.advance(300)
    now_ms, wall_ms = NOW_MS - DAY_MS + 300_000, WALL_MS + 600_000
    link.answers[CLAIM] = suffices(now_ms, sealed(now_ms - 50, wall_ms - 50))
    assert (await process.fetch(had)).body == OLD  # which is the newer one now
    assert process.stats()["shared_total"] == 1
    assert process.stats()["direct_total"] == 0


async def test_an_old_answer_brings_nothing_back_while_the_provider_is_down() -> None:
    """Nor does it where this process is to fetch, and there is nothing better."""
    link, source, clock, process = begun()
    had = await process.fetch(None)
    clock.advance(300)
    source.answer = OSError()
    then = NOW_MS - 120_000
    link.answers[CLAIM] = granted(then)
    link.answers[CLAIM][2] = sealed(then - 50, WALL_MS - 120_050)
    for previous in (had, None):
        with pytest.raises(BackendUnavailable):
            await process.fetch(previous)
    assert source.requests == 3


@pytest.mark.parametrize(
    ("older_ms", "is_taken"),
    [(600_000, True), (-600_000, True), (-DAY_MS, True), (7_200_000, False), (90 * DAY_MS, False)],
)
async def test_a_new_process_believes_a_server_only_by_its_own_clock(
    older_ms: int, is_taken: bool
) -> None:
    """Clocks may be minutes apart; what is hours older than Redis says is refused."""
    link, source, _, process = begun()
    link.answers[CLAIM] = suffices(NOW_MS, sealed(NOW_MS - 50, WALL_MS - older_ms))
    assert (await process.fetch(None)).body == (OLD if is_taken else BODY)
    assert source.requests == process.stats()["refused_total"] == (not is_taken)


async def test_an_old_failure_holds_back_nobody_by_an_old_answer() -> None:
    """A note has the clock of its process in its seal, as a set has."""
    moment = NOW_MS - 90 * DAY_MS
    note = SEAL.note(Note(moment - 50, WALL_MS - 90 * DAY_MS))
    link, source, _, process = begun()
    link.answers[CLAIM] = [3, str(moment).encode(), None, note, None, 0]
    assert (await process.fetch(None)).body == BODY
    assert source.requests == 1


def test_many_small_steps_back_are_one() -> None:
    """A server's clock that is always a little behind what it was, is behind in the end."""
    newest = Newest(ManualClock())
    said = (NOW_MS, NOW_MS - 50_000, NOW_MS - 100_000, NOW_MS + 10)
    assert [newest.follows(now_ms, at=7.0) for now_ms in said] == [True, True, False, True]


def test_by_a_clock_that_was_set_back_the_newest_is_what_came_then() -> None:
    """Although the server's time of asking is less than it was before."""
    newest = Newest(ManualClock())
    newest.is_now(document(OLD), asked_ms=NOW_MS, asked_at=10.0)
    newest.begins_anew(NOW_MS - DAY_MS, at=20.0)
    newest.is_now(document(BODY), asked_ms=NOW_MS - DAY_MS, asked_at=20.0)
    assert newest.known(document(BODY)) == NOW_MS - DAY_MS


def test_a_fetch_that_was_slow_does_not_set_the_newest_back() -> None:
    """Where two fetches of a source overlap, the later question has the newer answer."""
    newest = Newest(ManualClock())
    first, second = document(OLD), document(BODY)
    newest.is_now(second, asked_ms=NOW_MS, asked_at=20.0)
    newest.is_now(first, asked_ms=None, asked_at=10.0)
    assert newest.asked_ms(NOW_MS) == NOW_MS
    newest.is_now(first, asked_ms=NOW_MS - 1, asked_at=21.0)
    assert newest.known(second) == NOW_MS
