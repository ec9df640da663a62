"""Starts the processes of the fleet: one that has imported everything forks each, which is cheap.

It reads a name a line, and forks a worker of that name, before there is any event loop, thread
or connection to inherit.  When its standard input ends it kills those that live, frozen ones too.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
import traceback

from tests.redis.fleet.worker import StoreFactory, serve

__all__ = ["load_factory", "main"]


def load_factory(name: str) -> StoreFactory:
    """The function named `package.module:function`, which makes the store of a process."""
    module, _, function = name.partition(":")
    factory: StoreFactory = getattr(importlib.import_module(module), function)
    return factory


def main(path: str, factory_name: str) -> None:
    """Forks workers that serve the controller listening at `path`, until standard input ends."""
    factory = load_factory(factory_name)
    children: set[int] = set()
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            os.close(0)
            status = 1
            try:
                asyncio.run(serve(path, line.strip(), factory))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.add(pid)
        children -= _ended(children)
    for pid in children - _ended(children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _ended(children: set[int]) -> set[int]:
    return {pid for pid in children if os.waitpid(pid, os.WNOHANG) != (0, 0)}


if __name__ == "__main__":
    main(*sys.argv[1:])
