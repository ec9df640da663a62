"""More than one's share: the ways to be counted as somebody else, or as nobody.

Would have caught the class of limiters that are passed by changing what a caller chooses itself
(CVE-2026-40575 for forwarding headers), and those by which one caller spends the share of another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from authkit.errors import AuthkitError, RateLimited, SignatureInvalid
from authkit.interfaces import LimitedBy, RateLimit
from authkit.policy import TrustedIssuer
from authkit.principal import Principal
from authkit_memory import MemoryKeyProvider
from tests.attacks.playbook import LOGIN, OTHER, Service, jwks, key, login, other

pytestmark = pytest.mark.anyio

FAILURES = 3
ATTEMPTS = RateLimit(
    name="failed_attempts", rate=FAILURES, per_seconds=60, burst=FAILURES, by="address"
)


def limit(by: LimitedBy, burst: int = 1) -> RateLimit:
    return RateLimit(name="api", rate=1, per_seconds=3600, burst=burst, by=by)


def is_over(answer: object) -> bool:
    """Over the limit, rather than accepted; anything else fails the test."""
    assert isinstance(answer, RateLimited | Principal), answer
    return isinstance(answer, RateLimited)


# Counted as somebody else -------------------------------------------------------------------------

SAME_CALLER: dict[LimitedBy, list[Callable[[Service], str]]] = {
    "subject": [
        lambda s: s.token(),
        lambda s: s.token(jti="t-2", sid="s-2"),
        lambda s: s.token(jti=None, sid=None),
        lambda s: s.token(client_id="another"),
        lambda s: s.token(client_id=None, azp="another"),
        lambda s: s.token({"typ": "JWT", "nonce": "x"}),
        lambda s: s.token(alg="RS256"),
        lambda s: s.token(aud=["x", "orders"], scope="a b c", exp=s.clock.time() + 299),
    ],
    "client": [
        lambda s: s.token(),
        lambda s: s.token(sub="bob"),
        lambda s: s.token(sub=None),
        lambda s: s.token(client_id=None, azp="web"),
        lambda s: s.token(alg="EdDSA", jti=None),
    ],
    "issuer": [
        lambda s: s.token(),
        lambda s: s.token(sub="bob", client_id="x", jti="y"),
        lambda s: s.token(sub=None, client_id=None, jti=None),
    ],
}


@pytest.mark.parametrize("by", SAME_CALLER)
async def test_a_caller_has_one_share(by: LimitedBy) -> None:
    """Whichever of its tokens it takes, the app and the verifier count it as the same one."""
    for first in range(len(SAME_CALLER[by])):
        async with Service(limits=[limit(by)]) as service:
            tokens = [make(service) for make in SAME_CALLER[by]]
            assert not is_over(await service.verify(tokens[first]))
            for token in tokens:
                assert is_over(await service.verify(token))
                answer = await service.request(f"Bearer {token}")
                assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
                service.expect_request("rate_limited")


async def test_nobody_spends_the_share_of_another() -> None:
    """Names made to look like a key of the limiter: each caller has a share of its own."""
    keys = MemoryKeyProvider.from_jwks(jwks())
    longer = TrustedIssuer(f"{LOGIN}/subject", "orders", keys=keys)
    names = [
        "alice", "client alice", "alice ", " alice", "Alice", "token t-1", "subject alice", "*",
        f"{LOGIN} subject alice", "alice\0", "ali\u0441e", "alic\u00e9", "alice\u0301",
    ]  # fmt: skip
    async with Service(login(), longer, other(), limits=[limit("subject")]) as service:
        tokens = [service.token(sub=name) for name in names]
        tokens += [service.token(sub=None, client_id=name) for name in names]
        tokens += [service.token(sub=None, client_id=None, jti=name) for name in names]
        tokens += [service.token(iss=longer.issuer, sub=name) for name in names]
        tokens += [service.token(owner=OTHER, iss=OTHER, aud="billing", sub=name) for name in names]
        assert [is_over(await service.verify(token)) for token in tokens] == [False] * len(tokens)
        assert [is_over(await service.verify(token)) for token in tokens] == [True] * len(tokens)


# Addresses ----------------------------------------------------------------------------------------

SAME_HOST = {
    "IPv4": ["192.0.2.1", "::ffff:192.0.2.1", "::FFFF:C000:201", "0:0:0:0:0:ffff:c000:0201"],
    "IPv6": ["2001:db8::1", "2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:0db8::0001", "2001:db8::2",
             "2001:db8::ffff:ffff:ffff:ffff", "2001:db8::1%eth0", "2001:db8::192.0.2.1"],
}  # fmt: skip


@pytest.mark.parametrize("addresses", SAME_HOST.values(), ids=SAME_HOST)
async def test_a_host_is_one_address_however_it_is_written(addresses: list[str]) -> None:
    """An IPv6 host has its whole /64, and IPv4 in IPv6 is IPv4: for limits and failures alike."""
    for first in addresses:
        async with Service(limits=[limit("address")]) as service:
            assert not is_over(await service.verify(service.token(), address=first))
            for number, address in enumerate(addresses):
                token = service.token(sub=f"user {number}")
                assert is_over(await service.verify(token, address=address))
                service.transport.client = (address, 1)
                answer = await service.request(f"Bearer {token}")
                assert answer.json()["code"] == "rate_limited"
                service.expect_request("rate_limited")
            for address in ("192.0.2.2", "2001:db8:0:1::1", "2001:db7:ffff:ffff::1"):
                assert not is_over(await service.verify(service.token(), address=address))


# Failed attempts ----------------------------------------------------------------------------------


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service(failed_attempts=ATTEMPTS) as service:
        yield service


def forgeries(service: Service) -> list[str]:
    return [
        service.token(owner="attacker"),
        service.token(iss="https://evil.example"),
        "garbage",
        "a.b.c",
        service.token({"crit": ["exp"]}),
        service.token({"typ": "x"}, owner="attacker"),
        service.token(owner=OTHER),
        service.token(owner="attacker", iss=OTHER, aud="billing"),
    ]


async def use_up(service: Service, address: str) -> None:
    """As many failures as are free."""
    for text in forgeries(service)[:FAILURES]:
        error = await service.verify(text, address=address)
        assert isinstance(error, AuthkitError)
        assert not isinstance(error, RateLimited)


@pytest.mark.parametrize("addresses", SAME_HOST.values(), ids=SAME_HOST)
async def test_failures_are_counted_together(service: Service, addresses: list[str]) -> None:
    """Of every kind, at every issuer, in every spelling of the address, for good tokens too."""
    known = service.token()
    assert not is_over(await service.verify(known, address=addresses[0]))
    for number, text in enumerate(forgeries(service)):
        answer = await service.verify(text, address=addresses[number % len(addresses)])
        assert isinstance(answer, RateLimited) == (number >= FAILURES), number
    for address in addresses:
        assert is_over(await service.verify(service.token(jti="new"), address=address))
        assert not is_over(await service.verify(known, address=address))
    assert not is_over(await service.verify(service.token(jti="new"), address="198.51.100.7"))


async def test_a_good_token_does_not_wipe_failures_out(service: Service) -> None:
    """Mixing one's own good tokens in buys no further guess."""
    address, known = "192.0.2.9", service.token()
    for number, text in enumerate(forgeries(service)):
        fresh = service.token(jti=f"n-{number}")
        for good in (known, fresh) if number < FAILURES else (known,):
            assert not is_over(await service.verify(good, address=address))
        answer = await service.verify(text, address=address)
        assert isinstance(answer, RateLimited) == (number >= FAILURES), number


async def test_waiting_gives_back_no_more_than_the_rate(service: Service) -> None:
    """Being refused costs nothing further, and a minute brings three guesses, not thirty."""
    address = "192.0.2.9"
    await use_up(service, address)
    forged = service.token(owner="attacker")
    for _ in range(50):
        assert isinstance(await service.verify(forged, address=address), RateLimited)
    guesses = 0
    for _ in range(120):
        service.clock.advance(1)
        guesses += type(await service.verify(forged, address=address)) is SignatureInvalid
    assert guesses == (120 / ATTEMPTS.per_seconds) * ATTEMPTS.rate


async def test_forwarding_headers_hide_nobody(service: Service) -> None:
    """They count only from a trusted proxy, read from the right: the rest anybody can write."""
    forged = f"Bearer {service.token(owner='attacker')}"

    async def codes(peer: str, header: Callable[[int], str]) -> list[str]:
        service.transport.client = (peer, 4711)
        found = []
        for number in range(FAILURES + 3):
            headers: list[Any] = [
                (b"x-forwarded-for", header(number).encode()),
                (b"forwarded", f"for=198.51.100.{number}".encode()),
                (b"x-real-ip", f"198.51.100.{number}".encode()),
                (b"cf-connecting-ip", f"198.51.100.{number}".encode()),
            ]
            found.append((await service.request(forged, headers=headers)).json()["code"])
            service.expect_request(found[-1])
        return found

    slowed = ["signature_invalid"] * FAILURES + ["rate_limited"] * 3
    free = ["signature_invalid"] * (FAILURES + 3)
    assert await codes("192.0.2.20", lambda n: f"198.51.100.{n}") == slowed
    assert await codes("10.0.0.1", lambda n: f"198.51.100.{n}, 203.0.113.5") == slowed
    assert await codes("10.0.0.1", lambda n: f"198.51.100.{n}, 203.0.113.6, 10.9.9.{n}") == slowed
    assert await codes("10.0.0.2", lambda n: f"{n}, x, , 203.0.113.7") == slowed
    assert await codes("10.0.0.1", lambda n: f"203.0.113.5, 203.0.113.1{n}") == free


async def test_nobody_is_locked_out_by_another_address(service: Service) -> None:
    """A flood from many addresses slows these down, and neither known nor new callers elsewhere."""
    known = service.token()
    assert not is_over(await service.verify(known, address="192.0.2.1"))
    for number in range(300):
        await service.verify("garbage", address=f"2001:db8:0:{number:x}::1")
    await use_up(service, "198.51.100.1")
    assert not is_over(await service.verify(known, address="198.51.100.1"))
    assert not is_over(await service.verify(service.token(jti="new"), address="192.0.2.2"))
    assert not is_over(
        await service.verify(key("ES256").sign({}, service.claims(jti="no address")))
    )
