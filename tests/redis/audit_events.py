"""Audit events for the tests of the Redis sink, and what Redis holds of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from authkit.interfaces import AuditEvent
from authkit.testing.contracts.audit_sink import FULL
from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.audit_streams.keys import AuditKeys
from authkit_redis.audit_streams.lines import Line
from authkit_redis.link import open_link
from tests.redis.servers import RedisServer

__all__ = ["KEYS", "LOG", "PREFIX", "kept", "made", "numbers", "opened"]

PREFIX = "test"
KEYS = AuditKeys(PREFIX)
LOG = KEYS.log(0)


def made(first: int, last: int, producer: str = "producer-1", **changes: Any) -> list[AuditEvent]:
    """The events of a producer from one sequence to another."""
    return [
        replace(FULL, producer=producer, sequence=sequence, **changes)
        for sequence in range(first, last + 1)
    ]


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[RedisAuditSink]:
    """A sink on a link of its own, entered."""
    options = {"prefix": PREFIX, **options}
    async with open_link(url) as link, RedisAuditSink(link, **options) as sink:
        yield sink


def kept(server: RedisServer, producer: str = "producer-1", *, log: bytes = LOG) -> list[int]:
    """The sequences of a producer that a stream holds, in its order."""
    entries = server.command("XRANGE", log, "-", "+")
    events = [json.loads(fields[1]) for _, fields in entries]
    return [event["sequence"] for event in events if event["producer"] == producer]


def numbers(lines: list[Line]) -> list[int]:
    """The sequences of lines."""
    return [json.loads(line.line)["sequence"] for line in lines]
