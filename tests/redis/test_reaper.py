"""Nothing that a test has started outlives the test run."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from tests.redis.reaper import reaper
from tests.redis.servers import RedisServer

servers = [RedisServer(Path(sys.argv[1])) for _ in range(3)]
for server in servers:
    server.start()
servers[1].kill()
servers[1].kill()
servers[2].freeze()
print(servers[0].pid, servers[2].pid, reaper._shell.pid, reaper._folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def adopting() -> Iterator[None]:
    """Makes this process the parent of orphans, so that it can wait for their end."""
    pr_set_child_subreaper = 36
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(pr_set_child_subreaper, 1, 0, 0, 0) == 0
    yield
    assert prctl(pr_set_child_subreaper, 0, 0, 0, 0) == 0


@pytest.mark.usefixtures("adopting")
def test_no_server_outlives_a_killed_test_run(redis_binary: Path) -> None:
    """Even SIGKILL leaves nothing behind: no server, were it frozen, and no folder."""
    run = subprocess.run(
        [sys.executable, "-c", _KILLED_RUN, str(redis_binary)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == -signal.SIGKILL
    *pids, folder = run.stdout.split()
    assert len(pids) == 3
    running, frozen, reaper = (os.waitpid(int(pid), 0)[1] for pid in pids)
    assert os.waitstatus_to_exitcode(running) == -signal.SIGKILL
    assert os.waitstatus_to_exitcode(frozen) == -signal.SIGKILL
    assert os.waitstatus_to_exitcode(reaper) == 0
    assert not Path(folder).exists()
