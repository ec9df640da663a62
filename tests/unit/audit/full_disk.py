"""A trail over a file whose disk fills up and is emptied again.

    python -m tests.unit.audit.full_disk FILE

has a disk that ends in the middle of a line (RLIMIT_FSIZE).  On standard output: the subjects that
were admitted, and the trail's figures.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from authkit.audit import AuditTrail, FileAuditSink
from authkit.errors import BackendUnavailable
from tests.unit.audit.sinks import request, until
from tests.unit.audit.trails import KEY

__all__ = ["Survived", "survive"]

_REQUESTS, _CONTROLS = 200, 20


class Survived(NamedTuple):
    """What came of it.

    Attributes:
        admitted: the subjects of all events that were admitted, in order.
        figures: the trail's, while the disk was full and in the end.
    """

    admitted: list[str]
    figures: list[dict[str, float]]


async def survive(path: Path, fill: Callable[[], None], empty: Callable[[], None]) -> Survived:
    """Puts events on record before, while and after the disk is full, one of them waiting."""
    trail = AuditTrail(
        FileAuditSink(path),
        chain_key=KEY,
        request_capacity=_REQUESTS,
        control_capacity=_CONTROLS,
        batch_size=50,
        retry_seconds=0.005,
        retry_max_seconds=0.02,
        control_deadline_seconds=0.1,
    )
    admitted: list[str] = []

    def add(subject: str) -> None:
        dropped = trail.stats()["dropped_total"]
        trail.append_request(request(subject))
        if trail.stats()["dropped_total"] == dropped:
            admitted.append(subject)

    async with trail:
        for number in range(100):
            add(f"before-{number}")
        await until(lambda: not trail.stats()["queued"])
        fill()
        for number in range(_REQUESTS + 30):
            add(f"during-{number}")
            await asyncio.sleep(0)
        for number in range(_CONTROLS):
            await trail.append_control("test.event", subject=f"control-{number}")
            admitted.append(f"control-{number}")
        await until(lambda: trail.stats()["is_failing"])
        try:
            await trail.append_control("test.event", subject="late")
        except BackendUnavailable:
            waiting = asyncio.create_task(trail.append_control("test.event", subject="waiting"))
            await asyncio.sleep(0)
            full = dict(trail.stats())
        empty()
        await waiting
        admitted.append("waiting")
        await until(lambda: not trail.stats()["queued"])
        add("after")
    return Survived(admitted, [full, dict(trail.stats())])


async def _under_a_limit(path: Path) -> Survived:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 700, hard))

    def empty() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    return await survive(path, fill, empty)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_under_a_limit(Path(sys.argv[1])))))  # noqa: T201 # the result
