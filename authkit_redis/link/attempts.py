"""What follows when the first attempt of a call has failed: what may be repeated, and where."""

from __future__ import annotations

import asyncio
from typing import Any

from authkit_redis.link.errors import (
    LinkError,
    NotSent,
    Redirected,
    ReplyError,
    Saturated,
)
from authkit_redis.link.homes import Home
from authkit_redis.link.interface import Script
from authkit_redis.link.node import Node
from authkit_redis.link.wire import pack

__all__ = ["Attempts", "Context"]

_MOST_ATTEMPTS = 8
_TRY_AGAIN_SECONDS = 0.02
_ASKING = pack((b"ASKING",))

# The key that chooses the node, the command, its script if it runs one, may it run twice.
Context = tuple[bytes | None, tuple[bytes | int, ...], Script | None, bool]


class Attempts:
    """The further attempts of one call, within the deadline of the first."""

    __slots__ = ("_asks", "_deadline", "_home", "_key", "_may_repeat", "_node", "_parts", "_script")

    def __init__(self, home: Home, node: Node | None, context: Context, deadline: float) -> None:
        self._home = home
        self._node = node
        self._parts: tuple[Any, ...]
        self._key, self._parts, self._script, self._may_repeat = context
        self._deadline = deadline
        self._asks = False

    def is_over(self, problem: LinkError) -> bool:
        """Whether nothing more is to be done after the first failure."""
        if isinstance(problem, ReplyError):
            code = problem.code
            return code not in ("ASK", "MOVED", "NOSCRIPT", "READONLY", "TRYAGAIN")
        return isinstance(problem, Saturated) or not (
            self._may_repeat or isinstance(problem, NotSent)
        )

    async def settle(self, future: asyncio.Future[Any], problem: LinkError) -> None:
        """Puts the outcome of the further attempts into the future of the first."""
        try:
            reply = await self.after(problem)
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(reply)

    async def after(self, problem: LinkError) -> Any:
        """The reply of a further attempt.

        Raises:
            LinkError: of the last one that may be made.
        """
        is_first_failure = True
        for number in range(_MOST_ATTEMPTS):
            if number == 0 and self._node is None:
                pass  # nothing was tried: where to was not known
            elif isinstance(problem, ReplyError):
                await self._after_reply(problem)
            elif is_first_failure:
                is_first_failure = False
                await self._after_failure(problem)
            else:
                raise problem
            if self._home.loop.time() >= self._deadline:
                raise problem
            try:
                return await self._attempt()
            except LinkError as error:
                problem = error
        raise problem

    async def _attempt(self) -> Any:
        if self._node is None:
            self._node = await self._home.located(self._key, self._deadline)
        channel = self._node.ready_channel()
        packed = pack(self._parts)
        if not self._asks:
            return await channel.send(packed, self._deadline)
        # Both are written in one go, so that nothing comes between them.
        asking = channel.send(_ASKING, self._deadline)
        reply = channel.send(packed, self._deadline)
        try:
            await asyncio.wait([asking, reply])
            asking.exception()
            return await reply
        finally:
            asking.cancel()
            reply.cancel()

    async def _after_reply(self, problem: ReplyError) -> None:
        if isinstance(problem, Redirected):
            self._asks = problem.code == "ASK"
            self._node = self._home.redirected(problem, self._node)
        elif problem.code == "NOSCRIPT" and self._script is not None:
            # EVAL loads the script again, for the calls after this one.
            self._parts = (b"EVAL", self._script.source, *self._parts[2:])
            self._script = None
        elif problem.code == "TRYAGAIN":
            await self._pause(_TRY_AGAIN_SECONDS, problem)
        elif problem.code == "READONLY" and self._node is not None:
            self._home.demoted(self._node)
            self._node = None
            if not self._may_repeat:
                raise problem
            self._may_repeat = False
        else:
            raise problem

    async def _after_failure(self, problem: LinkError) -> None:
        if self.is_over(problem):
            raise problem
        self._asks = False
        self._node = await self._home.located(self._key, self._deadline)
        wait = self._node.retry_at - self._home.loop.time()
        if wait > 0:
            if not self._may_repeat:
                raise problem
            await self._pause(wait, problem)

    async def _pause(self, seconds: float, problem: LinkError) -> None:
        if self._home.loop.time() + seconds >= self._deadline:
            raise problem
        await asyncio.sleep(seconds)
