"""The worst tokens that fit into 16 KiB: what a stranger's text costs, in time, memory and traces.

Would have caught: CVE-2025-27144 (dots), CVE-2025-61920 and CVE-2026-48525 (no bounds),
CVE-2020-10735 (digits), and the tables that grow with every name that a stranger makes up.

Time is told in good tokens: a good one is verified beside each bad one, so that a slow machine
slows both.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

import pytest

from authkit.audit import AuditTrail
from authkit.errors import AuthkitError, BackendUnavailable, TokenMalformed, TokenRefused
from authkit.interfaces import AuditEvent, RateLimit, RequestContext
from authkit.jose.encoding import encode_base64url
from authkit.jose.jws import MAX_TOKEN_BYTES
from authkit.testing import ManualClock
from authkit.verifier import Verifier
from authkit_memory import MemoryRateLimiter, MemoryRevocationStore
from tests.attacks.forging import segment
from tests.attacks.playbook import LOGIN, key, login, other

pytestmark = pytest.mark.anyio

AT_MOST_TIMES_A_GOOD_TOKEN = 50
AT_MOST_BYTES = 64 * MAX_TOKEN_BYTES
HEADER = {"alg": "ES256", "kid": "ES256-1", "typ": "at+jwt"}


def payload(filling: bytes) -> str:
    """A forged token with the right header and issuer, and with this as a claim."""
    claims = b'{"iss":"' + LOGIN.encode() + b'","x":' + filling + b"}"
    return f"{segment(HEADER)}.{segment(claims)}.{encode_base64url(bytes(64))}"


def header(filling: bytes) -> str:
    members = b'{"alg":"ES256","kid":"ES256-1","x":' + filling + b"}"
    return f"{segment(members)}.{segment({'iss': LOGIN})}.{encode_base64url(bytes(64))}"


def array(member: bytes, space: int) -> bytes:
    # A blank makes the spelling unusual, which is the more expensive way to read it.
    return b"[ " + b",".join([member] * (space // (len(member) + 1))) + b"]"


def names(member: bytes, space: int) -> bytes:
    count = space // (len(member % 0x1000) + 1)
    return b'1,"y": {' + b",".join(member % (0x1000 + number) for number in range(count)) + b"}"


SPACE = 11_800
WORST: dict[str, Callable[[], str]] = {
    "dots": lambda: "." * MAX_TOKEN_BYTES,
    "two dots at the end": lambda: "A" * (MAX_TOKEN_BYTES - 2) + "..",
    "letters": lambda: "A" * MAX_TOKEN_BYTES,
    "beyond the size": lambda: "e30." * 1_000_000,
    "open brackets": lambda: payload(b"[" * SPACE),
    "closed brackets": lambda: payload(b"[" * (SPACE // 2) + b"]" * (SPACE // 2)),
    "open braces": lambda: payload(b'{"a":' * (SPACE // 5)),
    "braces in the header": lambda: header(b'{"a":' * 1_500),
    "empty arrays": lambda: payload(array(b"[]", SPACE)),
    "empty objects": lambda: payload(array(b"{}", SPACE)),
    "small objects": lambda: payload(array(b'{"a":1}', SPACE)),
    "objects in the header": lambda: header(array(b"{}", 7_800)),
    "nested as deep as allowed": lambda: payload(array(b"[" * 30 + b"]" * 30, SPACE)),
    "digits": lambda: payload(b"9" * SPACE),
    "one-digit numbers": lambda: payload(array(b"9", SPACE)),
    "longest integers": lambda: payload(array(b"9" * 308, SPACE)),
    "exponents": lambda: payload(array(b"1e1", SPACE)),
    "long fractions": lambda: payload(array(b"0." + b"1234567890" * 9 + b"e-300", SPACE)),
    "a huge exponent": lambda: payload(b"1e" + b"9" * SPACE),
    "escapes": lambda: payload(b'"' + b"\\u0041" * (SPACE // 6) + b'"'),
    "surrogate pairs": lambda: payload(b'"' + b"\\ud83d\\ude00" * (SPACE // 12) + b'\\ud800"'),
    "backslashes": lambda: payload(b'"' + b"\\\\" * (SPACE // 2) + b'"'),
    "one name, many times": lambda: payload(b"1," + b'"a":1,' * (SPACE // 6) + b'"a":1'),
    "many names": lambda: payload(names(b'"%x":1', SPACE)),
    "many escaped names": lambda: payload(names(b'"\\u0041%x":1', SPACE)),
    "blanks": lambda: payload(b" " * SPACE + b"1"),
    "a long signature": lambda: f"{payload(b'1').rpartition('.')[0]}.{'_' * 1366}",
    "a long key id": lambda: (
        f"{segment({**HEADER, 'kid': 'k' * 8000})}.{segment({'iss': LOGIN})}.AA"
    ),
}


class Forgetting:
    """An audit sink that keeps nothing, or takes nothing as long as it is shut."""

    def __init__(self) -> None:
        self.is_shut = False
        self.written = 0

    async def write(self, events: Sequence[AuditEvent]) -> None:
        if self.is_shut:
            raise BackendUnavailable("audit")
        self.written += len(events)


def verifier(*, clock: ManualClock | None = None, **options: Any) -> Verifier:
    clock = clock or ManualClock()
    parts = {
        "revocations": MemoryRevocationStore(clock=clock),
        "audit": Forgetting(),
        "clock": clock,
        **options,
    }
    return Verifier(login(), other(), **parts)


def good_token(clock: ManualClock) -> str:
    now = clock.time()
    claims = {"iss": LOGIN, "aud": "orders", "sub": "alice", "iat": now, "exp": now + 300}
    return key("ES256").sign({"typ": "at+jwt"}, claims)


async def seconds(checking: Verifier, text: str) -> float:
    """The shortest of some attempts, for the others were disturbed."""
    found = []
    tracer = sys.gettrace()
    sys.settrace(None)  # one that measures coverage would make some lines ten times as slow
    try:
        for _ in range(5):
            start = perf_counter()
            with suppress(TokenRefused):
                await checking.verify(text)
            found.append(perf_counter() - start)
    finally:
        sys.settrace(tracer)
    return min(found)


@pytest.mark.parametrize("name", WORST)
async def test_the_worst_token_costs_little(name: str) -> None:
    """Its time and its memory are bounded, with a header that is known to be good."""
    text, clock = WORST[name](), ManualClock()
    assert len(text) <= MAX_TOKEN_BYTES or name == "beyond the size"
    good = good_token(clock)
    async with verifier(clock=clock, token_cache_entries=0) as checking:
        await checking.verify(good)
        with pytest.raises(TokenRefused):
            await checking.verify(text)
        price = await seconds(checking, text) / await seconds(checking, good)
        assert price <= AT_MOST_TIMES_A_GOOD_TOKEN
        tracemalloc.start()
        try:
            with pytest.raises(TokenRefused):
                await checking.verify(text)
            assert tracemalloc.get_traced_memory()[1] <= AT_MOST_BYTES
        finally:
            tracemalloc.stop()
        assert checking.stats()["token_cache_entries"] == 0


@pytest.mark.parametrize("filling", ["x", "é", "\\", "\u2028", "\U0001f600"], ids=ascii)
async def test_the_largest_good_token_passes(filling: str) -> None:
    """The bounds are not reached by what an issuer may really send; one step further they are."""
    clock = ManualClock()
    claims = {"iss": LOGIN, "aud": "orders", "exp": clock.time() + 60}

    def sized(count: int) -> str:
        return key("ES256").sign({"x": "y" * 2000}, {**claims, "x": filling * count})

    count = bisect_left(range(MAX_TOKEN_BYTES), MAX_TOKEN_BYTES + 1, key=lambda n: len(sized(n)))
    largest, larger = sized(count - 1), sized(count)
    assert MAX_TOKEN_BYTES - 16 < len(largest) <= MAX_TOKEN_BYTES < len(larger)
    async with verifier(clock=clock) as checking:
        assert (await checking.verify(largest)).claims["x"] == filling * (count - 1)
        with pytest.raises(TokenMalformed):
            await checking.verify(larger)


def made_up(number: int) -> list[str]:
    """Tokens in which everything that could become a key of some table is new."""
    name = f"{number:08x}"
    claims = {"iss": LOGIN, "aud": "orders", "sub": name, "jti": name, "exp": 2e9}
    signer = key("ES256", "attacker")
    return [
        name,
        f"{name}.{name}.{name}",
        signer.sign({"kid": name}, claims),
        signer.sign({"kid": "ES256-1", "x": name}, claims),
        signer.sign({"alg": name}, claims),
        signer.sign({}, {**claims, "iss": f"https://{name}.example"}),
        key("ES256").sign({"x": name}, {**claims, "aud": name}),
        key("ES256").sign({"typ": name}, {**claims, name: name}),
    ]


async def test_made_up_names_leave_nothing_behind() -> None:
    """New key ids, issuers, headers and claims without end: no table grows with them."""
    attempts = RateLimit(name="failed", rate=1, per_seconds=1, burst=1, by="address")
    clock = ManualClock()
    limiter = MemoryRateLimiter(clock=clock)
    async with verifier(clock=clock, limiter=limiter, failed_attempts=attempts) as checking:
        await checking.verify(good_token(clock))

        async def flood(first: int, last: int) -> int:
            for number in range(first, last):
                context = RequestContext(client_address=f"192.0.2.{number % 100}")
                for text in made_up(number):
                    with suppress(AuthkitError):
                        await checking.verify(text, context=context)
                clock.advance(10)
                await asyncio.sleep(0)
            await asyncio.sleep(0.02)  # the trail writes what it holds
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            before = await flood(0, 300)
            after = await flood(300, 600)
        finally:
            tracemalloc.stop()
        assert after - before < 64 * 1024
        assert checking.stats()["token_cache_entries"] == 1
        assert limiter.stats()["keys"] <= 100


async def test_a_flood_does_not_fill_the_queue_of_the_trail() -> None:
    """While the sink is down, what waits is bounded, and what is left out is counted."""
    sink = Forgetting()
    sink.is_shut = True
    trail = AuditTrail(sink, request_capacity=50, retry_seconds=0.01, retry_max_seconds=0.01)
    async with verifier(audit=trail) as checking:
        for number in range(500):
            with pytest.raises(TokenRefused):
                await checking.verify(f"x{number}")
        assert trail.stats()["queued"] <= 51
        assert trail.stats()["dropped_total"] >= 449
        sink.is_shut = False
    assert checking.stats()["verifications_refused_total"] == 500
    assert sink.written <= 60
