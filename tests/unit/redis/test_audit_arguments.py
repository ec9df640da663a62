"""What an audit sink in Redis is made with is checked when it is made; it believes no reply."""

from __future__ import annotations

import math
from typing import Any

import pytest

from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.testing.contracts.audit_sink import PLAIN
from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.audit_streams.reader import AuditReader
from authkit_redis.link import open_link
from tests.unit.redis.scripted_server import ScriptedServer

NO_NUMBER: list[Any] = ["5", True, math.nan, math.inf, 0, -1]

REPLIES = {
    "null": b"_\r\n",
    "number": b":1\r\n",
    "text": b"+OK\r\n",
    "bytes that are no text": b"$2\r\n\xff\xfe\r\n",
    "map": b"%1\r\n+a\r\n+b\r\n",
    "map of a list": b"%1\r\n+a\r\n*1\r\n*2\r\n+1-1\r\n:7\r\n",
    "empty list": b"*0\r\n",
    "short list": b"*1\r\n:1\r\n",
    "two texts": b"*2\r\n+a\r\n+b\r\n",
    "two texts and a fault": b"*3\r\n+0\r\n+noeviction\r\n+XADD strange\r\n",
    "negative numbers": b"*2\r\n:-1\r\n:-5\r\n",
    "list of nulls": b"*3\r\n_\r\n_\r\n_\r\n",
    "list of lists": b"*2\r\n*0\r\n*0\r\n",
    "entries without ids": b"*1\r\n*2\r\n+a-b\r\n*2\r\n+e\r\n+{}\r\n",
    "error without a code": b"-\r\n",
    "long error": b"-" + b"A" * 10_000 + b"\r\n",
}


@pytest.fixture
def link() -> Any:
    return open_link("redis://127.0.0.1:1")


@pytest.mark.parametrize("name", ["timeout_seconds", "retention_seconds"])
@pytest.mark.parametrize("value", NO_NUMBER, ids=repr)
def test_a_time_is_a_positive_number(link: Any, name: str, value: Any) -> None:
    """Text from the environment is not, nor is a truth value."""
    with pytest.raises(ConfigurationError, match=name):
        RedisAuditSink(link, **{name: value})


@pytest.mark.parametrize("name", ["streams", "max_events"])
@pytest.mark.parametrize("value", [*NO_NUMBER, 1.0], ids=repr)
def test_a_count_is_a_whole_number(link: Any, name: str, value: Any) -> None:
    """From 1 on."""
    with pytest.raises(ConfigurationError, match=name):
        RedisAuditSink(link, **{name: value})


def test_a_prefix_and_the_number_of_streams_have_bounds(link: Any) -> None:
    """As every backend has them."""
    with pytest.raises(ConfigurationError, match="streams"):
        RedisAuditSink(link, streams=1025)
    for prefix in ("", "a{b", "a b"):
        with pytest.raises(ConfigurationError, match="prefix"):
            RedisAuditSink(link, prefix=prefix)
        with pytest.raises(ConfigurationError, match="prefix"):
            AuditReader(link, prefix=prefix)
    with pytest.raises(ConfigurationError, match="timeout_seconds"):
        AuditReader(link, timeout_seconds=0)


@pytest.mark.anyio
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_a_reply_of_another_shape_is_an_outage(reply: bytes) -> None:
    """Nothing counts as written, and nothing foreign is raised: writing, entering, reading."""
    async with (
        ScriptedServer(lambda command, peer: reply) as server,
        open_link(server.url) as link,
    ):
        sink = RedisAuditSink(link, timeout_seconds=0.5)
        with pytest.raises(BackendUnavailable):
            await sink.write([PLAIN])
        try:
            await sink.__aenter__()
        except ConfigurationError:
            pass
        else:
            await sink.__aexit__(None, None, None)
        assert sink.stats()["written_total"] == 0


@pytest.mark.anyio
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("how", ["latest", "follow", "export"])
async def test_a_reader_gets_no_line_out_of_another_shape(how: str, reply: bytes) -> None:
    """It ends in our own error, or there is nothing."""

    def answer(command: list[Any], peer: Any) -> bytes:
        # How many streams there are is told as it should be, so that what follows is asked.
        return b"$1\r\n2\r\n" if command[0] == b"HGET" else reply

    async with ScriptedServer(answer) as server, open_link(server.url) as link:
        reader = AuditReader(link, timeout_seconds=0.5)
        try:
            if how == "latest":
                assert await reader.latest(5) == []
            elif how == "export":
                assert [batch async for batch in reader.export("siem", "one")] == []
            elif reply != REPLIES["empty list"]:  # which would be followed for ever
                with pytest.raises(BackendUnavailable):
                    await anext(reader.follow())
        except BackendUnavailable:
            pass
