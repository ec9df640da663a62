"""A file of audit events on a disk that fills up, under a held lock, rotated, and shared."""

# Small files, which a test may read and change in the event loop.
from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from authkit.audit import FileAuditSink
from authkit.errors import BackendUnavailable
from authkit.event_lines import event_of_line
from tests.unit.audit.full_disk import Survived, survive
from tests.unit.audit.test_file_sink import batch, sequences
from tests.unit.audit.trails import verify

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def lines_in(*paths: Path) -> list[bytes]:
    return [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]


def assert_whole(path: Path, survived: Survived) -> None:
    """Everything admitted is there once and in order; what is missing was counted, and is told."""
    lines = lines_in(path)
    (report,) = verify(lines).producers
    assert (report.repeated, report.is_ended) == (0, True)
    events = [event_of_line(line) for line in lines]
    assert [event.subject for event in events if event.subject] == survived.admitted
    full, end = survived.figures
    assert (full["is_failing"], full["queued"]) == (1, 220)
    assert (full["dropped_total"], full["control_refused_total"]) == (30, 1)
    assert (end["is_failing"], end["lost_total"]) == (0, 0)
    told = [event.data for event in events if event.type == "audit.dropped"]
    assert [(one["count"], one["control_count"]) for one in told] == [(30, 1)]


async def test_a_disk_that_ends_within_a_line_tears_and_loses_nothing(path: Path) -> None:
    """The operating system writes a part of a batch, then nothing; later there is room again."""
    command = [sys.executable, "-m", "tests.unit.audit.full_disk", str(path)]
    # In a process of its own, and not measured: the limit would hold for those files too.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    run = partial(subprocess.run, cwd=ROOT, env=env, capture_output=True, timeout=30)
    done = await asyncio.to_thread(run, command)
    assert done.returncode == 0, done.stderr
    assert_whole(path, Survived(*json.loads(done.stdout)))


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 256 KiB; skips where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "authkit-test", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("mounting a file system takes the rights to do so")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def test_a_file_system_without_room_tears_and_loses_nothing(tmp_path: Path) -> None:
    """The same on a file system that is really full, until something else on it is removed."""
    with small_disk(tmp_path / "small") as folder:  # a mount takes milliseconds
        path, ballast = folder / "audit.jsonl", folder / "ballast"

        def fill() -> None:
            with ballast.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    return

        survived = await survive(path, fill, ballast.unlink)
        assert_whole(path, survived)


LOCKER = """
import fcntl, os, signal, sys
file = open(sys.argv[1], "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
signal.pause()
"""


async def test_the_lock_of_a_stopped_process_fails_the_write_and_ends_with_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hangs with it for ever, and nothing is written beside it."""
    monkeypatch.setattr("authkit.audit.audit_file._LOCK_ATTEMPTS", 10)
    async with FileAuditSink(path) as sink:
        await sink.write(batch())
        # Without site-packages, so that nothing measures what is killed.
        command = [sys.executable, "-S", "-c", LOCKER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
            try:
                assert process.stdout is not None
                await asyncio.to_thread(process.stdout.readline)
                process.send_signal(signal.SIGSTOP)
                for _ in range(2):
                    with pytest.raises(BackendUnavailable, match="lock"):
                        await sink.write(batch(4))
                assert sequences(path) == [1, 2, 3]
            finally:
                process.kill()
            process.wait()  # it is dead
            await sink.write(batch(4))
    assert sequences(path) == [1, 2, 3, 4, 5, 6]


WRITER = """
import asyncio, sys
from authkit.audit import AuditTrail, FileAuditSink
async def main():
    sink = FileAuditSink(sys.argv[1], fsync=False)
    async with AuditTrail(sink, chain_key=b"k" * 32, linger_seconds=0.001) as trail:
        for number in range(400):
            await trail.append_control("test.event", data={"n": number})
            await asyncio.sleep(0.001)
asyncio.run(main())
"""


def test_a_file_that_processes_share_and_another_one_rotates_is_whole(path: Path) -> None:
    """Put together again in their order, the files verify without a fault, for each process."""
    command = [sys.executable, "-c", WRITER, str(path)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    rotated = []
    deadline = time.monotonic() + 30
    try:
        while any(process.poll() is None for process in processes):
            assert time.monotonic() < deadline
            time.sleep(0.02)
            if path.exists():
                rotated.append(path.with_suffix(f".{len(rotated)}"))
                os.rename(path, rotated[-1])
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0]
    assert len(rotated) > 5
    report = verify(lines_in(*rotated, *([path] if path.exists() else [])))
    assert [(one.events, one.is_ended) for one in report.producers] == [(401, True)] * 2
