"""Asking one of several servers that know the same, without waiting long for one that is silent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from authkit_redis.link.errors import AccessRefused, LinkError, ReplyError

__all__ = ["Address", "Unanswered", "first_answer"]

T = TypeVar("T")

Address = tuple[str, int]


class Unanswered(Exception):
    """None of them has told it.

    Attributes:
        problems: what each has ended in, in the order in which they ended.
    """

    def __init__(self, problems: list[LinkError]) -> None:
        super().__init__()
        self.problems = problems

    @property
    def worst(self) -> LinkError:
        """A refusal first, then what a server has answered, then that there is none."""
        return min(self.problems, key=_rank)


async def first_answer(
    ask: Callable[[Address], Coroutine[Any, Any, T]],
    addresses: Iterable[Address],
    head_start_seconds: float,
) -> T:
    """The first answer of servers that are asked one after the other.

    Args:
        ask: one of them; it leaves nothing open when it is cancelled.
        addresses: at least one.
        head_start_seconds: after which the next is asked too, or at once where the last has failed.

    Raises:
        Unanswered: all have raised a LinkError.
    """
    left = deque(addresses)
    problems: list[LinkError] = []
    asked: list[asyncio.Task[T]] = []
    waiting: set[asyncio.Task[T]] = set()
    try:
        while left or waiting:
            if left:
                asked.append(asyncio.create_task(ask(left.popleft())))
                asked[-1].add_done_callback(_take_note)
                waiting.add(asked[-1])
            done, waiting = await asyncio.wait(
                waiting,
                timeout=head_start_seconds if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                try:
                    return task.result()
                except LinkError as error:
                    problems.append(error)
    finally:
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)
    raise Unanswered(problems)


def _take_note(task: asyncio.Task[T]) -> None:
    if not task.cancelled():
        task.exception()  # the answer of another one may be enough


def _rank(problem: LinkError) -> int:
    if isinstance(problem, AccessRefused):
        return 0
    return 1 if isinstance(problem, ReplyError) or "no connection" not in str(problem) else 2
