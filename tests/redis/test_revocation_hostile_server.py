"""A server whose replies have a shape of their own is one that cannot tell, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from tests.redis.stores import asking, facts, revocation
from tests.unit.redis.scripted_server import ScriptedServer

pytestmark = pytest.mark.anyio

REPLIES = {
    "null": b"_\r\n",
    "number": b":1\r\n",
    "not a number": b",nan\r\n",
    "large number": b"(" + b"9" * 30 + b"\r\n",
    "boolean": b"#t\r\n",
    "text": b"+OK\r\n",
    "bytes that are no text": b"$2\r\n\xff\xfe\r\n",
    "map": b"%1\r\n+a\r\n+b\r\n",
    "set": b"~1\r\n+a\r\n",
    "empty list": b"*0\r\n",
    "short list": b"*1\r\n:1\r\n",
    "list of texts": b"*4\r\n+a\r\n+b\r\n+c\r\n+d\r\n",
    "list of lists": b"*4\r\n*0\r\n*0\r\n*0\r\n*0\r\n",
    "list of nulls": b"*11\r\n" + b"_\r\n" * 11,
    "list of numbers": b"*11\r\n" + b":1\r\n" * 11,
    "list of a list": b"*1\r\n*3\r\n+a\r\n+b\r\n+c\r\n",
    "list of a list of numbers": b"*1\r\n*3\r\n:1\r\n:1\r\n:1\r\n",
    "list of a list of large numbers": b"*1\r\n*3\r\n" + (b"+" + b"9" * 400 + b"\r\n") * 3,
    "list with errors": b"*4\r\n-ERR a\r\n:1\r\n-ERR b\r\n:0\r\n",
    "long list": b"*2000\r\n" + b":1\r\n" * 2000,
    "error without a code": b"-\r\n",
    "long error": b"-" + b"A" * 10_000 + b"\r\n",
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_a_reply_of_another_shape_is_no_answer(reply: bytes) -> None:
    """No question and no revocation gets anything but our own error for it."""
    async with ScriptedServer(lambda command, peer: reply) as server, asking(server.url) as store:
        for number in range(2):
            with pytest.raises(BackendUnavailable):
                await store.find(facts(number))
            with pytest.raises(BackendUnavailable):
                await store.revoke(revocation(number))
            with pytest.raises(BackendUnavailable):
                await store.lift(revocation(number))


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_entering_raises_nothing_foreign(
    reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins all the same, or says what is wrong; it never takes itself to be up to date."""
    unheard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))

    async with (
        ScriptedServer(lambda command, peer: reply) as server,
        asking(server.url, max_staleness_seconds=0.2) as store,
    ):
        try:
            async with store:
                assert not store.is_fresh
                with pytest.raises(BackendUnavailable):
                    await store.find(facts(1))
        except ConfigurationError:
            pass
        assert not store.is_fresh
    assert unheard == []
