"""Real servers with several worker processes, and the warning that they give."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SERVICE = """
import logging

from authkit_memory import MemoryRateLimiter, MemoryRevocationStore

logging.basicConfig(format="%(name)s|%(levelname)s|%(process)d|%(message)s")


async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    store, limiter = MemoryRevocationStore(), MemoryRateLimiter()
    await receive()
    async with store, limiter, store, MemoryRateLimiter():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
"""


@pytest.fixture
def service(tmp_path: Path) -> Path:
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    return tmp_path


@contextmanager
def served(folder: Path, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """uvicorn on a free loopback port; gone, with its workers, after 40 s at the latest."""
    inherited = {name: value for name, value in os.environ.items() if name != "WEB_CONCURRENCY"}
    path = os.pathsep.join(filter(None, sys.path))
    command = ["uvicorn", "service:app", "--app-dir", str(folder), "--port", "0", *options]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**inherited, "PYTHONPATH": path, **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def kill() -> None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    watchdog = threading.Timer(40, kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        with process:
            kill()


def warnings_of(folder: Path, workers: int, *options: str, **environment: str) -> list[str]:
    """The lines of `authkit` until all workers have started, as `process class`, sorted."""
    lines: list[str] = []
    with served(folder, *options, **environment) as process:
        assert process.stderr is not None
        started = 0
        while started < workers and (line := process.stderr.readline()):
            lines.append(line)
            started += "Application startup complete" in line
        process.terminate()
        lines.append(process.communicate(timeout=20)[1])
    assert started == workers, "".join(lines)
    found = re.findall(
        r"^authkit\|WARNING\|(\d+)\|(\w+).* (\d+) worker processes", "".join(lines), re.M
    )
    return sorted(f"{process} {name} of {count}" for process, name, count in found)


@pytest.mark.parametrize("by_environment", [False, True], ids=["option", "WEB_CONCURRENCY"])
def test_each_of_several_workers_warns_once_for_each_class(
    service: Path, by_environment: bool
) -> None:
    """Two workers, two lines each, however often the backends are entered."""
    if by_environment:
        found = warnings_of(service, 2, WEB_CONCURRENCY="2")
    else:
        found = warnings_of(service, 2, "--workers", "2")
    processes = {line.split()[0] for line in found}
    assert len(processes) == 2
    assert [line.split(maxsplit=1)[1] for line in found] == [
        "MemoryRateLimiter of 2",
        "MemoryRevocationStore of 2",
    ] * 2


@pytest.mark.parametrize("options", [["--workers", "1"], ["--reload"]], ids=" ".join)
def test_a_server_with_one_worker_gives_no_warning(service: Path, options: list[str]) -> None:
    """Neither a single worker nor the one that is watched for changes has a neighbour."""
    assert warnings_of(service, 1, *options) == []
