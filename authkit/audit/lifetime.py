"""Entering and leaving that may be repeated and nested."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Self

from authkit.audit.health import reason_of
from authkit.audit.log_lines import log_lines
from authkit.errors import AuthkitError, BackendUnavailable
from authkit.interfaces import AuditSink

__all__ = ["Reentrant", "enter_sink", "leave_sinks"]


class Reentrant(ABC):
    """An async context manager that opens at the first entry and closes at the last exit."""

    def __init__(self) -> None:
        self._entries = 0
        self._is_open = False
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        if not self._entries and not self._turn.locked():
            # A lock belongs to the event loop in which it was first waited for.
            self._turn = asyncio.Lock()
        self._entries += 1
        try:
            await self._settle()
        except BaseException:
            self._entries -= 1
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entries -= 1
        await self._settle()

    @abstractmethod
    async def _open(self) -> None: ...

    @abstractmethod
    async def _close(self) -> None: ...

    async def _settle(self) -> None:
        """Opens or closes, as the count of entries asks; one at a time, so nobody enters half."""
        async with self._turn:
            try:
                if self._entries and not self._is_open:
                    await self._open()
                    self._is_open = True
                elif not self._entries and self._is_open:
                    self._is_open = False
                    await self._close()
            except AuthkitError:
                raise
            except Exception as error:
                done = "opened" if self._entries else "closed"
                message = f"{type(self).__name__} could not be {done}"
                raise BackendUnavailable("audit", message) from error


async def enter_sink(stack: AsyncExitStack, sink: AuditSink) -> None:
    """Enters the sink if it is a context manager; the stack leaves it."""
    manager: Any = sink
    if isinstance(manager, AbstractAsyncContextManager):
        await stack.enter_async_context(manager)


async def leave_sinks(stack: AsyncExitStack, name: str, seconds: float) -> None:
    """Leaves what the stack has entered, within so long; logs what goes wrong, and raises nothing.

    Shutting down goes on: everything that could be written is written.
    """
    try:
        async with asyncio.timeout(seconds):
            await stack.aclose()
    except Exception as error:
        log_lines.error("audit: %s could not be closed: %s", name, reason_of(error))
