"""The thread of the sinks that may block."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from authkit.audit.one_thread import OneThread

FORKED = """
import asyncio, os
from authkit.audit.one_thread import OneThread

thread = OneThread()
asyncio.run(thread.run(lambda: None))
child = os.fork()
if child == 0:
    answer = asyncio.run(asyncio.wait_for(thread.run(lambda: 7), 10))
    os._exit(0 if answer == 7 else 1)
_, status = os.waitpid(child, 0)
raise SystemExit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.anyio
async def test_calls_run_one_after_the_other_in_a_thread_of_their_own() -> None:
    """In the order in which they were given."""
    thread, order = OneThread(), list[int]()
    calls = [lambda number=number: order.append(number) for number in range(5)]
    await asyncio.gather(*map(thread.run, calls))
    assert order == [0, 1, 2, 3, 4]
    idents = {await thread.run(threading.get_ident) for _ in range(5)}
    assert len(idents) == 1
    assert threading.get_ident() not in idents


def test_a_forked_process_has_a_thread_of_its_own() -> None:
    """Where it was used before the fork, what is asked of it after the fork does not hang."""
    ended = subprocess.run([sys.executable, "-c", FORKED], timeout=30, check=False)
    assert ended.returncode == 0
