"""What a call ends in, whatever the server does; with redis-py's private names and without."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from authkit_redis.link import (
    AccessRefused,
    Link,
    LinkError,
    NotSent,
    OutcomeUnknown,
    ReplyError,
    Saturated,
    Script,
    open_link,
    redis_py,
)
from authkit_redis.link.channel import Channel
from authkit_redis.link.wire import Counts
from tests.unit.redis.scripted_server import Peer, ScriptedServer, bulk

pytestmark = pytest.mark.anyio

ECHO = Script("return ARGV[1]")


@pytest.fixture(params=["taken", "public"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the link gets at the connections that redis-py makes."""
    if request.param == "public":
        monkeypatch.setattr(redis_py, "_READER", "_reader_of_another_release")
        monkeypatch.setattr(redis_py, "_WRITER", "_writer_of_another_release")
    return str(request.param)


def last_argument(command: list[Any], peer: Peer) -> bytes:
    """What the script above would answer."""
    return bulk(command[-1])


async def echoed(link: Link, text: bytes, timeout_seconds: float = 1.0, **options: bool) -> Any:
    """A call whose reply is its argument."""
    return await link.run(ECHO, [b"k"], [text], timeout_seconds=timeout_seconds, **options)


async def test_each_of_many_calls_gets_its_own_reply() -> None:
    """Replies go to the calls in their order, over one connection."""
    async with ScriptedServer(last_argument) as server, open_link(server.url) as link:
        texts = [b"%d" % number for number in range(500)]
        replies = await asyncio.gather(*[echoed(link, text) for text in texts])
        assert replies == texts
        assert len(server.peers) == 1


async def test_half_a_reply_then_silence_ends_in_outcome_unknown() -> None:
    """The connection is given up after the reply timeout, before the caller's own deadline."""

    def half(command: list[Any], peer: Peer) -> bytes:
        return b"$10\r\nhalf" if command[-1] == b"first" else last_argument(command, peer)

    async with ScriptedServer(half) as server:
        async with open_link(server.url, reply_timeout_seconds=0.1) as link:
            started = time.monotonic()
            with pytest.raises(OutcomeUnknown):
                await echoed(link, b"first", 5.0)
            assert time.monotonic() - started < 1.0
            assert await echoed(link, b"second") == b"second"
            assert len(server.peers) == 2


async def test_a_reply_after_its_deadline_is_dropped() -> None:
    """It reaches nobody, and the replies after it reach those that they are for."""

    def slowly(command: list[Any], peer: Peer) -> bytes | None:
        # What it owes for the first call comes with the reply to the second.
        return None if command[-1] == b"late" else bulk(b"late") + last_argument(command, peer)

    async with ScriptedServer(slowly) as server, open_link(server.url) as link:
        with pytest.raises(OutcomeUnknown):
            await echoed(link, b"late", 0.05)
        assert await echoed(link, b"next") == b"next"
        assert link.stats()["timeouts_total"] == link.stats()["late_replies_total"] == 1
        assert len(server.peers) == 1


async def test_a_slow_server_that_goes_on_answering_keeps_its_connection() -> None:
    """Only silence counts: a call may be older than the reply timeout while others proceed."""

    async def answer_slowly(peer: Peer) -> None:
        for number in range(4):
            await asyncio.sleep(0.06)
            peer.say(bulk(b"%d" % number))

    tasks: list[asyncio.Task[None]] = []

    def slowly(command: list[Any], peer: Peer) -> None:
        if not tasks:
            tasks.append(asyncio.create_task(answer_slowly(peer)))

    async with ScriptedServer(slowly) as server:
        async with open_link(server.url, reply_timeout_seconds=0.1) as link:
            calls = [echoed(link, b"", 2.0) for _ in range(4)]
            assert await asyncio.gather(*calls) == [b"0", b"1", b"2", b"3"]


async def test_a_reset_fails_everything_in_flight_and_repeats_nothing() -> None:
    """All learn at once that the outcome is unknown; the next call has a connection."""

    def reset(command: list[Any], peer: Peer) -> bytes | None:
        if command[-1] == b"after":
            return last_argument(command, peer)
        if command[-1] == b"49":
            peer.reset()
        return None

    async with ScriptedServer(reset) as server, open_link(server.url) as link:
        calls = [echoed(link, b"%d" % number, 30.0) for number in range(50)]
        async with asyncio.timeout(2):
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {OutcomeUnknown}
        assert len(set(map(id, outcomes))) == 50
        assert await echoed(link, b"after") == b"after"
        assert len(server.commands) == 51


async def test_what_is_repeatable_is_repeated_once() -> None:
    """After an unknown outcome, and not more than once."""

    def reset(command: list[Any], peer: Peer) -> bytes | None:
        if len(server.commands) != 2:
            peer.reset()
            return None
        return last_argument(command, peer)

    async with ScriptedServer(reset) as server, open_link(server.url) as link:
        assert await echoed(link, b"a", is_repeatable=True) == b"a"
        with pytest.raises(OutcomeUnknown):
            await echoed(link, b"b", is_repeatable=True)
        assert [command[-1] for command in server.commands] == [b"a", b"a", b"b", b"b"]


async def test_a_cancelled_call_costs_neither_the_connection_nor_another_reply() -> None:
    """Its reply is consumed, whenever it was cancelled."""
    async with ScriptedServer(last_argument) as server, open_link(server.url) as link:
        for ticks in range(12):
            cancelled = asyncio.create_task(echoed(link, b"cancelled"))
            others = [asyncio.create_task(echoed(link, b"%d" % number)) for number in range(3)]
            for _ in range(ticks):
                await asyncio.sleep(0)
            cancelled.cancel()
            assert await asyncio.gather(*others) == [b"0", b"1", b"2"]
            await asyncio.wait([cancelled])
        assert len(server.peers) == 1


async def test_more_calls_than_may_wait_are_refused() -> None:
    """They were surely not sent; those before them are served."""
    async with ScriptedServer(last_argument) as server:
        async with open_link(server.url, max_in_flight=10) as link:
            calls = [asyncio.ensure_future(echoed(link, b"%d" % number)) for number in range(12)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert outcomes[:10] == [b"%d" % number for number in range(10)]
            assert [type(outcome) for outcome in outcomes[10:]] == [Saturated, Saturated]
            assert await echoed(link, b"again") == b"again"
            assert link.stats()["saturated_total"] == 2


async def test_push_frames_answer_nobody() -> None:
    """What a server sends unasked is not a reply."""

    def pushing(command: list[Any], peer: Peer) -> bytes:
        return b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n" + last_argument(command, peer)

    async with ScriptedServer(pushing) as server, open_link(server.url) as link:
        assert await echoed(link, b"a") == b"a"
        assert await echoed(link, b"b") == b"b"


@pytest.mark.parametrize("nonsense", [b"what?\r\n", b"+one\r\n+too many\r\n"])
async def test_what_is_not_a_reply_ends_the_connection(nonsense: bytes) -> None:
    """Nothing after it can be trusted."""

    def once(command: list[Any], peer: Peer) -> bytes:
        return nonsense if len(server.commands) == 1 else last_argument(command, peer)

    async with ScriptedServer(once) as server, open_link(server.url) as link:
        await asyncio.gather(echoed(link, b"a"), return_exceptions=True)
        await asyncio.sleep(0.02)
        assert await echoed(link, b"b") == b"b"
        assert len(server.peers) == 2


async def test_an_unknown_script_is_sent_in_full() -> None:
    """Each NOSCRIPT reply is followed by the script itself, with the same keys and arguments."""

    def forgetful(command: list[Any], peer: Peer) -> bytes:
        known = command[0] == b"EVAL"
        return last_argument(command, peer) if known else b"-NOSCRIPT No matching script.\r\n"

    async with ScriptedServer(forgetful) as server, open_link(server.url) as link:
        assert await echoed(link, b"a") == b"a"
        assert server.commands[1] == [b"EVAL", ECHO.source.encode(), b"1", b"k", b"a"]


async def test_try_again_is_tried_again() -> None:
    """The server has not executed it."""

    def moving(command: list[Any], peer: Peer) -> bytes:
        busy = len(server.commands) < 3
        return b"-TRYAGAIN Multiple keys\r\n" if busy else last_argument(command, peer)

    async with ScriptedServer(moving) as server, open_link(server.url) as link:
        assert await echoed(link, b"a") == b"a"


@pytest.mark.parametrize(
    "code", ["CLUSTERDOWN", "CROSSSLOT", "LOADING", "MASTERDOWN", "OOM", "READONLY", "WRONGTYPE"]
)
async def test_an_error_reply_is_known_by_its_first_word(code: str) -> None:
    """Nothing else of its text is kept: there may be a key in it."""

    def error(command: list[Any], peer: Peer) -> bytes:
        return f"-{code} the key is k-secret\r\n".encode()

    async with ScriptedServer(error) as server, open_link(server.url) as link:
        with pytest.raises(ReplyError) as caught:
            await echoed(link, b"a")
        assert caught.value.code == code
        assert "k-secret" not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"


async def test_a_server_that_takes_no_writes_is_connected_to_anew() -> None:
    """By then the address may lead to another one; many such replies cost one connection."""

    def demoted(command: list[Any], peer: Peer) -> bytes:
        is_first = peer is server.peers[0]
        return b"-READONLY replica\r\n" if is_first else last_argument(command, peer)

    async with ScriptedServer(demoted) as server, open_link(server.url) as link:
        calls = [echoed(link, b"%d" % number) for number in range(20)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ReplyError}
        assert await echoed(link, b"a") == b"a"
        assert len(server.peers) == 2


async def test_a_repeatable_call_survives_a_demotion() -> None:
    """It is repeated on the new connection."""

    def demoted(command: list[Any], peer: Peer) -> bytes:
        is_first = peer is server.peers[0]
        return b"-READONLY replica\r\n" if is_first else last_argument(command, peer)

    async with ScriptedServer(demoted) as server, open_link(server.url) as link:
        assert await echoed(link, b"a", is_repeatable=True) == b"a"


async def test_a_forbidden_command_is_named() -> None:
    """So that whoever wrote the ACL learns what is missing."""

    def forbid(command: list[Any], peer: Peer) -> bytes:
        return b"-NOPERM User app has no permissions to run the 'evalsha' command\r\n"

    async with ScriptedServer(forbid) as server, open_link(server.url) as link:
        with pytest.raises(AccessRefused) as caught:
            await echoed(link, b"a")
        assert (caught.value.code, caught.value.command) == ("NOPERM", "evalsha")
        assert "evalsha" in str(caught.value)


async def test_a_tail_reads_both_forms_of_a_stream() -> None:
    """RESP3's map and RESP2's list, and nothing where nothing came."""
    entries = b"*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
    replies = [
        b"%1\r\n$1\r\ns\r\n" + entries,
        b"*1\r\n*2\r\n$1\r\ns\r\n" + entries,
        b"_\r\n",
    ]

    def next_reply(command: list[Any], peer: Peer) -> bytes:
        return replies.pop(0)

    async with ScriptedServer(next_reply) as server, open_link(server.url) as link:
        tail = link.tail(b"s")
        assert await tail.read(b"0", count=5, block_seconds=0.1) == [(b"1-0", [b"f", b"v"])]
        assert await tail.read(b"0", count=5, block_seconds=0.1) == [(b"1-0", [b"f", b"v"])]
        assert await tail.read(b"0", count=5, block_seconds=0.1) == []
        await tail.aclose()
        sent = [b"XREAD", b"COUNT", b"5", b"BLOCK", b"100", b"STREAMS", b"s", b"0"]
        assert server.commands[0] == sent


async def test_a_tail_that_loses_its_connection_connects_anew() -> None:
    """It raises nothing but a LinkError, and the next read is served."""

    def once(command: list[Any], peer: Peer) -> bytes | None:
        if len(server.commands) == 1:
            peer.reset()
            return None
        return b"_\r\n"

    async with ScriptedServer(once) as server, open_link(server.url) as link:
        tail = link.tail(b"s")
        with pytest.raises(LinkError):
            await tail.read(b"0", count=5, block_seconds=0.1)
        assert await tail.read(b"0", count=5, block_seconds=0.1) == []
        await tail.aclose()


async def test_a_cancelled_read_does_not_answer_the_next_one() -> None:
    """The server may still be blocked for it, so its connection is given up."""

    is_blocked = asyncio.Event()

    def block(command: list[Any], peer: Peer) -> bytes | None:
        is_blocked.set()
        return None if len(server.commands) == 1 else b"_\r\n"

    async with ScriptedServer(block) as server, open_link(server.url) as link:
        tail = link.tail(b"s")
        reading = asyncio.create_task(tail.read(b"0", count=5, block_seconds=5))
        await is_blocked.wait()
        reading.cancel()
        await asyncio.wait([reading])
        assert await tail.read(b"1", count=5, block_seconds=0.1) == []
        assert len(server.peers) == 2
        await tail.aclose()


async def test_what_cannot_be_written_expires_unsent() -> None:
    """While the other side does not read, a call that is late or cancelled is never written."""
    written: list[bytes] = []

    class Wire:
        def write(self, data: bytes) -> None:
            written.append(data)

        def close(self) -> None:
            channel.connection_lost(None)

        abort = forget = close

    loop = asyncio.get_running_loop()
    channel = Channel(loop, Counts(), reply_timeout_seconds=1.0, max_in_flight=10)
    channel.attach(Wire())
    channel.pause_writing()
    late = channel.send(b"late", loop.time() + 0.02)
    cancelled = channel.send(b"cancelled", loop.time() + 5)
    waiting = channel.send(b"waiting", loop.time() + 5)
    cancelled.cancel()
    with pytest.raises(NotSent):
        await late
    channel.resume_writing()
    assert written == [b"waiting"]
    await channel.aclose()
    with pytest.raises(OutcomeUnknown):
        await waiting
