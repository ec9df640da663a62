"""A hostile key server ends in keys that are unavailable or in correct service, within bounds.

It cannot crash the verifier (CVE-2025-64527, CVE-2024-45809), make it wipe good keys or ask for
keys without end (CVE-2026-48524), nor have it fetch what it must not (CVE-2026-32301).
"""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from authkit.errors import BackendUnavailable
from authkit.interfaces import VerificationKey
from authkit.jose.signing import SigningKey
from authkit.remote_keys import RemoteKeyProvider
from authkit.remote_keys.http import HttpClient
from authkit.testing import ManualClock

pytestmark = pytest.mark.anyio

PATIENCE = 5.0
"""The timeout in seconds where the server is at fault at once, so that nothing waits for it."""

TIMEOUT = 0.3
"""The timeout in seconds where the server hangs; on a busy machine it may not even be reached."""

DEADLINE = 10.0
"""When all must be over, in seconds: far from both timeouts, and from a server that hangs."""

MAX_BYTES = 64 * 1024

GOOD = SigningKey.generate("ES256", kid="good").public_jwk()
JWKS = json.dumps({"keys": [GOOD]}).encode()

Talk = Callable[["KeyServer", asyncio.StreamWriter], Awaitable[None]]


class KeyServer:
    """A server on this machine that does what `talk` does, whatever it is asked.

    Attributes:
        talk: writes the answer to one request.
        paths: what was asked for, in order.
    """

    def __init__(self) -> None:
        self.talk: Talk = says(JWKS)
        self.paths: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.paths.append(request.split(b" ")[1].decode())
            await self.talk(self, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # The client had enough.
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    key_server = KeyServer()
    talks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.create_task(key_server.serve(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    key_server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener:
        yield key_server
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


def head(*lines: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode()


def sends(data: bytes) -> Talk:
    """Sends just this and hangs up."""

    async def talk(server: KeyServer, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return talk


def says(body: bytes, *headers: str, status: str = "200 OK") -> Talk:
    """A well-formed answer."""
    start = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""])
    return sends(start.encode() + body)


def sends_and_hangs(data: bytes) -> Talk:
    """Sends this and never ends."""

    async def talk(server: KeyServer, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await asyncio.sleep(60)

    return talk


def sends_for_ever(start: bytes, data: bytes, pause_seconds: float = 0) -> Talk:
    """Sends a start, and then the same again and again."""

    async def talk(server: KeyServer, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return talk


def redirects(location: str) -> Talk:
    """To an address in which `{url}` stands for this server."""

    async def talk(server: KeyServer, writer: asyncio.StreamWriter) -> None:
        target = location.format(url=server.url)
        await says(JWKS, f"location: {target}", status="302 Found")(server, writer)

    return talk


def bomb() -> bytes:
    """Few bytes that unpack to 32 MiB."""
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    mebibyte = b" " * 1024 * 1024
    return b"".join([*(packer.compress(mebibyte) for _ in range(32)), packer.flush()])


BOMB = bomb()


CHUNK = b"1000\r\n" + b" " * 4096 + b"\r\n"

HANGING: dict[str, Talk] = {
    "says nothing": sends_and_hangs(b""),
    "half a status line": sends_and_hangs(b"HTTP/1.1 20"),
    "half the headers": sends_and_hangs(b"HTTP/1.1 200 OK\r\ncontent-le"),
    "dripping headers": sends_for_ever(b"HTTP/1.1 200 OK\r\n", b"x-drip: 1\r\n", 0.05),
    "informational answers without an end": sends_for_ever(b"", b"HTTP/1.1 103 Hints\r\n\r\n" * 50),
    "half a body": sends_and_hangs(head("content-length: 500") + JWKS[:40]),
    "a dripping body": sends_for_ever(head("content-length: 5000") + b'{"keys": [', b" ", 0.05),
    "a dripping chunk": sends_for_ever(head("transfer-encoding: chunked"), b"1\r\n \r\n", 0.05),
}

FAULTY: dict[str, Talk] = {
    # Connections
    "hangs up at once": sends(b""),
    "half the headers, then gone": sends(b"HTTP/1.1 200 OK\r\ncontent-le"),
    "headers without an end": sends_for_ever(b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n" * 100),
    "one header without an end": sends_for_ever(b"HTTP/1.1 200 OK\r\nx: ", b"x" * 4096),
    "not HTTP": sends(b"\x16\x03\x01\x02\x00garbage\r\n\r\n"),
    "an odd version": sends(b"HTTP/9.9 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
    "an odd status": sends(b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\n{}"),
    # Bodies
    "half a body, then gone": sends(head("content-length: 5000") + JWKS),
    "more than was announced": sends(head("content-length: 40") + JWKS),
    "two lengths": sends(head(f"content-length: {len(JWKS)}", "content-length: 3") + JWKS),
    "a negative length": sends(head("content-length: -1") + JWKS),
    "a body without an end": sends_for_ever(head("transfer-encoding: chunked"), CHUNK),
    "a body without an announced end": sends_for_ever(head("connection: close"), b" " * 65536),
    "a broken chunk": sends(head("transfer-encoding: chunked") + b"zz\r\n"),
    "a length of a terabyte": sends_for_ever(head("content-length: 1099511627776"), b" " * 65536),
    # Codings
    "a bomb": says(BOMB, "content-encoding: gzip"),
    "a bomb in a bomb": says(gzip.compress(BOMB), "content-encoding: gzip, gzip"),
    "half a pack": says(gzip.compress(JWKS)[:-9], "content-encoding: gzip"),
    "a pack with an appendix": says(gzip.compress(JWKS) + b"more", "content-encoding: gzip"),
    "no pack at all": says(JWKS, "content-encoding: gzip"),
    "a coding nobody asked for": says(JWKS, "content-encoding: br"),
    # Statuses
    "not found": says(b"", status="404 Not Found"),
    "an error with a good body": says(JWKS, status="500 Internal Server Error"),
    "no content": sends(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "not modified, unasked": sends(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "a part": says(JWKS, "content-range: bytes 0-1/2", status="206 Partial Content"),
    "a redirect to itself": redirects("{url}/again"),
    "a redirect to the cloud's secrets": redirects("http://169.254.169.254/latest/meta-data"),
    "a redirect to a file": redirects("file:///etc/passwd"),
    "a redirect to another host": redirects("https://evil.example/jwks"),
    # Documents
    "HTML": says(b"<!doctype html><title>Sign in</title>", "content-type: application/json"),
    "nothing": says(b""),
    "null": says(b"null"),
    "a list": says(json.dumps([GOOD]).encode()),
    "no keys": says(b"{}"),
    "keys that are no list": says(json.dumps({"keys": GOOD}).encode()),
    "NaN": says(b'{"keys": [' + json.dumps(GOOD).encode() + b'], "x": NaN}'),
    "an infinite number": says(b'{"keys": [], "x": 1e999}'),
    "keys twice": says(b'{"keys": [], "keys": [' + json.dumps(GOOD).encode() + b"]}"),
    "two documents": says(JWKS + JWKS),
    "a mark in front": says(b"\xef\xbb\xbf" + JWKS),
    "UTF-16": says(JWKS.decode().encode("utf-16")),
    "no UTF-8": says(JWKS.replace(b"good", b"go\xffd")),
    "half a character": says(JWKS.replace(b"good", b"go\\ud800d")),
    "arrays in arrays": says(b'{"keys": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    "too many keys": says(b'{"keys": [' + b",".join([b"{}"] * 1001) + b"]}"),
    "too many bytes": says(b'{"keys": []}' + b" " * MAX_BYTES),
}

hostile = pytest.mark.parametrize(
    ("talk", "limit"),
    [(talk, PATIENCE) for talk in FAULTY.values()] + [(talk, TIMEOUT) for talk in HANGING.values()],
    ids=[*FAULTY, *HANGING],
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def asks(
    server: KeyServer,
    client: HttpClient | None = None,
    clock: ManualClock | None = None,
    limit: float = PATIENCE,
) -> RemoteKeyProvider:
    """A provider that asks the server, with the client or with one of its own."""
    return RemoteKeyProvider(
        jwks_url=f"{server.url}/jwks",
        insecure_loopback_http=True,
        client=client,
        clock=clock,
        timeout_seconds=limit,
        max_bytes=MAX_BYTES,
    )


@pytest.fixture
def limit() -> float:
    """Where a test does not say another one."""
    return PATIENCE


@pytest.fixture
async def provider(
    server: KeyServer, clock: ManualClock, limit: float
) -> AsyncIterator[RemoteKeyProvider]:
    """One with a client that is given, and that would follow redirects and wait for ever."""
    async with httpx2.AsyncClient(follow_redirects=True, timeout=None) as client:
        yield asks(server, client, clock, limit)


@asynccontextmanager
async def bounded() -> AsyncIterator[None]:
    """Fails unless what is in it ends in time, and without taking much memory."""
    tracemalloc.start()
    started = asyncio.get_running_loop().time()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert asyncio.get_running_loop().time() - started < DEADLINE
    assert peak < 12 * 1024 * 1024


async def served(
    provider: RemoteKeyProvider, clock: ManualClock, kid: str
) -> tuple[VerificationKey, ...]:
    """What a good server has; on a busy machine it too may be late for a short timeout."""
    for _ in range(20):
        try:
            return await provider.find(kid, "ES256")
        except BackendUnavailable:
            clock.advance(120)
    pytest.fail("a good server is not believed")


async def until_failed(provider: RemoteKeyProvider, failures: float) -> None:
    """A request may give up just before the fetch does."""
    for _ in range(1000):
        if provider.stats()["fetch_failures_total"] > failures:
            return
        await asyncio.sleep(0.01)
    pytest.fail("the fetch has not ended")


@hostile
async def test_met_first_it_is_an_outage_in_time_and_memory_and_one_request(
    server: KeyServer, talk: Talk, limit: float
) -> None:
    """Never an exception of another family, and never a second connection (CVE-2025-64527)."""
    server.talk = talk
    async with bounded():
        with pytest.raises(BackendUnavailable) as refused:
            await asks(server, limit=limit).find("good", "ES256")
    assert refused.value.interface == "keys"
    assert server.paths == ["/jwks"] or (limit == TIMEOUT and server.paths == [])


@hostile
async def test_turned_hostile_it_evicts_no_key_and_is_forgiven_when_it_is_good_again(
    server: KeyServer, provider: RemoteKeyProvider, clock: ManualClock, talk: Talk
) -> None:
    """Good keys outlast bad answers (CVE-2026-48524); a new key is in doubt, not refused."""
    (key,) = await served(provider, clock, "good")
    failures = provider.stats()["fetch_failures_total"]
    server.talk = talk
    clock.advance(60)
    async with bounded():
        with pytest.raises(BackendUnavailable) as refused:
            await provider.find("new", "ES256")
    assert refused.value.code == "key_unknown_unconfirmed"
    assert await provider.find("good", "ES256") == (key,)
    assert not key.lease.withdrawn

    await until_failed(provider, failures)
    server.talk = says(JWKS)
    clock.advance(60)
    assert await served(provider, clock, "new") == ()
    assert await served(provider, clock, "good") == (key,)
    assert set(server.paths) == {"/jwks"}
    assert len(server.paths) <= provider.stats()["fetches_total"]


@pytest.mark.parametrize(
    ("talk", "limit"),
    [(says(JWKS), PATIENCE), (says(b""), PATIENCE), (sends_and_hangs(b""), TIMEOUT)],
    ids=["good", "fails", "hangs"],
)
async def test_a_storm_of_key_ids_is_one_request_in_a_cooldown(
    server: KeyServer, provider: RemoteKeyProvider, clock: ManualClock, talk: Talk
) -> None:
    """Whether the server is good, fails or hangs (CVE-2026-48524)."""
    await served(provider, clock, "good")
    fetches, asked = provider.stats()["fetches_total"], len(server.paths)
    server.talk = talk
    clock.advance(30)
    for number in range(3):
        storm = [provider.find(f"kid-{number}-{i}", "ES256") for i in range(200)]
        answers = await asyncio.gather(*storm, return_exceptions=True)
        assert all(a == () or isinstance(a, BackendUnavailable) for a in answers)
        clock.advance(9)
    assert provider.stats()["fetches_total"] == fetches + 1
    assert len(server.paths) <= asked + 1


@pytest.mark.parametrize("limit", [TIMEOUT])
async def test_a_thousand_requests_that_meet_a_hanging_server_all_end_in_time(
    server: KeyServer, provider: RemoteKeyProvider
) -> None:
    """They wait together, and are told when to come again."""
    server.talk = sends_and_hangs(head("content-length: 500"))
    started = asyncio.get_running_loop().time()
    finds = [provider.find("good", "ES256") for _ in range(1000)]
    answers = await asyncio.gather(*finds, return_exceptions=True)

    assert asyncio.get_running_loop().time() - started < DEADLINE
    assert all(
        isinstance(answer, BackendUnavailable) and 0 < answer.retry_after_seconds <= 30
        for answer in answers
    )
    assert provider.stats()["fetches_total"] == 1
    assert len(server.paths) <= 1


ODD_KEYS: list[Any] = [
    None,
    7,
    "key",
    [],
    {},
    {"kty": "XYZ", "kid": "good"},
    {"kty": ["EC"], "kid": "good"},
    {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA", "kid": "good"},
    {**GOOD, "x": GOOD["y"], "y": GOOD["x"]},
    {**GOOD, "x": "!!!!"},
    {**GOOD, "x": GOOD["x"] + "="},
    {**GOOD, "x": ""},
    {**GOOD, "x": None},
    {**GOOD, "y": 7},
    {**GOOD, "kid": 7},
    {**GOOD, "alg": ["ES256"]},
    {**GOOD, "use": "enc"},
    {**GOOD, "use": ["sig"]},
    {**GOOD, "key_ops": "verify"},
    {**GOOD, "key_ops": [[]]},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "good"},
    {"kty": "RSA", "n": "A" * 20_000, "e": "AQAB", "kid": "good"},
    {"kty": "OKP", "crv": "Ed25519", "x": "AQ" + "A" * 41, "kid": "good"},
    {"kty": "oct", "k": "A" * 86, "kid": "good", "alg": "HS256"},
]


@pytest.mark.parametrize("odd", ODD_KEYS, ids=repr)
async def test_an_odd_key_costs_no_other_key(
    server: KeyServer, provider: RemoteKeyProvider, odd: object
) -> None:
    """In front or behind, even under the same id (RFC 7517 section 5)."""
    server.talk = says(json.dumps({"keys": [odd, GOOD, odd], "more": {"x": None}}).encode())
    (key,) = await provider.find("good", "ES256")
    assert key.kid == "good"
    assert await provider.find("good", "HS256") == ()


async def test_a_set_of_bad_keys_and_one_good_one_is_served(
    server: KeyServer, provider: RemoteKeyProvider
) -> None:
    """As many as may be, all under one id, and the good one last."""
    off_curve = {**GOOD, "x": GOOD["y"], "y": GOOD["x"]}
    few = {name: off_curve[name] for name in ("kty", "crv", "x", "y", "kid")}
    bad = [{**few, "x": few["x"][:-3] + f"{i:03}"} for i in range(350)]
    server.talk = says(json.dumps({"keys": [*bad, GOOD]}).encode())
    async with bounded():
        (key,) = await provider.find("good", "ES256")
    assert key.kid == "good"


@pytest.mark.parametrize(
    "talk",
    [
        says(JWKS, "content-type: text/html", "cache-control: max-age=-7, x=\x80"),
        says(JWKS, "etag: \x7f\xff", "age: yesterday", "retry-after: never"),
        says(JWKS, "set-cookie: a=b", "strict-transport-security: odd", "link: <>; rel=x"),
        says(b" \r\n\t" + JWKS + b"\n" * 1000),
        says(JWKS[:-1] + b', "x5u": "https://evil.example", "jku": "https://evil.example"}'),
    ],
    ids=["caching", "validators", "other headers", "whitespace", "members"],
)
async def test_what_is_odd_beside_the_keys_makes_no_difference(
    server: KeyServer, provider: RemoteKeyProvider, talk: Talk
) -> None:
    """Unusual is not hostile; and nothing that a set refers to is fetched."""
    server.talk = talk
    assert await provider.find("good", "ES256")
    await provider.refresh()
    assert server.paths == ["/jwks"]


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "/jwks"},
        {"jwks_uri": "ftp://127.0.0.1/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://169.254.169.254/latest/meta-data"},
        {"jwks_uri": "http://evil.example/jwks"},
        {"jwks_uri": ["{url}/jwks"]},
        {"jwks_uri": "http://user:password@127.0.0.1/jwks"},
        {"jwks_uri": "{url}\\@evil.example/jwks"},
        {"jwks_uri": "{url}/jwks#fragment"},
    ],
    ids=repr,
)
async def test_a_discovery_document_cannot_send_us_elsewhere(
    server: KeyServer, change: dict[str, Any]
) -> None:
    """Only an https address, of this issuer's own document, is asked (CVE-2026-32301)."""
    document = {"issuer": server.url, "jwks_uri": f"{server.url}/jwks", **change}
    server.talk = says(json.dumps(document).replace("{url}", server.url).encode())
    provider = RemoteKeyProvider(server.url, insecure_loopback_http=True, timeout_seconds=PATIENCE)
    async with bounded():
        with pytest.raises(BackendUnavailable) as refused:
            await provider.find("good", "ES256")
    assert "evil" not in str(refused.value)
    assert server.paths == ["/.well-known/openid-configuration"]


@hostile
async def test_a_hostile_discovery_document_is_an_outage(
    server: KeyServer, talk: Talk, limit: float
) -> None:
    """It is fetched within the same bounds as the keys."""
    server.talk = talk
    provider = RemoteKeyProvider(
        server.url, insecure_loopback_http=True, timeout_seconds=limit, max_bytes=MAX_BYTES
    )
    with pytest.raises(BackendUnavailable):
        await provider.find("good", "ES256")
    assert len(server.paths) <= 2
    assert set(server.paths) <= {
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
    }


async def test_a_server_that_is_not_there_is_an_outage(
    server: KeyServer, provider: RemoteKeyProvider
) -> None:
    """Nobody listens, or the name is not known."""
    for address in ("http://127.0.0.1:9/jwks", "https://127.0.0.1:9/jwks", "https://localhost:9/"):
        nobody = RemoteKeyProvider(jwks_url=address, insecure_loopback_http=True, timeout_seconds=2)
        with pytest.raises(BackendUnavailable):
            await nobody.find("good", "ES256")


async def test_a_key_server_without_tls_is_not_talked_to(server: KeyServer) -> None:
    """What answers an https address in plain text gives no keys."""
    server.talk = says(JWKS)
    address = server.url.replace("http:", "https:")
    provider = RemoteKeyProvider(jwks_url=address, timeout_seconds=TIMEOUT)
    with pytest.raises(BackendUnavailable):
        await provider.find("good", "ES256")
    assert server.paths == []
