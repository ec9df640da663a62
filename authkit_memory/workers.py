"""Notices that several worker processes serve the application, each with a memory of its own."""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os

__all__ = ["warn_of_several_workers", "worker_count"]

_logger = logging.getLogger("authkit")

_warned: set[tuple[int, str]] = set()
"""What was said already, by process: a child that is forked has said nothing yet."""


def warn_of_several_workers(backend: object, consequence: str) -> None:
    """Logs one warning for each class and process, if this process is one of several workers.

    Args:
        backend: whose class the line names.
        consequence: what that means for the application, as the end of a sentence.
    """
    name = type(backend).__name__
    said = (os.getpid(), name)
    if said in _warned:
        return
    count = worker_count()
    if count > 1:
        _warned.add(said)
        _logger.warning(
            "%s keeps everything in its own process, and this is one of %d worker processes: %s. "
            "Use a shared backend, or a single worker.",
            name,
            count,
            consequence,
        )


def worker_count() -> int:
    """How many worker processes the server was told to run; 1 where there is no sign of more.

    uvicorn (`--workers`, `WEB_CONCURRENCY`, `uvicorn.run(workers=...)`, and with it `fastapi
    run`), hypercorn and gunicorn are known, however they were configured.
    """
    return max(_spawned_workers(), _forked_workers())


def _spawned_workers() -> int:
    # uvicorn and hypercorn start each worker by multiprocessing, with their configuration as
    # an argument.  A single worker of uvicorn, or one that reloads, is alone whatever it says.
    arguments = getattr(multiprocessing.current_process(), "_kwargs", None) or {}
    config = arguments.get("config")
    server = type(config).__module__.partition(".")[0]
    if server not in ("uvicorn", "hypercorn") or getattr(config, "reload", False):
        return 1
    return int(getattr(config, "workers", None) or 1)


def _forked_workers() -> int:
    # gunicorn forks its workers from the method of its arbiter that is still running here,
    # below the server's event loop.  The arbiter knows the number from every source: the
    # command line, GUNICORN_CMD_ARGS, WEB_CONCURRENCY and the configuration file.
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "gunicorn.arbiter":
            arbiter = frame.f_locals.get("self")
            return int(getattr(arbiter, "num_workers", None) or 1)
        frame = frame.f_back
    return 1
