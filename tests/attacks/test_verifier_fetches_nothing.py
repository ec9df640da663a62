"""No token makes the verifier open a connection, but to the address that was configured.

Would have caught: CVE-2026-32301 (an address from the token is fetched), CVE-2026-27962 and
CVE-2018-0114 (keys from the header), CVE-2026-48524 (made-up key ids as requests upstream).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from authkit.errors import TokenRefused
from authkit.remote_keys import RemoteKeyProvider
from authkit.testing import LocalIssuer, ManualClock
from tests.attacks.playbook import ALGS, Service, key

pytestmark = pytest.mark.anyio

PLACES = ("jku", "x5u", "jwks_uri", "jwk_set_url", "kid", "iss", "x5c", "typ", "cty", "aud")


@asynccontextmanager
async def trap() -> AsyncIterator[tuple[int, list[object]]]:
    """A port on which somebody listens, and what has knocked there."""
    knocked: list[object] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocked.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], knocked
        await asyncio.sleep(0.02)  # for what is on its way


def addresses(port: int) -> list[str]:
    return [
        f"http://127.0.0.1:{port}/jwks",
        f"https://127.0.0.1:{port}/jwks",
        f"http://localhost:{port}/.well-known/openid-configuration",
        f"//127.0.0.1:{port}/jwks",
        "https://evil.example/jwks.json",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
    ]


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every address that was connected to or asked for a name; each attempt fails."""
    seen: list[object] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        seen.append(arguments[1:] or arguments)
        raise OSError("no network here")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    return seen


def lures(service: Service, address: str, **options: Any) -> Iterator[str]:
    """Tokens that point to an address from wherever a token can, signed by its owner."""
    for alg in ALGS:
        for place in PLACES:
            for value in (address, [address]):
                yield service.token({place: value}, alg=alg, owner="attacker", **options)
        jwk = {**key(alg, "attacker").public_jwk(), "x5u": address, "jku": address}
        yield service.token({"jwk": jwk}, alg=alg, owner="attacker", **options)
        yield service.token(alg=alg, owner="attacker", **{**options, "iss": address})


async def test_a_token_never_opens_a_connection(looked_up: list[object]) -> None:
    """Wherever it names an address: nothing is looked up, nothing is connected to."""
    async with Service() as service:
        for address in addresses(1):
            for token in lures(service, address):
                await service.refused(token)
        await service.accepted(service.token())
    assert looked_up == []


async def test_a_listener_stays_alone() -> None:
    """One that could be reached, for the verifier and the app alike."""
    async with trap() as (port, knocked), Service() as service:
        for address in addresses(port)[:4]:
            for token in lures(service, address):
                await service.refused(token)
        await service.accepted(service.token({"jku": addresses(port)[0], "x5u": "https://x"}))
    assert knocked == []


async def test_fetched_keys_come_from_the_configured_address_alone() -> None:
    """A storm of addresses and made-up key ids: the issuer is asked once more, nobody else is."""
    clock = ManualClock()
    issuer = LocalIssuer(algorithm="ES256", audience="orders", clock=clock)
    async with trap() as (port, knocked), issuer.serving():
        url = issuer.jwks_url
        keys = RemoteKeyProvider(jwks_url=url, clock=clock, insecure_loopback_http=True)
        async with Service(issuer.trusted(keys=keys), clock=clock) as service:
            good = issuer.token()
            caller = await service.accepted(good)
            clock.advance(31)  # the cooldown
            for address in addresses(port):
                for token in lures(service, address, iss=issuer.issuer):
                    assert isinstance(await service.verify(token), TokenRefused)
            assert issuer.hits == {"/jwks": 2}
            assert await service.accepted(good) == caller
    assert knocked == []
