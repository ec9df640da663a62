"""Audit events in a file: whole batches or none, whatever happens in between."""

# Small files, which a test may read and change in the event loop.
# ruff: noqa: ASYNC240
from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from authkit.audit import AuditTrail, FileAuditSink
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.event_lines import event_of_line
from authkit.interfaces import AuditEvent
from tests.unit.audit.sinks import request
from tests.unit.audit.test_logging_sink import EVENT

pytestmark = pytest.mark.anyio


def batch(first: int = 1, count: int = 3, producer: str = "p") -> list[AuditEvent]:
    return [replace(EVENT, producer=producer, sequence=first + n) for n in range(count)]


def sequences(path: Path) -> list[int]:
    return [event_of_line(line).sequence for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


async def test_each_event_is_one_line_that_its_owner_alone_can_read(path: Path) -> None:
    """A new file is made on entering, with the rights 0600."""
    async with FileAuditSink(path) as sink:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        await sink.write(batch())
        await sink.write(batch(4))
    assert sequences(path) == [1, 2, 3, 4, 5, 6]


async def test_a_torn_last_line_is_cut_off(path: Path) -> None:
    """What a crash left behind spoils no line after it."""
    async with FileAuditSink(path) as sink:
        await sink.write(batch())
        for torn in (b'{"schema":1,"prod', b'{"sch', b"\0\0\0", b'{"schema":1\0\0'):
            with path.open("ab") as file:
                file.write(torn)
            await sink.write(batch(4, 1))
    assert sequences(path) == [1, 2, 3, 4, 4, 4, 4]


async def test_a_last_line_without_its_break_is_kept(path: Path) -> None:
    """An event that is whole is not thrown away."""
    async with FileAuditSink(path) as sink:
        await sink.write(batch())
        os.truncate(path, path.stat().st_size - 1)
        await sink.write(batch(4, 1))
    assert sequences(path) == [1, 2, 3, 4]


async def test_a_file_of_something_else_is_left_alone(path: Path) -> None:
    """Nobody's file is cut because its path was given by mistake."""
    path.write_bytes(b"something else")
    async with FileAuditSink(path) as sink:
        with pytest.raises(BackendUnavailable, match="no audit line"):
            await sink.write(batch())
    assert path.read_bytes() == b"something else"


async def test_a_renamed_file_is_left_for_a_new_one(path: Path) -> None:
    """Rotation by renaming loses no event."""
    old = path.with_suffix(".1")
    async with FileAuditSink(path) as sink:
        await sink.write(batch())
        path.rename(old)
        await sink.write(batch(4))
    assert (sequences(old), sequences(path)) == ([1, 2, 3], [4, 5, 6])


@pytest.mark.parametrize("fails", ["write", "fsync"])
async def test_a_failed_batch_is_taken_back(
    path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """The file is as before, and has the batch once when it is given again."""

    def failing(descriptor: int, *data: bytes) -> int:
        if data:
            os.pwrite(descriptor, data[0][:100], 0)
        raise OSError(28, "No space left on device")

    async with FileAuditSink(path) as sink:
        await sink.write(batch())
        before = path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(f"authkit.audit.audit_file.os.{fails}", failing)
            with pytest.raises(BackendUnavailable, match="No space left on device"):
                await sink.write(batch(4))
        assert path.read_bytes() == before
        await sink.write(batch(4))
    assert sequences(path) == [1, 2, 3, 4, 5, 6]


async def test_what_cannot_be_taken_back_is_not_doubled(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file cannot be shortened, the batch given again goes on behind its whole lines."""
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if not data.startswith(b'{"schema"'):
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    def refused(descriptor: int, size: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    async with FileAuditSink(path) as sink:
        with monkeypatch.context() as patch:
            patch.setattr("authkit.audit.audit_file.os.write", half)
            patch.setattr("authkit.audit.audit_file.os.ftruncate", refused)
            with pytest.raises(BackendUnavailable):
                await sink.write(batch())
        await sink.write(batch())
    assert sequences(path) == [1, 2, 3]


async def test_a_cancelled_batch_is_written_once(path: Path) -> None:
    """The write goes on in its thread, and the batch given again knows of it."""
    async with FileAuditSink(path) as sink:
        for attempt in range(5):
            events = batch(1 + 3 * attempt)
            writing = asyncio.create_task(sink.write(events))
            for _ in range(attempt):
                await asyncio.sleep(0.0005)
            writing.cancel()
            (error,) = await asyncio.gather(writing, return_exceptions=True)
            if error is not None:
                await sink.write(events)
    assert sequences(path) == list(range(1, 16))


@pytest.mark.parametrize("place", ["missing/audit.jsonl", ".", "/dev/null", "/dev/full"])
async def test_an_unusable_path_is_told_on_entering(tmp_path: Path, place: str) -> None:
    """Nobody waits for an outage to end that is a mistake."""
    with pytest.raises(ConfigurationError, match="cannot be written"):
        await FileAuditSink(tmp_path / place).__aenter__()


@pytest.mark.parametrize("path", [None, 5, "", "a\0b", b"bytes"])
def test_what_is_no_path_is_refused(path: str) -> None:
    """When it is made."""
    with pytest.raises(ConfigurationError, match="path"):
        FileAuditSink(path)


WRITER = """
import asyncio, resource, sys
from authkit.audit import AuditTrail, FileAuditSink
async def main():
    async with AuditTrail(FileAuditSink(sys.argv[1], fsync=False), chain_key=bytes(32)) as trail:
        for number in range(300):
            await trail.append_control("test.event", data={"n": number})
            await asyncio.sleep(0)
asyncio.run(main())
"""


async def test_processes_share_a_file(path: Path) -> None:
    """Every event of each of them is there, in order, on a line of its own."""
    command = [sys.executable, "-c", WRITER, str(path)]

    def run() -> Sequence[int]:
        processes = [subprocess.Popen(command) for _ in range(3)]
        return [process.wait(30) for process in processes]

    assert await asyncio.to_thread(run) == [0, 0, 0]
    found: dict[str, list[int]] = {}
    for line in path.read_bytes().splitlines():
        event = event_of_line(line)
        found.setdefault(event.producer, []).append(event.sequence)
    assert len(found) == 3
    for sequences_of_one in found.values():
        # There may be an anchor behind the first batch, and there is one at the end.
        assert sequences_of_one == list(range(1, len(sequences_of_one) + 1))
        assert len(sequences_of_one) in (301, 302)


async def test_a_trail_writes_to_a_file(path: Path) -> None:
    """The trail enters the sink and leaves it."""
    async with AuditTrail(FileAuditSink(path)) as trail:
        trail.append_request(request())
    assert sequences(path) == [1]
