"""What the audit trail of a process that is killed has lost, and of one that ends cleanly."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from authkit.audit.findings import ProducerReport
from authkit.audit.verification import ChainVerification
from authkit_redis.audit_streams.keys import AuditKeys
from tests.redis.audit_service import KEY, PREFIX
from tests.redis.servers import RedisServer

pytestmark = pytest.mark.full
on_one_version = True

ROOT = Path(__file__).parents[2]
KILLS = 4
# 5,000 events a second times a linger of 5 ms, and one batch.
BOUND = 25 + 1_000


@contextmanager
def service(
    folder: Path, where: str
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], int]]]:
    """The process under way, and how many events were admitted so far."""
    counter = folder / "counter"
    counter.write_bytes(bytes(8))
    command = [sys.executable, "-m", "tests.redis.audit_service", str(counter), where]
    # Not measured: what is killed would leave half a file of figures.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    with subprocess.Popen(command, cwd=ROOT, env=env) as process:

        def admitted() -> int:
            return int.from_bytes(counter.read_bytes(), "big")

        try:
            deadline = time.monotonic() + 30
            while admitted() < 500:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.005)
            yield process, admitted
        finally:
            process.kill()


def losses(folder: Path, where: str, lines: Callable[[], Sequence[bytes]]) -> list[int]:
    """What some killed processes have lost, each; then one ends cleanly, and all is verified."""
    chance = random.Random(5)
    admitted = []
    for _ in range(KILLS):
        with service(folder, where) as (process, count):
            time.sleep(chance.uniform(0.2, 0.5))
            process.kill()
            process.wait()
            admitted.append(count())
    with service(folder, where) as (process, count):
        process.terminate()
        assert process.wait(20) == 0
        last = count()
    *killed, clean = verified(lines())
    assert [one.first for one in killed] == [1] * KILLS
    assert not any(one.is_ended or one.repeated or one.unproven for one in killed)
    # One anchor stands behind the first batch, and one at a clean end.
    assert (clean.events, clean.is_ended) == (last + 2, True), "nothing lost"
    return [count + 1 - one.events for count, one in zip(admitted, killed, strict=True)]


def verified(lines: Sequence[bytes]) -> Sequence[ProducerReport]:
    verification = ChainVerification(KEY)
    for line in lines:
        verification.feed(line)
    return verification.finish().producers


def check(lost: Sequence[int]) -> None:
    """What is lost is what the trail says; mostly it is the events of some milliseconds."""
    assert max(lost) <= BOUND, lost
    assert min(lost) >= 0, lost
    assert sorted(lost)[KILLS // 2 - 1] <= 250, lost


def test_a_killed_process_loses_what_was_queued_and_no_more_to_redis(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    """Its stream verifies without a fault, and goes on without a gap to where it ends."""
    log = AuditKeys(PREFIX).log(0)

    def lines() -> list[bytes]:
        return [fields[1] for _, fields in redis_server.command("XRANGE", log, "-", "+")]

    check(losses(tmp_path, redis_server.url, lines))


def test_a_killed_process_loses_what_was_queued_and_no_more_to_a_file(tmp_path: Path) -> None:
    """A line that it has torn is cut off by the next one; the file verifies without a fault."""
    path = tmp_path / "audit.jsonl"

    def lines() -> list[bytes]:
        return path.read_bytes().splitlines(keepends=True)

    check(losses(tmp_path, str(path), lines))
