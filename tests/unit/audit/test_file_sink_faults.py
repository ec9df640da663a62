"""A file of audit events on a disk that fills up, under a held lock, rotated, and shared."""

# Small files, which a test may read and change in the event loop.
# ruff: noqa: ASYNC240
from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from authkit.audit import FileAuditSink
from authkit.audit.log_lines import log_lines
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.event_lines import MAX_LINE_BYTES, event_of_line
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
    """A file system of 256 KiB.

    Raises:
        OSError: it takes rights that this process does not have, or a command that is not there.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "authkit-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise PermissionError(f"{folder} cannot be mounted")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def may_mount() -> bool:
    """Whether a file system can be mounted here, which few who run these tests may do."""
    try:
        with TemporaryDirectory() as folder, small_disk(Path(folder) / "probe"):
            return True
    except OSError:
        return False


if may_mount():

    async def test_a_file_system_without_room_tears_and_loses_nothing(tmp_path: Path) -> None:
        """The same on a file system that is really full, until something on it is removed."""
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
file = open(sys.argv[1] + ".lock", "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
signal.pause()
"""


async def test_the_lock_of_a_stopped_process_fails_the_write_and_ends_with_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hangs with it for ever, and nothing is written beside it."""
    monkeypatch.setattr("authkit.audit.file_lock._LOCK_ATTEMPTS", 10)
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


async def test_a_crash_of_the_machine_may_leave_any_number_of_zeros(path: Path) -> None:
    """Behind a whole line, one without its break, a torn one and none at all: only they go."""
    zeros = bytes(MAX_LINE_BYTES + MAX_LINE_BYTES // 2)
    async with FileAuditSink(path, fsync=False) as sink:
        for left in (b"", b'{"schema":1,"prod'):
            with path.open("ab") as file:
                file.write(left + zeros)
            await sink.write(batch(1, 2))
        os.truncate(path, path.stat().st_size - 1)
        os.truncate(path, path.stat().st_size + len(zeros))
        await sink.write(batch(3, 1))
    assert sequences(path) == [1, 2, 1, 2, 3]


@pytest.mark.parametrize("content", [b"a database\n" + bytes(50), b'notes\n{"sch', b"notes\n{"])
async def test_another_programs_file_is_never_cut(path: Path, content: bytes) -> None:
    """Not even where it ends in something that a crash could have left of ours."""
    path.write_bytes(content)
    async with FileAuditSink(path) as sink:
        with pytest.raises(BackendUnavailable, match="no audit line"):
            await sink.write(batch())
    assert path.read_bytes() == content


async def test_what_another_user_owns_is_not_cut(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torn line stays, and the next one stands behind it."""
    async with FileAuditSink(path) as sink:
        await sink.write(batch())
        with path.open("ab") as file:
            file.write(b'{"schema":1,"prod')
        own = os.geteuid()
        monkeypatch.setattr("authkit.audit.audit_file.os.geteuid", lambda: own + 1)
        await sink.write(batch(4, 1))
    lines = path.read_bytes().splitlines()
    assert [len(lines), lines[3]] == [5, b'{"schema":1,"prod']
    assert event_of_line(lines[4]).sequence == 4


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_symbolic_link_is_not_followed(path: Path, is_there: bool) -> None:
    """Whoever may write to the directory cannot have another file written to, or cut."""
    victim = path.with_name("victim")
    if is_there:
        victim.write_bytes(b'{"schema":')
    path.symlink_to(victim)
    with pytest.raises(ConfigurationError, match="symbolic link"):
        await FileAuditSink(path).__aenter__()
    path.unlink()
    async with FileAuditSink(path) as sink:
        old = path.rename(path.with_suffix(".1"))
        for target in (old, victim):
            path.symlink_to(target)
            with pytest.raises(BackendUnavailable, match="symbolic link"):
                await sink.write(batch())
            path.unlink()
    assert (victim.read_bytes() if is_there else victim.exists()) == (
        b'{"schema":' if is_there else False
    )


async def test_whoever_may_only_read_the_file_cannot_keep_it_from_being_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is that of a file which only its owner can open."""
    monkeypatch.setattr("authkit.audit.file_lock._LOCK_ATTEMPTS", 1)
    async with FileAuditSink(path) as sink:
        path.chmod(0o644)
        with path.open("rb") as reader, path.open("rb") as other:
            fcntl.flock(reader, fcntl.LOCK_EX)
            fcntl.lockf(other, fcntl.LOCK_SH)
            await sink.write(batch())
    assert sequences(path) == [1, 2, 3]
    assert stat.S_IMODE(path.with_name("audit.jsonl.lock").stat().st_mode) == 0o600


async def test_a_process_may_go_to_another_directory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path means what it meant when the file was opened, and so does that of its lock."""
    monkeypatch.chdir(path.parent)
    async with FileAuditSink(path.name) as sink:
        await sink.write(batch(1, 2))
        path.with_name("other").mkdir()
        monkeypatch.chdir(path.with_name("other"))
        await sink.write(batch(3, 1))
    assert sequences(path) == [1, 2, 3]
    names = sorted(one.name for one in path.parent.rglob("*"))
    assert names == ["audit.jsonl", "audit.jsonl.lock", "other"]


async def test_a_lock_that_is_removed_is_made_again(path: Path) -> None:
    """All who write agree on the one that is there now; where none can be made, that is told."""
    lock = path.with_name("audit.jsonl.lock")
    async with FileAuditSink(path) as one, FileAuditSink(path) as other:
        await one.write(batch())
        lock.unlink()
        await one.write(batch(4))
        await other.write(batch(7))
        assert lock.stat().st_size == 0
    lock.unlink()
    lock.mkdir()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"audit\.jsonl\.lock"):
            await one.__aenter__()


async def test_it_is_told_where_others_may_write(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A trail that anybody can change is of little worth."""
    path.touch()
    path.chmod(0o660)
    async with FileAuditSink(path) as sink:
        await sink.write(batch())
        await log_lines.drain(1)
    assert "others than its owner may write to" in caplog.text


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
    lines = lines_in(*rotated, *([path] if path.exists() else []))
    assert [one.is_ended for one in verify(lines).producers] == [True] * 2
    assert sum(event_of_line(line).type == "test.event" for line in lines) == 2 * 400
