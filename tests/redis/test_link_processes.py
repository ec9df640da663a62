"""A link in several event loops, in threads and in forked processes; every warning is an error."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading

from authkit_redis.link import Script, open_link
from tests.redis.servers import RedisServer

ECHO = Script("return {KEYS[1], ARGV[1]}")

USING = """
    import asyncio, gc, os, sys
    from authkit_redis.link import Script, open_link

    ECHO = Script("return ARGV[1]")
    link = open_link(sys.argv[1])

    async def use(text):
        calls = [link.run(ECHO, [b"k"], [text], timeout_seconds=5) for _ in range(20)]
        assert await asyncio.gather(*calls) == [text] * 20
        assert await tail.read(b"0", count=1, block_seconds=0.001) == []

    tail = link.tail(b"s")
"""


def run_python(server: RedisServer, code: str) -> list[str]:
    """The words that a program printed; it ends well, and warns of nothing."""
    program = textwrap.dedent(USING) + textwrap.dedent(code)
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split()


def test_an_event_loop_that_ends_takes_its_connections_with_it(redis_server: RedisServer) -> None:
    """A link that was not closed is closed by asyncio.run, and used again by the next one."""
    code = """
        for text in (b"a", b"b"):
            asyncio.run(use(text))
            print(int(link.stats()["connects_total"]), int(link.stats()["disconnects_total"]))
        gc.collect()
    """
    assert run_python(redis_server, code) == ["2", "2", "4", "4"]


def test_a_loop_that_was_only_closed_leaves_nothing_to_warn_of(redis_server: RedisServer) -> None:
    """The next loop in which the link is used lets go of what was left behind."""
    code = """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(use(b"a"))
        loop.close()
        asyncio.run(use(b"b"))
        del loop
        gc.collect()
        print("fine")
    """
    assert run_python(redis_server, code) == ["fine"]


def test_a_forked_child_leaves_the_connections_to_its_parent(redis_server: RedisServer) -> None:
    """It makes its own, and whatever it does or frees, the parent's go on."""
    code = """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(use(b"parent"))
        for _ in range(3):
            child = os.fork()
            if child == 0:
                try:
                    asyncio.run(use(b"child"))
                    del loop
                    gc.collect()
                    asyncio.run(use(b"again"))
                    os._exit(0)
                finally:
                    os._exit(1)
            loop.run_until_complete(use(b"meanwhile"))
            _, status = os.waitpid(child, 0)
            assert status == 0, status
            loop.run_until_complete(use(b"parent"))
        print(int(link.stats()["connects_total"]))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    """
    assert run_python(redis_server, code) == ["2"]


def test_two_event_loops_use_one_link_at_once(redis_server: RedisServer) -> None:
    """Each over a connection of its own; no reply goes astray."""
    link = open_link(redis_server.url)
    failures: list[BaseException] = []

    async def use(name: bytes) -> None:
        async with link:
            for number in range(100):
                text = b"%s-%d" % (name, number)
                calls = [link.run(ECHO, [name], [text], timeout_seconds=5) for _ in range(10)]
                assert await asyncio.gather(*calls) == [[name, text]] * 10

    def run(name: bytes) -> None:
        try:
            asyncio.run(use(name))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert link.stats()["connects_total"] == link.stats()["disconnects_total"] == 2
