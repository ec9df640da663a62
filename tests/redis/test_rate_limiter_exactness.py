"""Several processes and many tasks on one hot key: never more than the limit, and hardly less."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.redis.servers import RedisServer

PROCESSES, TASKS, SECONDS = 4, 50, 1.5
RATE, BURST = 2_000, 300
A_MOMENT = 2e-6
"""What clocks are exact to: a fraction of one call."""

PROGRAM = """
import asyncio, json, sys, time
from authkit.interfaces import LimitRequest, RateLimit
from authkit_redis import RedisRateLimiter
from authkit_redis.link import open_link

url, tasks, seconds, rate, burst, lease = json.loads(sys.argv[1])
request = LimitRequest(
    limit=RateLimit(name="hot", rate=rate, per_seconds=1.0, burst=burst, by="subject"),
    key="issuer alice",
)
granted, degraded, begin = [], 0, 0.0

async def use(limiter):
    global degraded
    while time.time() < begin + seconds:
        asked_at = time.time()
        decision = await limiter.acquire([request])
        degraded += decision.is_degraded
        if decision.allowed:
            granted.append((asked_at, time.time()))
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(decision.states[0].retry_after_seconds)

async def main():
    global begin
    limiter = RedisRateLimiter(
        open_link(url), prefix="test", timeout_seconds=5.0, leases={"hot": lease} if lease else None
    )
    async with limiter:
        print("ready", flush=True)
        sys.stdin.readline()  # until all are
        begin = time.time()
        await asyncio.gather(*(use(limiter) for _ in range(tasks)))

asyncio.run(main())
print(json.dumps([granted, degraded]))
"""


def hammer(server: RedisServer, lease: int) -> tuple[list[tuple[float, float]], int]:
    """When each granted call was asked for and answered, in all processes; and the calls' number.

    The processes are of one machine, so they have one clock.
    """
    words = json.dumps([server.url, TASKS, SECONDS, RATE, BURST, lease])
    command = [sys.executable, "-c", PROGRAM, words]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    try:
        for each in running:
            assert each.stdout is not None
            assert each.stdout.readline() == b"ready\n"
        for each in running:
            assert each.stdin is not None
            each.stdin.write(b"go\n")
            each.stdin.flush()
        answers = [json.loads(each.communicate(timeout=30)[0]) for each in running]
    finally:
        for each in running:
            each.kill()
            each.wait()
    assert [degraded for _, degraded in answers] == [0] * PROCESSES
    assert all(len(times) > 1 for times, _ in answers)
    granted = [(asked, answered) for times, _ in answers for asked, answered in times]
    return granted, len(granted)


def excess(granted: list[tuple[float, float]]) -> float:
    """By how many calls the worst interval exceeds the limit.

    A call was counted somewhere between its question and its answer.  Of calls that surely were
    counted between two moments there may be no more than the limit says for that time; so each
    interval from a question to an answer is tried, with the calls that lie wholly in it.
    """
    by_question = sorted(granted)
    worst = float("-inf")
    for number, (begin, _) in enumerate(by_question):
        if number % 50:
            continue  # each of these intervals begins within a few milliseconds of another
        ends = sorted(answered for _, answered in by_question[number:])
        counts = (count - (BURST + RATE * (end - begin)) for count, end in enumerate(ends, start=1))
        worst = max(worst, max(counts))
    return worst


def allowed(granted: list[tuple[float, float]]) -> float:
    """How many calls the limit allows from the first to the last."""
    lasted = max(answered for _, answered in granted) - min(asked for asked, _ in granted)
    return BURST + RATE * lasted


def test_no_interval_sees_more_than_the_limit(redis_server: RedisServer) -> None:
    """Over-admission is exactly 0, and little of what is allowed is refused."""
    granted, number = hammer(redis_server, 0)
    assert excess(granted) <= A_MOMENT * RATE
    assert number >= 0.8 * allowed(granted)  # a busy machine may stand still for a while


@pytest.mark.full
class TestLeases:
    """The same with calls taken in advance."""

    on_one_version = True

    @pytest.mark.parametrize("lease", [10, 100])
    def test_exceed_the_limit_by_no_more_than_what_is_held(
        self, redis_server: RedisServer, lease: int
    ) -> None:
        """By the lease of each process; and little of what is allowed is lost."""
        granted, number = hammer(redis_server, lease)
        assert excess(granted) <= PROCESSES * lease
        assert number >= 0.6 * allowed(granted)


def test_the_judge_finds_one_call_too_many() -> None:
    """Calls just as the limit has them are none too many, and one more is."""
    moments = [0.0] * BURST + [number / RATE for number in range(1, 1_000)]
    exact = [(moment, moment) for moment in moments]
    assert excess(exact) == pytest.approx(0, abs=1e-6)
    assert excess([*exact, (0.1, 0.1)]) == pytest.approx(1, abs=1e-6)
