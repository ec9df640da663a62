"""Why there is no connection is said, in words that hold no address and no secret."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from authkit_redis.link import AccessRefused, Link, LinkError, NotSent, Script, open_link
from authkit_redis.link.reasons import reason_of
from tests.redis.certificates import Certificates
from tests.unit.redis.scripted_server import Peer, ScriptedServer

pytestmark = pytest.mark.anyio

ONE = Script("return 1")
SECRET = "open-sesame"


async def failure(link: Link) -> LinkError:
    """What a call ends in."""
    with pytest.raises(LinkError) as caught:
        await link.run(ONE, [b"k"], [], timeout_seconds=5)
    return caught.value


async def said(url: str, **options: Any) -> str:
    """The text of that error, the same in the pause before the next attempt."""
    async with open_link(url, **options) as link:
        problems = [await failure(link) for _ in range(4)]
    [text] = {str(problem) for problem in problems}
    assert all(isinstance(problem, NotSent) for problem in problems)
    for hidden in ("127.0.0.1", "localhost", "::1", SECRET):
        assert hidden not in text
    return text


async def free_port() -> int:
    """Where nothing listens any more."""
    async with ScriptedServer(lambda command, peer: None) as server:
        return server.port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("form", ["redis://{}", "redis+cluster://{}", "redis+sentinel://{}/name"])
async def test_a_refused_connection_says_so(form: str, host: str) -> None:
    """Also where a name stands for several addresses, and to clusters and Sentinels."""
    url = form.format(f"app:{SECRET}@{host}:{await free_port()}")
    assert (await said(url)).endswith("could be made: connection refused")


async def test_a_missing_socket_says_so(tmp_path: Path) -> None:
    """The path is not quoted."""
    text = await said(f"unix://app:{SECRET}@{tmp_path}/missing")
    assert text.endswith("could be made: no such file or directory")
    assert str(tmp_path) not in text


async def test_a_name_that_nobody_knows_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is not quoted."""

    async def unknown(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    text = await said("redis://redis.invalid")
    assert text.endswith("could be made: host name not known (Name or service not known)")


@pytest.mark.parametrize("form", ["redis", "redis+cluster"])
async def test_a_silent_server_has_timed_out(form: str) -> None:
    """It took the connection, and answers nothing."""
    async with ScriptedServer(lambda command, peer: None, hello=None) as server:
        url = server.url.replace("redis", form)
        assert (await said(url, connect_timeout_seconds=0.05)).endswith("could be made: timed out")


@pytest.mark.parametrize("form", ["rediss", "rediss+cluster", "rediss+sentinel"])
async def test_a_server_without_tls_is_asked_about_it(form: str) -> None:
    """It waits for the rest of a command that never was one."""
    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: silent.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    text = await said(f"{form}://127.0.0.1:{port}/0", connect_timeout_seconds=0.1)
    assert text.endswith("timed out; does the server speak TLS on this port?")
    server.close()
    for writer in silent:
        writer.close()


async def test_what_is_no_redis_is_told_as_such() -> None:
    """Another program listens there."""
    async with ScriptedServer(lambda command, peer: None, hello=b"HTTP/1.1 400\r\n\r\n") as server:
        assert "does not speak the protocol of Redis" in await said(server.url)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """For another host than the one that is connected to."""
    return Certificates(tmp_path, addresses=("192.0.2.1",))


async def test_a_certificate_that_does_not_suffice_says_why(certificates: Certificates) -> None:
    """Of another authority, or for another host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate_path, certificates.key_path)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    url = f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        assert "certificate verify failed: unable to get local issuer" in await said(url)
        text = await said(url, ssl_ca_certs=str(certificates.ca_path))
        assert text.endswith("is not valid for this host")
    finally:
        server.close()


async def test_an_ordinary_server_is_no_cluster() -> None:
    """The scheme of the address is wrong."""

    def ordinary(command: list[Any], peer: Peer) -> bytes:
        return b"-ERR This instance has cluster support disabled\r\n"

    async with ScriptedServer(ordinary) as server:
        text = await said(server.url.replace("redis", "redis+cluster"))
        assert text.startswith("the Redis server is no cluster")


async def test_a_cluster_that_is_down_says_so() -> None:
    """With the code of its answer."""

    def down(command: list[Any], peer: Peer) -> bytes:
        return b"-LOADING Redis is loading the dataset in memory\r\n"

    async with ScriptedServer(down) as server:
        assert "LOADING" in await said(server.url.replace("redis", "redis+cluster"))


async def test_an_ordinary_server_is_no_sentinel() -> None:
    """Nor does another one that cannot be reached hide that."""

    def ordinary(command: list[Any], peer: Peer) -> bytes:
        return b"-ERR unknown command 'SENTINEL', with args beginning with: 'masters'\r\n"

    gone = await free_port()
    async with ScriptedServer(ordinary) as server:
        text = await said(f"redis+sentinel://127.0.0.1:{gone},127.0.0.1:{server.port}/name")
        assert text == "the Redis server is no Sentinel (ERR)"


async def test_sentinels_that_know_no_such_service_say_so() -> None:
    """The name in the address is wrong."""
    async with ScriptedServer(lambda command, peer: b"*0\r\n") as server:
        text = await said(f"redis+sentinel://127.0.0.1:{server.port}/name")
        assert text == "the Redis Sentinel watches no master of this service"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            b"-NOPERM User app has no permissions to run the 'cluster|slots' command\r\n",
            "the Redis server refuses this user the command cluster|slots (NOPERM)",
        ),
        (
            b"-NOAUTH Authentication required.\r\n",
            "the Redis server refuses this user (NOAUTH): check user and password in the address",
        ),
    ],
)
async def test_a_cluster_that_may_not_be_asked_refuses_access(answer: bytes, text: str) -> None:
    """So that the mistake is found when the app begins, and not taken for an outage."""
    async with ScriptedServer(lambda command, peer: answer) as server:
        async with open_link(server.url.replace("redis", "redis+cluster")) as link:
            problem = await failure(link)
            tail = link.tail(b"k")
            with pytest.raises(AccessRefused):
                await tail.read(b"0", count=1, block_seconds=0.1)
    assert isinstance(problem, AccessRefused)
    assert str(problem) == text


async def test_a_sentinel_that_wants_a_password_says_whose() -> None:
    """Not the one in the address, which is for the servers."""
    refused = b"-NOAUTH Authentication required.\r\n"
    async with ScriptedServer(lambda command, peer: refused) as server:
        async with open_link(f"redis+sentinel://127.0.0.1:{server.port}/name") as link:
            problem = await failure(link)
    assert isinstance(problem, AccessRefused)
    assert str(problem) == (
        "the Redis Sentinel refuses this user (NOAUTH): check user and password in sentinel_kwargs"
    )


def test_a_text_that_nobody_knows_to_be_harmless_is_left_out() -> None:
    """Whatever an exception says of itself."""
    error = ConnectionError(f"something about {SECRET}")
    error.__cause__ = OSError(None, SECRET)
    assert reason_of(error) == ""


def test_an_endless_chain_of_causes_has_an_end() -> None:
    """One exception may have led to another, and that one to the first."""
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert reason_of(first) == ""
