"""A server whose replies are none of the scripts' is one that cannot tell, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from authkit.errors import ConfigurationError
from authkit.interfaces import LimitDecision, LimitRequest, RateLimit
from authkit_redis import RedisRateLimiter
from authkit_redis.link import open_link
from tests.unit.redis.scripted_server import ScriptedServer

pytestmark = pytest.mark.anyio

SLOW = RateLimit(name="slow", rate=1, per_seconds=3600.0, burst=50, by="subject")
OTHER = RateLimit(name="other", rate=1, per_seconds=3600.0, burst=50, by="subject")

HUGE = b"(" + b"9" * 400 + b"\r\n"
REPLIES = {
    "null": b"_\r\n",
    "number": b":1\r\n",
    "not a number": b",nan\r\n",
    "large number": HUGE,
    "boolean": b"#t\r\n",
    "text": b"+OK\r\n",
    "text of four characters": b"+FOUR\r\n",
    "bytes": b"$4\r\n\x00\xff\xff\xff\r\n",
    "map": b"%4\r\n+a\r\n:1\r\n+b\r\n:1\r\n+c\r\n:1\r\n+d\r\n:1\r\n",
    "set": b"~4\r\n+a\r\n+b\r\n+c\r\n+d\r\n",
    "empty list": b"*0\r\n",
    "short list": b"*1\r\n:1\r\n",
    "list of texts": b"*4\r\n+1\r\n+2\r\n+3\r\n+4\r\n",
    "granted with a text": b"*4\r\n:1\r\n+nan\r\n:0\r\n:1\r\n",
    "granted with no number": b"*4\r\n:1\r\n,nan\r\n:0\r\n:1\r\n",
    "granted without end": b"*4\r\n:1\r\n,inf\r\n:0\r\n:1\r\n",
    "granted with a large number": b"*4\r\n:1\r\n" + HUGE + b":0\r\n:1\r\n",
    "granted with a negative number": b"*4\r\n:1\r\n:-5\r\n:0\r\n:1\r\n",
    "granted with a list": b"*4\r\n:1\r\n*0\r\n:0\r\n:1\r\n",
    "granted with null": b"*4\r\n:1\r\n_\r\n:0\r\n:1\r\n",
    "refused with texts": b"*4\r\n:0\r\n+x\r\n+y\r\n+z\r\n",
    "refused with no number": b"*4\r\n:0\r\n:1\r\n,nan\r\n:0\r\n",
    "refused for ever": b"*4\r\n:0\r\n:1\r\n,inf\r\n:0\r\n",
    "refused with a large number": b"*4\r\n:0\r\n:1\r\n" + HUGE + b":0\r\n",
    "refused with lists": b"*4\r\n:0\r\n*1\r\n*1\r\n:1\r\n*0\r\n*0\r\n",
    "list with errors": b"*4\r\n-ERR a\r\n:1\r\n-ERR b\r\n:0\r\n",
    "several with a large number": b"*8\r\n" + HUGE * 8,
    "several with texts": b"*8\r\n:1\r\n" + b"+x\r\n" * 7,
    "long list": b"*2000\r\n" + b":1\r\n" * 2000,
    "error without a code": b"-\r\n",
    "long error": b"-" + b"A" * 10_000 + b"\r\n",
}


@asynccontextmanager
async def asking(
    reply: bytes, **options: object
) -> AsyncIterator[tuple[RedisRateLimiter, ScriptedServer]]:
    async with ScriptedServer(lambda command, peer: reply) as server:
        link = open_link(server.url)
        async with link:
            yield RedisRateLimiter(link, prefix="test", timeout_seconds=0.05, **options), server  # type: ignore[arg-type] # of a test


async def ask(of: RedisRateLimiter, *limits: RateLimit, key: str) -> LimitDecision:
    return await of.acquire([LimitRequest(limit=each, key=key) for each in limits])


def assert_sound(decision: LimitDecision, limits: Sequence[RateLimit]) -> None:
    """Numbers that mean something, and an answer of this process."""
    assert decision.is_degraded
    for state, of in zip(decision.states, limits, strict=True):
        assert type(state.remaining) is int
        assert 0 <= state.remaining <= of.burst
        assert 0 <= state.retry_after_seconds <= 1e6
        assert 0 <= state.reset_after_seconds <= 1e6


@pytest.mark.parametrize("limits", [[SLOW], [SLOW, OTHER]], ids=["one limit", "two limits"])
@pytest.mark.parametrize("leases", [None, {"slow": 10}], ids=["exact", "leased"])
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_a_reply_of_another_shape_is_no_answer(
    reply: bytes, limits: list[RateLimit], leases: dict[str, int] | None
) -> None:
    """Whatever it is, the stand-in decides, again and again, and nothing of it is remembered."""
    async with asking(reply, leases=leases) as (one, _):
        for number in range(12):
            assert_sound(await ask(one, *limits, key=f"tag{number} a"), limits)
        for _ in range(3):
            assert_sound(await ask(one, *limits, key="tag0 a"), limits)
        assert one.stats()["denials"] == 0
        assert one.stats()["refused_total"] == 0


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_entering_raises_nothing_foreign(reply: bytes) -> None:
    """It begins all the same, or says what is wrong."""
    async with asking(reply) as (one, _):
        try:
            async with one:
                assert_sound(await ask(one, SLOW, key="a b"), [SLOW])
        except ConfigurationError:
            pass


async def test_a_grant_beyond_the_burst_is_none() -> None:
    """A server that says both that it grants and that nothing is left is not believed."""
    capacity = 50 * 3_600_000_000
    reply = b"*4\r\n:1\r\n:%d\r\n:0\r\n:1\r\n" % (capacity + 1)
    async with asking(reply) as (one, _):
        await ask(one, SLOW, key="a b")
        for _ in range(3):
            decision = await ask(one, SLOW, key="a b")
            assert 0 <= decision.states[0].remaining <= 50


async def test_figures_at_the_edge_are_taken() -> None:
    """Just as much used up as fits is a grant, and nothing remains."""
    capacity = 50 * 3_600_000_000
    reply = b"*4\r\n:1\r\n:%d\r\n:0\r\n:1\r\n" % capacity
    async with asking(reply) as (one, _):
        for _ in range(2):
            decision = await ask(one, SLOW, key="a b")
            assert (decision.allowed, decision.is_degraded) == (True, False)
            assert decision.states[0].remaining == 0
