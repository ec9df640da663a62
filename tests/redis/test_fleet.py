"""The promise of revocation in Redis, held against random schedules of faults in a fleet."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.redis.fleet.history import Call, Check, History, Interval, Life, Loss, Token
from tests.redis.fleet.oracle import Oracle, Promise
from tests.redis.fleet.running import run_many
from tests.redis.fleet.worker import FOUND, NONE, OTHER_ERROR, UNAVAILABLE
from tests.redis.machine import redis_server_binaries

pytestmark = pytest.mark.anyio

_PLANTS = "tests.redis.fleet.plants"


def _say(capsys: pytest.CaptureFixture[str], words: str) -> None:
    """A run that passes shows its seed and its count too."""
    with capsys.disabled():
        sys.stdout.write(f"\n{words}\n")


# The promise --------------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.timeout(400)
async def test_no_schedule_of_faults_breaks_the_promise(
    redis_binary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Servers that die, freeze, forget and fork, processes that die and freeze: nothing is lost."""
    first = random.randrange(1_000_000)
    # What another version of Redis may do differently shows in fewer schedules.
    seconds = 55 if redis_binary == next(iter(redis_server_binaries().values())) else 30
    tally = await run_many(
        list(range(first, first + 100)), at_once=10, seconds=seconds, binary=redis_binary
    )
    _say(capsys, f"{tally.schedules} schedules from seed {first} on single")
    assert not tally.failed, tally.words()
    assert tally.counts["final: must be found"] > tally.schedules
    assert tally.counts["final: must not be found, was lifted"] > 0


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.parametrize("topology", ["sentinel", "cluster"])
async def test_no_failover_breaks_the_promise(
    topology: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same with real failovers."""
    first = random.randrange(1_000_000)
    tally = await run_many(list(range(first, first + 10)), topology=topology, at_once=1, seconds=45)
    _say(capsys, f"{tally.schedules} schedules from seed {first} on {topology}")
    assert not tally.failed, tally.words()


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("plant", "violation"),
    [
        ("accepts_while_stale", "accepted after acknowledgement plus bound"),
        ("caches_answers", "accepted after acknowledgement plus bound"),
        ("is_staler_than_it_says", "accepted after acknowledgement plus bound"),
        ("keeps_nothing_itself", "lost"),
        ("writes_back_what_was_lifted", "refused at the end"),
    ],
)
async def test_a_store_with_a_mistake_is_found_out(plant: str, violation: str) -> None:
    """The model test can fail: each of these mistakes breaks the promise within some schedules."""
    tally = await run_many(
        list(range(1, 61)), at_once=8, store=f"{_PLANTS}:{plant}", most_failures=1
    )
    assert tally.counts[f"violation: {violation}"], tally.words()


# The oracle ---------------------------------------------------------------------------------------

_TOKEN = {
    "issuer": "https://a.example",
    "token_id": "t1",
    "subject": None,
    "client_id": None,
    "session_id": None,
    "issued_at": 0.0,
    "token_version": None,
    "key_thumbprint": "another",
}
_NAME = {"scope": "token", "issuer": "https://a.example", "id": "t1"}


def _call(kind: str, start: float, worker: str = "one", outcome: str = "done") -> Call:
    end = start + 0.01 if outcome == "done" else float("inf")
    return Call(kind, worker, _NAME, start, end, outcome)


def _history(*calls: Call, **more: Any) -> History:
    lives = {name: Life(name, 0.0) for name in ("one", "two")}
    return History([Token(_TOKEN)], calls=[*calls], lives=lives, **more)


def _violations(history: History) -> set[str]:
    verdict = Oracle(history, Promise(max_staleness_seconds=1.0, timeout_seconds=1.0)).judge()
    return {words.partition(":")[0] for words in verdict.violations}


def _check(start: float, answer: int, *, end: float | None = None) -> Check:
    return Check("two", 0, start, start + 0.001 if end is None else end, answer)


_LATE = "accepted after acknowledgement plus bound"


@pytest.mark.parametrize(
    ("check", "violations"),
    [
        (_check(1.9, NONE), set()),
        (_check(2.1, NONE), {_LATE}),
        (_check(1.9, NONE, end=2.5), set()),
        (_check(2.1, UNAVAILABLE), set()),
        (_check(2.1, FOUND), set()),
        (_check(0.5, FOUND), {"found what nobody revoked"}),
        (_check(2.1, FOUND, end=4.5), {"call beyond its timeout"}),
        (_check(2.1, OTHER_ERROR), {"foreign error"}),
    ],
    ids=[
        "within the bound",
        "late",
        "begun within the bound",
        "unavailable",
        "refused",
        "never revoked",
        "too slow",
        "foreign error",
    ],
)
def test_a_check_is_judged_by_when_it_began(check: Check, violations: set[str]) -> None:
    """A revocation acknowledged at 1.01 is in force for every check that begins after 2.01."""
    assert _violations(_history(_call("revoke", 1.0), checks=[check])) == violations


def test_what_may_have_been_lifted_need_not_be_refused() -> None:
    """A lifting whose outcome nobody knows may take effect at any time."""
    calls = _call("revoke", 1.0), _call("lift", 1.5, outcome="unavailable")
    assert _violations(_history(*calls, checks=[_check(3.0, NONE)])) == set()


def test_a_lifting_before_the_revocation_lifts_nothing() -> None:
    """A later revocation counts again."""
    calls = _call("lift", 0.5), _call("revoke", 1.0)
    assert _violations(_history(*calls, checks=[_check(3.0, NONE)])) == {_LATE}


def test_at_the_end_what_is_revoked_is_found_and_what_is_lifted_is_not() -> None:
    """Both mistakes have a name of their own."""
    revoked, lifted = _call("revoke", 1.0), _call("lift", 2.0)
    assert _violations(_history(revoked, final_checks=[_check(9.0, NONE)])) == {"lost"}
    assert _violations(_history(revoked, final_checks=[_check(9.0, FOUND)])) == set()
    found = _history(revoked, lifted, final_checks=[_check(9.0, FOUND)])
    assert _violations(found) == {"refused at the end"}
    assert _violations(_history(revoked, lifted, final_checks=[_check(9.0, NONE)])) == set()


def _flushed(history: History) -> History:
    history.losses.append(Loss("flushed", float("-inf"), 4.0, 4.0, 4.0, 4.0))
    return history


def test_what_the_server_lost_must_be_found_while_one_who_knew_lives() -> None:
    """The process that revoked is there when the server is empty."""
    history = _flushed(_history(_call("revoke", 1.0), final_checks=[_check(9.0, NONE)]))
    assert _violations(history) == {"lost"}


def test_what_server_and_processes_lost_need_not_be_found() -> None:
    """The only one that surely knew dies before the server is emptied."""
    history = _flushed(_history(_call("revoke", 1.0), final_checks=[_check(9.0, NONE)]))
    history.lives["one"].died = 3.0
    assert _violations(history) == set()


def test_a_process_that_was_fresh_later_knew_too() -> None:
    """Who called itself fresh a bound after the acknowledgement has learnt of it."""
    history = _flushed(_history(_call("revoke", 1.0), final_checks=[_check(9.0, NONE)]))
    history.lives["one"].died = 3.0
    history.lives["two"].fresh_at.append(2.5)
    assert _violations(history) == {"lost"}


def test_who_was_frozen_meanwhile_could_not_tell_the_server() -> None:
    """The time to settle passes without the only one that knew."""
    history = _flushed(_history(_call("revoke", 1.0), final_checks=[_check(9.0, NONE)]))
    history.lives["one"].gaps.append(Interval(4.1, 6.0, "frozen"))
    assert _violations(history) == set()


def test_what_a_promoted_replica_had_needs_nobody() -> None:
    """A server that keeps what it acknowledged is enough."""
    history = _history(_call("revoke", 1.0), final_checks=[_check(9.0, NONE)])
    history.lives["one"].died = 3.0
    history.losses.append(Loss("a replica promoted", 2.0, 4.0, 4.0, 4.0, 4.0))
    assert _violations(history) == {"lost"}


def test_a_lifting_that_reaches_a_server_without_the_revocation_may_lift_nothing() -> None:
    """The fleet rather goes on refusing."""
    history = _flushed(_history(_call("revoke", 1.0), _call("lift", 4.1)))
    history.final_checks.append(_check(9.0, FOUND))
    assert _violations(history) == set()


def test_a_lifting_that_the_server_lost_counts_while_one_who_knew_lives() -> None:
    """What others write back does not bring the revocation back to life."""
    history = _flushed(_history(_call("revoke", 1.0), _call("lift", 2.0)))
    history.final_checks.append(_check(9.0, FOUND))
    assert _violations(history) == {"refused at the end"}
