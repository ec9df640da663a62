"""One thread for what may block, in whichever process it is asked for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["OneThread"]

T = TypeVar("T")


class OneThread:
    """Runs one call after the other in a thread, which is made when it is first needed.

    A process that was forked has no thread of its parent's, so it makes one of its own.
    """

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._pid = 0

    async def run(self, call: Callable[[], T]) -> T:
        """What the call gives; when this is cancelled, the call goes on."""
        if self._executor is None or self._pid != os.getpid():
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="authkit-audit")
            self._pid = os.getpid()
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)
