"""Keeps a replica following for as long as somebody has entered the store, and says how it does."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from weakref import WeakSet

from authkit.errors import ConfigurationError
from authkit.reported_state import AVAILABLE, ReportedState
from authkit_redis.link import Link, LinkError, ReplyError
from authkit_redis.revocations.admission import admission
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.replica import Replica
from authkit_redis.revocations.timing import Timing

__all__ = ["STARTING", "Following"]

_log = logging.getLogger("authkit")

_CHECKED_EVERY_SECONDS = 30.0
STARTING = "starting"
_STALE, _OPEN, _EVICTING, _UNWRITABLE = "stale", "open", "evicting", "unwritable"


class Following:
    """The life of a replica, which belongs to one event loop of one process at a time.

    Args:
        link: is entered along with it.
        keys: where the log is.
        check: differs where the secret does.
        timing: its times.
        replica: follows.
        state: is told how it goes.
        fails_open: whether callers are let in while the replica proves nothing.
    """

    def __init__(
        self,
        link: Link,
        keys: RevocationKeys,
        check: bytes,
        timing: Timing,
        replica: Replica,
        state: ReportedState,
        *,
        fails_open: bool,
    ) -> None:
        self._link = link
        self._keys = keys
        self._check_of_secret = check
        self._timing = timing
        self._replica = replica
        self._state = state
        self._fails_open = fails_open
        self._entered = 0
        self._task: asyncio.Task[None] | None = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._is_evicting = False
        self._fault = ""
        _all.add(self)

    @property
    def is_here(self) -> bool:
        """Whether it is the running event loop that follows."""
        return (
            self._is_alive
            and self._home is not None
            and self._home[1] is asyncio.get_running_loop()
        )

    @property
    def _is_alive(self) -> bool:
        """Whether some event loop of this very process follows."""
        if self._task is None or self._home is None:
            return False
        pid, loop = self._home
        return pid == os.getpid() and not loop.is_closed() and not self._task.done()

    @property
    def _is_of_this_loop(self) -> bool:
        return self._home == (os.getpid(), asyncio.get_running_loop())

    async def at_home(self, do: Callable[[], None]) -> bool:
        """Has the event loop that follows do something, and waits for it; whether there is one.

        A loop that does not come round to it within `timeout` does it later.
        """
        if self.is_here:
            do()
        elif not self._is_alive or self._home is None:
            return False
        else:
            done: Future[None] = Future()

            def in_that_loop() -> None:
                do()
                done.set_result(None)

            with suppress(RuntimeError, TimeoutError):  # it was closed just now, or stands still
                self._home[1].call_soon_threadsafe(in_that_loop)
                async with asyncio.timeout(self._timing.timeout):
                    await asyncio.shield(asyncio.wrap_future(done))
        return True

    async def enter(self) -> None:
        """Begins to follow, unless it does already, and waits for the first proof, but not long.

        Raises:
            ConfigurationError: as `admission`.
        """
        self._entered += 1
        if self._is_alive:
            return
        if self._home is not None and self._entered > 1 and not self._is_of_this_loop:
            self._entered = (
                1  # who entered it in a loop that is gone, or in the parent, is gone too
            )
        elif self._entered == 1:
            await self._link.__aenter__()
        self._replica.distrust()
        self._home = (os.getpid(), asyncio.get_running_loop())
        self._task = asyncio.create_task(self._follow())
        try:
            await self._begin()
        except BaseException:
            await self.leave()
            raise

    async def _begin(self) -> None:
        if self._fails_open:
            _log.warning(
                "insecure_fail_open: while nobody can tell whether a token is revoked, "
                "its caller is let in"
            )
        try:
            await self._check()
        except ReplyError as error:
            self._fault = str(error)
            _log.warning("revocations in redis: begins, but nothing can be revoked: %s", error)
        except LinkError as error:
            _log.warning("revocations in redis: begins without Redis: %s", error)
        await self.wait_until_fresh(self._timing.settle + 2 * self._timing.answer)

    async def leave(self) -> None:
        """Stops following at the last exit."""
        self._entered -= 1
        if self._entered > 0:
            return
        try:
            await self._end()
        finally:
            await self._link.__aexit__(None, None, None)

    async def _end(self) -> None:
        task, self._task = self._task, None
        self._replica.distrust()
        if task is None or self._home is None:
            return
        pid, loop = self._home
        if pid == os.getpid() and loop is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])
        elif pid == os.getpid() and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    async def wait_until_fresh(self, timeout_seconds: float) -> bool:
        """Waits until the replica is fresh, or for so long; whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while not self._replica.is_fresh:
                    await self._next_report()
        return self._replica.is_fresh

    async def _next_report(self) -> None:
        # Whoever waits may do so in another event loop than the one that follows.
        waiting = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(waiting)
        try:
            await waiting[1].wait()
        finally:
            self._waiting.discard(waiting)

    async def _follow(self) -> None:
        checking = asyncio.create_task(self._keep_checking())
        try:
            await self._replica.run(self._report)
        finally:
            checking.cancel()
            await asyncio.wait([checking])

    async def _check(self) -> None:
        """Learns whether the server lets this user write, and drops keys when it is full."""
        self._is_evicting = await admission(
            self._link, self._keys, self._check_of_secret, self._timing
        )
        self._fault = ""

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(_CHECKED_EVERY_SECONDS)
            try:
                await self._check()
            except (ConfigurationError, ReplyError) as error:
                self._fault = str(error)
            except LinkError:
                pass  # the heartbeat tells of it
            except Exception:
                _log.exception("revocations in redis: a fault of authkit while checking")

    def _report(self) -> None:
        """Tells what state it is in, after a heartbeat."""
        for loop, event in tuple(self._waiting):
            with suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(event.set)
        if not self._replica.is_fresh:
            if self._state.current == STARTING and not self._replica.failures_total:
                return
            self._state.set(
                _OPEN if self._fails_open else _STALE,
                code="revocations_unproven" if self._fails_open else "revocations_stale",
                why=self._replica.last_failure,
            )
        elif self._fault:
            self._state.set(_UNWRITABLE, code="revocations_unwritable", why=self._fault)
        elif self._is_evicting:
            self._state.set(
                _EVICTING,
                code="revocations_evicting",
                why="maxmemory-policy is not noeviction, so Redis may forget revocations",
            )
        else:
            self._state.set(AVAILABLE)

    def leave_to_the_parent(self) -> None:
        """In a forked child nothing follows: what the parent has proved is worth nothing there."""
        self._replica.distrust()


_all: WeakSet[Following] = WeakSet()


def _after_fork() -> None:
    for following in tuple(_all):
        following.leave_to_the_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
