"""Without a client it makes its own, which checks certificates and leaves nothing open."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from authkit.errors import BackendUnavailable
from authkit.remote_keys import HttpKeySource, RemoteKeyProvider
from tests.unit.remote_keys.web import (
    ISSUER,
    JWKS,
    JWKS_URL,
)

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(
    answer: Callable[[bytes], Awaitable[bytes]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A server on this machine that answers each connection's first request with bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            writer.write(await answer(request))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def reply(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_without_a_client_it_makes_its_own_and_leaves_nothing_open(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entered or not; the insecure option is logged once, and no proxy is asked."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    caplog.set_level(logging.WARNING, "authkit")
    requests: list[bytes] = []

    async def answer(request: bytes) -> bytes:
        requests.append(request)
        return reply(JWKS)

    async with serving(answer) as port:
        provider = RemoteKeyProvider(
            jwks_url=f"http://127.0.0.1:{port}/jwks",
            insecure_loopback_http=True,
            cooldown_seconds=0,
        )
        assert await provider.find("a", "ES256")
        async with provider:
            await provider.refresh()

    assert len(requests) == 2
    assert requests[0].startswith(b"GET /jwks HTTP/1.1\r\n")
    assert [message for message in caplog.messages if "insecure_loopback_http" in message] == [
        "keys from 127.0.0.1: insecure_loopback_http allows http to this machine"
    ]


def test_one_that_is_never_used_opens_nothing() -> None:
    """Constructing is free, also outside an event loop."""
    RemoteKeyProvider(ISSUER)


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "identity"])
async def test_a_store_that_compresses_unasked_is_understood(coding: str) -> None:
    """Some serve files as they were packed, whatever is asked for."""
    body = JWKS if coding == "identity" else gzip.compress(JWKS)

    async def answer(request: bytes) -> bytes:
        return reply(body, f"content-encoding: {coding}")

    async with serving(answer) as port:
        source = HttpKeySource(f"http://localhost:{port}", insecure_loopback_http=True)
        assert (await source.fetch(None)).body == JWKS


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost that nobody knows: its file, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


async def test_certificates_are_checked_and_the_environment_can_name_an_authority(
    authority: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for any other program of the machine."""
    file, context = authority

    async def answer(request: bytes) -> bytes:
        return reply(JWKS)

    async with serving(answer, context) as port:
        with pytest.raises(BackendUnavailable) as refused:
            await HttpKeySource(f"https://127.0.0.1:{port}/").fetch(None)
        assert str(refused.value) == (
            "keys: 127.0.0.1 could not be asked: ConnectError "
            "(CERTIFICATE_VERIFY_FAILED, self-signed certificate, verify code 18)"
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        document = await HttpKeySource(f"https://127.0.0.1:{port}/").fetch(None)
        assert document.body == JWKS


async def test_a_refused_port_is_told_by_the_name_of_its_error() -> None:
    """A port that nobody listens on, for an address and for a name with several."""

    async def answer(request: bytes) -> bytes:
        return b""

    async with serving(answer) as port:
        pass
    for host in ("127.0.0.1", "localhost"):
        source = HttpKeySource(f"http://{host}:{port}/", insecure_loopback_http=True)
        with pytest.raises(BackendUnavailable) as refused:
            await source.fetch(None)
        assert str(refused.value).endswith("ConnectError (ECONNREFUSED)")


async def test_a_name_that_is_not_known_is_told_by_the_resolver_s_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the client makes of what the resolver says."""

    async def resolve(*arguments: object, **named: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    with pytest.raises(BackendUnavailable) as refused:
        await HttpKeySource("https://keys.invalid/").fetch(None)
    assert str(refused.value).endswith("could not be asked: ConnectError (EAI_NONAME)")


async def test_a_server_without_tls_is_told_by_the_name_of_its_error() -> None:
    """The likeliest wrong port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BackendUnavailable, match=r"ConnectError \([A-Z0-9_]+\)$"):
            await HttpKeySource(f"https://127.0.0.1:{port}/").fetch(None)


async def test_the_environment_can_name_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through which keys still come with TLS from end to end."""
    requests: list[bytes] = []

    async def answer(request: bytes) -> bytes:
        requests.append(request)
        return b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n"

    async with serving(answer) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        with pytest.raises(BackendUnavailable):
            await HttpKeySource(JWKS_URL).fetch(None)
    assert requests[0].startswith(b"CONNECT keys.example.com:443 HTTP/1.1\r\n")
