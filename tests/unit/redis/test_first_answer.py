"""Several servers that know the same are asked in turn; a silent one holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from authkit_redis.link.errors import AccessRefused, LinkError, NotSent, ReplyError
from authkit_redis.link.first_answer import Address, Unanswered, first_answer

pytestmark = pytest.mark.anyio

HOSTS = [("a", 1), ("b", 2), ("c", 3)]
SOON = 0.01


class Servers:
    """What each of them does, and what has become of the questions."""

    def __init__(self, **behaviour: LinkError | str | None) -> None:
        self.behaviour = behaviour
        self.asked: list[str] = []
        self.left: list[str] = []
        self.all_asked = asyncio.Event()

    async def ask(self, address: Address) -> str:
        """An error is raised, a text told, and None is silence."""
        name = address[0]
        self.asked.append(name)
        if len(self.asked) == len(HOSTS):
            self.all_asked.set()
        try:
            said = self.behaviour[name]
            await asyncio.sleep(3600 if said is None else 0)
        except asyncio.CancelledError:
            self.left.append(name)
            raise
        if isinstance(said, LinkError):
            raise said
        return f"{name} says {said}"


@pytest.fixture
async def nothing_unheard() -> AsyncIterator[None]:
    """No exception of a task is left that nobody has looked at."""
    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    yield
    assert heard == []


async def test_the_first_suffices() -> None:
    """The others are not asked."""
    servers = Servers(a="so", b="so", c="so")
    assert await first_answer(servers.ask, HOSTS, 5) == "a says so"
    assert servers.asked == ["a"]


async def test_after_a_failure_the_next_is_asked_at_once() -> None:
    """Without waiting for the head start of the one that failed."""
    servers = Servers(a=NotSent("gone"), b=NotSent("gone"), c="so")
    async with asyncio.timeout(5):
        assert await first_answer(servers.ask, HOSTS, 3600) == "c says so"


async def test_a_silent_one_is_not_waited_for(nothing_unheard: None) -> None:
    """The next is asked as well, and the question to the silent one is given up."""
    servers = Servers(a=None, b=None, c="so")
    assert await first_answer(servers.ask, HOSTS, SOON) == "c says so"
    assert sorted(servers.left) == ["a", "b"]


async def test_who_is_cancelled_gives_all_questions_up(nothing_unheard: None) -> None:
    """Before it goes on: what they have opened is closed then."""
    servers = Servers(a=None, b=None, c=None)
    asking = asyncio.create_task(first_answer(servers.ask, HOSTS, SOON))
    await servers.all_asked.wait()
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert sorted(servers.left) == ["a", "b", "c"]


async def test_the_worst_of_all_failures_is_told() -> None:
    """A refusal, which somebody must mend; then what a server has said; then its absence."""
    gone = NotSent("no connection to the Redis server could be made: timed out")
    refused, said = AccessRefused("NOAUTH"), ReplyError("LOADING")
    for problems, worst in (([gone, said, refused], refused), ([gone, said, gone], said)):
        servers = Servers(**dict(zip("abc", problems, strict=True)))
        with pytest.raises(Unanswered) as caught:
            await first_answer(servers.ask, HOSTS, SOON)
        assert caught.value.worst is worst
        assert len(caught.value.problems) == 3
