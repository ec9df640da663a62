"""Tables that have seen the same say the same, and forget what is over, and nothing before."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authkit.interfaces import Revocation, RevocationScope, TokenFacts
from authkit.revocations import EarliestTime
from authkit.testing import ManualClock
from authkit.testing.contracts.revocation_examples import revocation, token, token_with
from authkit_redis.revocations.digests import Digests
from authkit_redis.revocations.entries import Entry, entry_of
from authkit_redis.revocations.table import RevocationTable

NOW = 1_800_000_000.0
DIGESTS = Digests(None)
SCOPES = [RevocationScope.TOKEN, RevocationScope.SUBJECT, RevocationScope.VERSION]


def a_table(clock: ManualClock | None = None) -> RevocationTable:
    return RevocationTable(DIGESTS, EarliestTime(clock or ManualClock(NOW), 1e6))


def an_entry(
    given: Revocation, stamp: int, *, is_lifted: bool = False, seconds: float = 300.0
) -> Entry:
    digest = DIGESTS.hash(given.scope, given.issuer, given.id)
    entry = entry_of(given, digest, is_lifted=is_lifted)
    return entry._replace(stamp=stamp, expires_at=math.ceil(NOW + seconds))


@st.composite
def histories(draw: st.DrawFn) -> list[list[Entry]]:
    """Of some ids, what the log may say of each, in the order of the stamps."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        scope = draw(st.sampled_from(SCOPES))
        history = []
        for stamp in range(1, draw(st.integers(1, 7)) + 1):
            changes: dict[str, Any] = {}
            if scope is RevocationScope.SUBJECT:
                changes["issued_until"] = NOW + draw(st.integers(-3, 3))
            elif scope is RevocationScope.VERSION:
                changes["minimum_version"] = draw(st.integers(1, 6))
            given = revocation(scope, f"id-{number}", **changes)
            is_lifted = draw(st.integers(0, 3)) == 0
            seconds = draw(st.sampled_from([60.0, 200.0, 300.0]))
            history.append(an_entry(given, stamp, is_lifted=is_lifted, seconds=seconds))
        found.append(history)
    return found


def delivered(histories: list[list[Entry]], chance: random.Random) -> list[Entry]:
    """In some order and some of it again: only a lifting comes where its stamp is, as in a log."""
    queues = [shuffled_between_liftings(history, chance) for history in histories]
    entries: list[Entry] = []
    while any(queues):
        queue = chance.choice([queue for queue in queues if queue])
        entries.append(queue.pop(0))
        if chance.random() < 0.5:
            entries.append(chance.choice(entries))
    return entries


def shuffled_between_liftings(history: list[Entry], chance: random.Random) -> list[Entry]:
    ordered: list[Entry] = []
    part: list[Entry] = []
    for entry in [*history, None]:
        if entry is None or entry.is_lifted:
            chance.shuffle(part)
            ordered += part
            part = []
        if entry is not None and entry.is_lifted:
            ordered.append(entry)
        elif entry is not None:
            part.append(entry)
    return ordered


def expected(history: list[Entry]) -> tuple[int, int, int | None] | None:
    """What holds in the end: when it was lifted, until when it is revoked, and the value."""
    lifted = max((entry.stamp for entry in history if entry.is_lifted), default=0)
    live = [entry for entry in history if not entry.is_lifted and entry.stamp > lifted]
    if not live:
        return None
    values = [entry.value for entry in live if entry.value is not None]
    end = max(entry.expires_at for entry in live)
    return lifted, end + -end % 60, max(values, default=None)


def state(table: RevocationTable, digest: bytes) -> tuple[int, int, int | None] | None:
    """The same, as the table says it."""
    revoked = [entry for entry in table.entries([digest]) if not entry.is_lifted]
    if not revoked:
        return None
    (entry,) = revoked
    return table.stamp_of_lifting(digest), entry.expires_at, entry.value


@given(histories(), st.integers(0, 2**32))
def test_order_and_repetition_change_nothing(histories: list[list[Entry]], seed: int) -> None:
    """The latest end and the largest value after the last lifting hold, whoever heard it how."""
    table = a_table()
    for entry in delivered(histories, random.Random(seed)):
        table.apply(entry)
    for history in histories:
        assert state(table, history[0].digest) == expected(history)
    assert table.digests() == {history[0].digest for history in histories}


@given(histories(), st.integers(0, 2**32))
def test_only_news_is_news(histories: list[list[Entry]], seed: int) -> None:
    """What was taken in is never news again, and news changes what the table says."""
    table = a_table()
    for entry in delivered(histories, random.Random(seed)):
        before = list(table.entries([entry.digest]))
        is_news = table.apply(entry)
        after = list(table.entries([entry.digest]))
        if is_news:
            assert after != before
        assert not table.apply(entry)


@given(histories(), st.integers(0, 2**32))
def test_what_is_written_back_says_all(histories: list[list[Entry]], seed: int) -> None:
    """A table that has it from another alone says the same, and both know that nothing lacks."""
    table, other = a_table(), a_table()
    for entry in delivered(histories, random.Random(seed)):
        table.apply(entry)
    for digest in table.digests():
        exported = list(table.entries([digest]))
        for entry in exported:
            other.apply(entry)
        last = exported[-1]
        assert table.is_matched_by(last)
        assert other.is_matched_by(last)
        assert not a_table().is_matched_by(last)
        one, two = state(table, digest), state(other, digest)
        assert (one is None) == (two is None)
        assert one is None or two is None or one[1:] == two[1:]


def test_an_entry_that_says_less_does_not_match() -> None:
    """An earlier end, a smaller value, or no lifting: then it must be written back."""
    table = a_table()
    subject = revocation(RevocationScope.SUBJECT, issued_until=NOW)
    earlier = revocation(RevocationScope.SUBJECT, issued_until=NOW - 1)
    table.apply(an_entry(subject, 5))
    assert table.is_matched_by(an_entry(subject, 5))
    assert not table.is_matched_by(an_entry(subject, 5, seconds=100))
    assert not table.is_matched_by(an_entry(earlier, 5))
    assert not table.is_matched_by(an_entry(subject, 5, is_lifted=True))
    table.apply(an_entry(subject, 6, is_lifted=True))
    assert not table.is_matched_by(an_entry(subject, 5))
    assert not table.is_matched_by(an_entry(subject, 5, is_lifted=True))
    assert table.is_matched_by(an_entry(subject, 6, is_lifted=True))
    assert not table.is_matched_by(an_entry(subject, 4))


@pytest.mark.parametrize("scope", list(RevocationScope), ids=str)
def test_each_scope_is_found_by_its_own_id(scope: RevocationScope) -> None:
    """With the end and the value that it was given, and no other token."""
    table = a_table()
    given = _of_scope(scope)
    assert table.apply(an_entry(given, 1, seconds=240.0))
    found = table.find(token(NOW))
    assert found is not None
    assert (found.scope, found.issuer, found.id) == (scope, given.issuer, given.id)
    assert found.issued_until == given.issued_until
    assert found.minimum_version == given.minimum_version
    assert found.expires_at == NOW + 240.0
    assert table.find(token(NOW, issuer="https://another.example")) is None
    if scope is not RevocationScope.ISSUER:
        assert table.find(token_with(NOW, scope, "another")) is None
    assert len(table) == 1


_UNTIL = {RevocationScope.SUBJECT, RevocationScope.CLIENT, RevocationScope.ISSUER}


def test_what_is_over_is_forgotten_and_nothing_before() -> None:
    """120 s after its end: revocations, liftings, and what was made longer meanwhile."""
    clock = ManualClock(NOW)
    table = a_table(clock)
    table.apply(an_entry(revocation(RevocationScope.TOKEN, "short"), 1, seconds=60))
    table.apply(an_entry(revocation(RevocationScope.TOKEN, "token-1"), 1, seconds=60))
    table.apply(an_entry(revocation(RevocationScope.TOKEN, "token-1"), 2, seconds=600))
    table.apply(an_entry(revocation(RevocationScope.SUBJECT, issued_until=NOW - 9), 1, seconds=60))
    table.apply(an_entry(revocation(RevocationScope.SUBJECT, issued_until=NOW - 9), 2, seconds=600))
    table.apply(an_entry(revocation(RevocationScope.KEY), 3, is_lifted=True, seconds=60))
    table.apply(an_entry(revocation(RevocationScope.CLIENT), 3, is_lifted=True, seconds=60))
    table.apply(an_entry(revocation(RevocationScope.CLIENT), 4, is_lifted=True, seconds=600))
    assert (len(table), table.lifted) == (3, 2)
    clock.advance(180)
    assert not table.forget(100)
    assert (len(table), table.lifted) == (3, 2)
    clock.advance(1)
    assert not table.forget(100)
    assert (len(table), table.lifted) == (2, 1)
    assert table.find(token(NOW)) is not None
    clock.advance(541)
    assert table.find(token(NOW)) is None  # although it was not forgotten yet
    assert not table.forget(100)
    assert (len(table), table.lifted) == (0, 0)
    assert table.digests() == set()
    # And it may be revoked again.
    table.apply(an_entry(revocation(RevocationScope.TOKEN), 9, seconds=1_000))
    assert table.find(token(NOW)) is not None


def test_forgetting_takes_no_more_steps_than_allowed() -> None:
    """A million that end together do not stop the event loop."""
    clock = ManualClock(NOW)
    table = a_table(clock)
    for number in range(25):
        table.apply(an_entry(revocation(RevocationScope.TOKEN, f"id-{number}"), 1, seconds=60))
    clock.advance(1_000)
    left = []
    while table.forget(10):
        left.append(len(table))
    assert left == [15, 5]
    assert len(table) == 0


def test_a_wall_clock_that_jumps_ahead_ends_nothing() -> None:
    """What it says is believed only after the time has really passed."""
    clock = ManualClock(NOW)
    table = a_table(clock)
    table.apply(an_entry(revocation(RevocationScope.TOKEN), 1, seconds=60))
    clock.set_time(NOW + 1_000_000)
    assert not table.forget(100)
    assert table.find(token(NOW)) is not None
    clock.set_time(NOW)
    assert table.find(token(NOW)) is not None


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_a_lifting_takes_away_only_what_is_older(scope: RevocationScope) -> None:
    """In whatever order they are heard, and both of them twice."""
    revoked = an_entry(_of_scope(scope), 300)
    older, later = [an_entry(revocation(scope), stamp, is_lifted=True) for stamp in (200, 400)]
    for entries in itertools.permutations([revoked, revoked, older, older]):
        table = a_table()
        for entry in entries:
            table.apply(entry)
        assert table.find(token(NOW)) is not None
        assert table.stamp_of_lifting(revoked.digest) == 200
    for entries in itertools.permutations([revoked, older, later]):
        table = a_table()
        for entry in entries:
            table.apply(entry)
        assert table.find(token(NOW)) is None
        assert table.stamp_of_lifting(revoked.digest) == 400


@given(st.data(), histories())
def test_in_any_order_nothing_that_holds_is_missed(
    data: st.DataObject, histories: list[list[Entry]]
) -> None:
    """Liftings too come in any order: what is revoked is the same, at least as long and as far.

    What a later lifting took away of a revocation that was made again may count on.
    """
    entries = [entry for history in histories for entry in history]
    again = data.draw(st.lists(st.sampled_from(entries), max_size=5))
    table = a_table()
    for entry in data.draw(st.permutations(entries + again)):
        table.apply(entry)
    for history in histories:
        found, right = state(table, history[0].digest), expected(history)
        assert (found is None) == (right is None)
        if found is None or right is None:
            continue
        assert found[0] == right[0]
        assert found[1] >= right[1]
        assert (found[2] is None) == (right[2] is None)
        assert found[2] is None or right[2] is None or found[2] >= right[2]


def test_a_forgotten_stamp_yields_to_any_lifting() -> None:
    """After 10,000 others it is not known that the lifting is older; it is written back as 1."""
    table = a_table()
    first = an_entry(revocation(RevocationScope.TOKEN, "first"), 300)
    table.apply(first)
    for number in range(20_000):
        if number == 9_998:
            assert [entry.stamp for entry in table.entries([first.digest])] == [300]
        table.apply(an_entry(revocation(RevocationScope.TOKEN, f"id-{number}"), 300))
    assert [entry.stamp for entry in table.entries([first.digest])] == [1]
    assert table.apply(an_entry(revocation(RevocationScope.TOKEN, "first"), 200, is_lifted=True))
    assert table.find(token(NOW, token_id="first")) is None


class _Interrupted(Digests):
    """Has something happen once a token's ids were looked up, before that is noted."""

    def __init__(self) -> None:
        super().__init__(None)
        self.happens: list[Callable[[], object]] = []

    def of(self, token: TokenFacts) -> tuple[bytes, ...]:
        return _Ids(super().of(token), self.happens)


class _Ids(tuple[bytes, ...]):
    """Ids that do what is to happen when somebody has gone through them."""

    happens: list[Callable[[], object]]

    def __new__(cls, ids: tuple[bytes, ...], happens: list[Callable[[], object]]) -> Self:
        self = super().__new__(cls, ids)
        self.happens = happens
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield from super().__iter__()
        while self.happens:
            self.happens.pop()()


def test_what_is_revoked_while_a_token_is_looked_up_is_found_afterwards() -> None:
    """A question in another thread may note that a token is live just after it was revoked."""
    digests = _Interrupted()
    table = RevocationTable(digests, EarliestTime(ManualClock(NOW), 1e6))
    asked = token(NOW)
    entry = an_entry(revocation(RevocationScope.TOKEN), 1)
    digests.happens.append(lambda: table.apply(entry))
    assert table.find(asked) is None  # it had been looked up already
    assert len(table) == 1
    assert table.find(asked) is not None


def _of_scope(scope: RevocationScope) -> Revocation:
    changes: dict[str, Any] = {"issued_until": NOW} if scope in _UNTIL else {}
    return revocation(scope, **changes)
