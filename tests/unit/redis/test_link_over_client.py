"""A link over a client that the application has."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio

from authkit_redis.link import LinkError, link_over

pytestmark = pytest.mark.anyio


async def test_leaving_it_waits_for_calls_that_were_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever closes the client then leaves none of its connections half made."""
    client = redis.asyncio.Redis(port=1)
    ended = 0

    async def execute_command(*parts: Any) -> None:
        nonlocal ended
        try:
            await asyncio.sleep(60)
        finally:
            for _ in range(10):  # as a connection that is being made takes some turns to end
                await asyncio.sleep(0)
            ended += 1

    monkeypatch.setattr(client, "execute_command", execute_command)
    async with link_over(client) as link:
        with pytest.raises(LinkError):
            await link.call(b"PING", timeout_seconds=0.01)
        cancelled = asyncio.ensure_future(link.call(b"PING", timeout_seconds=60))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        await asyncio.wait([cancelled])
    assert ended == 2
    await client.aclose()
