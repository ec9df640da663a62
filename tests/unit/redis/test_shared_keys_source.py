"""What a RedisKeySource makes of its arguments, of its source, and of odd answers from Redis."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Self

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit_redis.key_provider import RedisKeyProvider
from authkit_redis.link import LinkError, NotSent, OutcomeUnknown, ReplyError
from authkit_redis.shared_keys.scripts import CLAIM, END
from authkit_redis.shared_keys.seal import Note
from authkit_redis.shared_keys.terms import Terms, key_of
from tests.unit.redis.scripted_keys import (
    ADDRESS,
    BODY,
    ISSUER,
    NOW_MS,
    SEAL,
    WALL_MS,
    ScriptedLink,
    Source,
    granted,
    shared,
)

pytestmark = pytest.mark.anyio


class OpenedSource(Source):
    """One that must be entered."""

    entered = 0

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.entered -= 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret": None}, "need a secret"),
        ({"secret": None, "insecure_trust_redis": 1}, "must be True or False"),
        ({"insecure_trust_redis": "false"}, "must be True or False"),
        ({"secret": b"short"}, "at least 16 bytes"),
        ({"issuer": ""}, "issuer must be"),
        ({"address": None}, "address must be"),
        ({"prefix": "{}"}, "prefix must be"),
        ({"fetch_timeout_seconds": 0}, "fetch_timeout_seconds"),
        ({"fetch_timeout_seconds": 61}, "fetch_timeout_seconds"),
        ({"cooldown_seconds": 0}, "cooldown_seconds"),
        ({"stale_if_error_seconds": float("inf")}, "stale_if_error_seconds"),
        ({"max_fresh_seconds": 0}, "max_fresh_seconds"),
        ({"timeout_seconds": "1"}, "timeout_seconds"),
        ({"max_keys": 0}, "max_keys"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], words: str) -> None:
    """At construction, with the name of the argument, by the source and the provider."""
    with pytest.raises(ConfigurationError, match=words):
        shared(ScriptedLink(), Source(), **changes)


def test_a_provider_needs_a_secret_too() -> None:
    """Nobody comes to trust Redis by forgetting an argument."""
    with pytest.raises(ConfigurationError, match="insecure_trust_redis=True"):
        RedisKeyProvider(ScriptedLink(), Source(), issuer=ISSUER, address=ADDRESS)


def test_a_source_must_be_one() -> None:
    """An object without `fetch` is found at once."""
    with pytest.raises(ConfigurationError, match="must be a KeySource"):
        shared(ScriptedLink(), object())


def test_keys_in_redis_tell_issuer_and_address_apart() -> None:
    """Nothing moves from one to the other, and the hash tag keeps it in one slot."""
    key = key_of("authkit", "ab", "c")
    assert key.startswith(b"{authkit:keys:")
    assert key.endswith(b"}")
    assert len({key, key_of("authkit", "a", "bc"), key_of("other", "ab", "c")}) == 3


def test_no_set_is_of_use_for_longer_than_it_may_be_fresh() -> None:
    """Whatever its document says: a day, and the hour for which it may be used after that."""
    terms = Terms(
        fetch_timeout_seconds=5.0,
        cooldown_seconds=30.0,
        stale_if_error_seconds=3600.0,
        max_fresh_seconds=86400.0,
        timeout_seconds=0.25,
    )
    for fresh_seconds in (31_536_000.0, 1e308):
        assert terms.usable_ms(fresh_seconds) == (86400 + 3600) * 1000
    assert terms.usable_ms(600.0) == (600 + 3600) * 1000


async def test_a_document_keeps_its_own_age() -> None:
    """A source that hands on what it has had for a while does not make it younger."""
    link = ScriptedLink(claim=granted())
    document = await shared(link, Source(fetched_at=4900.0)).fetch(None)
    assert document.fetched_at == 4900.0


@pytest.mark.parametrize(
    "error",
    [NotSent("no"), OutcomeUnknown("late"), ReplyError("OOM")],
    ids=lambda error: type(error).__name__,
)
async def test_where_redis_gives_nothing_the_source_is_asked(
    error: LinkError, caplog: pytest.LogCaptureFixture
) -> None:
    """Each time, and said once."""
    source = Source()
    with caplog.at_level(logging.INFO, logger="authkit"):
        both = shared(ScriptedLink(claim=error), source)
        assert (await both.fetch(None)).body == BODY
        assert (await both.fetch(None)).body == BODY
    assert source.requests == both.stats()["direct_total"] == 2
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "reply",
    [
        None,
        7,
        [],
        [1],
        [b"x", b"1", None, None, None, 0],
        [0, b"1", 5, None, None, 0],
        [1, b"-5", None, None, None, 0],
        [1, b"%d" % 2**53, None, None, None, 0],
        [1, b"9" * 400, None, None, None, 0],
        [1, float("inf"), None, None, None, 0],
    ],
    ids=lambda reply: repr(reply)[:20],
)
async def test_an_odd_reply_is_no_answer(reply: Any) -> None:
    """Whatever a script of another version gives, or a server that was never Redis."""
    source, down = Source(), Source(OSError())
    assert (await shared(ScriptedLink(claim=reply), source).fetch(None)).body == BODY
    with pytest.raises(BackendUnavailable):
        await shared(ScriptedLink(claim=reply), down).fetch(None)
    assert source.requests == down.requests == 1


async def test_a_server_that_holds_back_for_no_reason_is_asked_no_more() -> None:
    """A reply without a record, a note or an owner that would explain it holds nobody for long."""
    for what in (0, 2, 3):
        source = Source()
        link = ScriptedLink(claim=[what, str(NOW_MS).encode(), None, None, None, 0])
        assert (await shared(link, source).fetch(None)).body == BODY
        assert source.requests == 1
        assert len(link.ran) < 20


@pytest.mark.parametrize("answer", [NotSent("no"), ReplyError("READONLY"), 0], ids=repr)
async def test_what_cannot_be_published_is_good_here(answer: Any) -> None:
    """The fetch succeeds all the same, and counts as unshared."""
    source = shared(ScriptedLink(claim=granted(), publish=answer), Source())
    assert (await source.fetch(None)).body == BODY
    assert source.stats()["unshared_total"] == 1


async def test_a_set_too_large_to_be_shared_is_good_here() -> None:
    """And the right to fetch is given back."""
    body = b'{"keys":[]' + b" " * (1024 * 1024) + b"}"
    link = ScriptedLink(claim=granted())
    source = shared(link, Source(body))
    assert (await source.fetch(None)).body == body
    await source._fleet.wait_until_let_go()
    assert source.stats()["unshared_total"] == 1
    assert link.ran[-1] is END


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (BackendUnavailable("keys", "down"), "down"),
        (ValueError("secret words"), "failed with ValueError"),
        (TimeoutError(), "did not answer in time"),
        (asyncio.CancelledError(), "failed with CancelledError"),
        (b"[]", "not a JWK Set"),
    ],
    ids=repr,
)
async def test_a_source_that_fails_is_unavailable_and_that_is_noted(
    answer: object, words: str
) -> None:
    """Whatever it raises or gives; its own words are not repeated."""
    link = ScriptedLink(claim=granted())
    with pytest.raises(BackendUnavailable, match=words) as raised:
        await shared(link, Source(answer)).fetch(None)
    assert raised.value.interface == "keys"
    assert "secret words" not in str(raised.value)
    assert link.ran == [CLAIM, END]


async def test_times_that_are_none_are_refused() -> None:
    """A document whose time is not finite is no document."""
    with pytest.raises(BackendUnavailable, match="not a JWK Set"):
        await shared(ScriptedLink(claim=granted()), Source(fetched_at=float("nan"))).fetch(None)


async def test_a_failure_that_was_noted_holds_back_until_it_is_over() -> None:
    """With the time that is left; the source is not asked."""
    source = Source()
    note = SEAL.note(Note(NOW_MS - 10_000, WALL_MS - 10_000))
    link = ScriptedLink(claim=[3, str(NOW_MS).encode(), None, note, None, 0])
    with pytest.raises(BackendUnavailable, match="failed a moment ago") as raised:
        await shared(link, source).fetch(None)
    assert 19 < raised.value.retry_after_seconds <= 20
    assert source.requests == 0


async def test_is_entered_with_link_and_source_and_left_with_the_last_owner() -> None:
    """Once each, however many enter it."""
    link, inner = ScriptedLink(), OpenedSource()
    source = shared(link, inner)
    for _ in range(2):
        async with source:
            async with source:
                assert (link.entered, inner.entered) == (1, 1)
            assert (link.entered, inner.entered) == (1, 1)
        assert (link.entered, inner.entered) == (0, 0)


async def test_a_process_does_not_wait_for_itself() -> None:
    """A claim that was perhaps heard, and not taken back, is made again by its old name."""
    link = ScriptedLink(claim=OutcomeUnknown("late"), end=OutcomeUnknown("late"))
    source = shared(link, Source())
    for _ in range(2):
        await source.fetch(None)
        await source._fleet.wait_until_let_go()
    link.answers[END] = 1
    await source.fetch(None)
    await source._fleet.wait_until_let_go()
    await source.fetch(None)
    first, second, third, fourth = link.attempts
    assert first == second == third != fourth


async def test_what_is_refused_leaves_nothing_open() -> None:
    """A mistake that is found when it is entered closes what was opened until then."""
    link = ScriptedLink(attempt=[b"0", b"", b"HSET NOPERM no permissions"])
    inner = OpenedSource()
    with pytest.raises(ConfigurationError, match="may not run HSET"):
        async with shared(link, inner):
            pass
    assert (link.entered, inner.entered) == (0, 0)


async def test_begins_without_redis(caplog: pytest.LogCaptureFixture) -> None:
    """An outage is no mistake."""
    async with shared(ScriptedLink(attempt=NotSent("nobody answers")), Source()):
        pass
    assert "begins without sharing: nobody answers" in caplog.text
