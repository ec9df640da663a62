"""The advisories of the field that concern a whole verifier, one test each.

Those that a single part decides are beside the other attacks on that part.
"""

from __future__ import annotations

import hmac
import os
import subprocess
import sys
from typing import Any

import pytest

from authkit.errors import (
    AlgorithmNotAllowed,
    ConfigurationError,
    IssuerNotTrusted,
    KeyNotFound,
    SignatureInvalid,
    TokenExpired,
    TokenMalformed,
    TokenRevoked,
)
from authkit.interfaces import Revocation, RevocationScope
from authkit.jose.encoding import encode_base64url
from authkit.policy import TrustedIssuer
from authkit.verifier import Verifier
from authkit_memory import MemoryKeyProvider, MemoryRevocationStore
from tests.attacks.forging import segment
from tests.attacks.playbook import ALGS, LOGIN, OTHER, Service, jwks, key, login, other

pytestmark = pytest.mark.anyio


async def test_cve_2016_7036_a_mac_is_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CVE-2016-7036: where the first wrong byte stands must not be told by the time it takes."""
    compared: list[tuple[Any, Any]] = []
    compare = hmac.compare_digest

    def spy(one: Any, two: Any) -> bool:
        compared.append((one, two))
        return compare(one, two)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    keys = MemoryKeyProvider.from_jwks({"keys": [key("HS256").jwk()]})
    async with Service(login(keys=keys, algorithms=["HS256"])) as service:
        good = service.token(alg="HS256")
        await service.accepted(good)
        start, _, signature = good.rpartition(".")
        for guess in (encode_base64url(bytes(32)), "A" + signature[1:], ""):
            compared.clear()
            await service.refused(f"{start}.{guess}")
            assert [len(expected) for _, expected in compared] == [32, 32]


def test_cve_2022_23529_a_key_is_data_and_never_an_object_of_somebody_else() -> None:
    """CVE-2022-23529: an object with methods of its own is neither called nor taken for a key."""

    class Poisoned(dict[str, Any]):
        """A key whose every conversion would run an attacker's code."""

        def _run(self, *_: object) -> Any:
            raise AssertionError("code of a key was run")

        __str__ = __repr__ = __bytes__ = toString = encode = _run  # type: ignore[assignment]

    genuine = key("ES256").public_jwk()
    for keys in (
        [Poisoned()],
        [{**genuine, "x": Poisoned()}],
        [{**genuine, "x": ["AA"]}],
        [{**genuine, "kty": {"EC": 1}}],
        Poisoned(),
        object(),
        [object()],
    ):
        with pytest.raises(ConfigurationError):
            MemoryKeyProvider.from_jwks({"keys": keys})
    for whole in (None, [], [genuine], 5, object(), "", b"", "null", "[]", {"key": genuine}):
        with pytest.raises(ConfigurationError):
            MemoryKeyProvider.from_jwks(whole)  # type: ignore[arg-type] # on purpose


async def test_cve_2023_0091_a_client_is_revoked_whoever_uses_it() -> None:
    """CVE-2023-0091: a floor of the client holds for every user's tokens and every session's."""
    async with Service() as service:
        tokens = [
            service.token(sub=sub, sid=sid, jti=None)
            for sub in ("alice", "bob", None)
            for sid in ("s-1", "s-2", None)
        ]
        for token in tokens:
            await service.accepted(token)
        await service.verifier.revoke(
            Revocation(scope=RevocationScope.CLIENT, issuer=LOGIN, id="web")
        )
        for token in tokens:
            assert type(await service.refused(token)) is TokenRevoked
        await service.accepted(service.token(client_id="cli"))


@pytest.mark.parametrize("switch", ["verify", "options", "verify_signature", "algorithms", "key"])
async def test_cve_2025_61152_there_is_no_way_to_turn_verification_off(switch: str) -> None:
    """CVE-2025-61152: neither an argument of the call nor one of the policy leaves it out."""
    async with Service() as service:
        forged = service.token(owner="attacker")
        for value in (False, None, {"verify_signature": False}, {}):
            with pytest.raises(TypeError):
                await service.verifier.verify(forged, **{switch: value})
            if switch != "algorithms":
                with pytest.raises(TypeError):
                    login(**{switch: value})
        assert type(await service.refused(forged)) is SignatureInvalid
    for value in (
        [],
        (),
        "",
        "ES256",
        "none",
        ["none"],
        [None],
        ["es256"],
        [""],
        ["ES256", "none"],
    ):
        with pytest.raises(ConfigurationError):
            login(algorithms=value)


async def test_cve_2026_1486_an_issuer_that_is_no_longer_configured_is_a_stranger() -> None:
    """CVE-2026-1486: what another verifier accepts, is nothing to this one."""
    keys = MemoryKeyProvider.from_jwks(jwks())
    async with Service(login(keys=keys), other()) as both:
        token = both.token()
        await both.accepted(token)
    async with Service(other()) as service:
        assert type(await service.refused(token)) is IssuerNotTrusted
        await service.accepted(service.token(owner=OTHER, iss=OTHER, aud="billing"))


async def test_cve_2026_8922_a_realm_wide_floor_reaches_clients_with_their_own() -> None:
    """CVE-2026-8922: a later floor of the issuer holds beside an earlier one of the client."""
    async with Service() as service:
        now = service.clock.time()
        for scope, id, until in (("client", "web", now - 100), ("issuer", "", now - 10)):
            await service.verifier.revoke(
                Revocation(scope=RevocationScope(scope), issuer=LOGIN, id=id, issued_until=until)
            )
        for birth, scope in ((now - 200, "client"), (now - 50, "issuer"), (now - 10, "issuer")):
            error = await service.refused(service.token(iat=birth))
            assert isinstance(error, TokenRevoked)
            assert error.scope == scope
        await service.accepted(service.token(iat=now - 9))


def test_cve_2026_22748_the_issuer_is_compared_without_being_asked_to() -> None:
    """CVE-2026-22748: keys cannot be trusted without naming whose they are, and for which API."""
    keys = MemoryKeyProvider.from_jwks(jwks())
    for arguments in ((), (LOGIN,)):
        with pytest.raises(TypeError):
            TrustedIssuer(*arguments, keys=keys)
    for issuer, audience in (
        ("", "orders"), (None, "orders"), ([LOGIN], "orders"), (" ", "orders"), (f"{LOGIN} x", "a"),
        (LOGIN, ""), (LOGIN, []), (LOGIN, None), (LOGIN, [""]), (LOGIN, [None]), (LOGIN, {1}),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            TrustedIssuer(issuer, audience, keys=keys)  # type: ignore[arg-type] # on purpose
    with pytest.raises(ConfigurationError):
        Verifier(revocations=MemoryRevocationStore())


async def test_cve_2026_22817_the_token_does_not_choose_its_algorithm() -> None:
    """CVE-2026-22817, CVE-2026-22818: neither the header, the key nor a default widens the list."""
    async with Service(login(algorithms=["EdDSA"])) as service:
        for alg in ("RS256", "ES256"):
            assert type(await service.refused(service.token(alg=alg))) is AlgorithmNotAllowed
        for alg in ("HS256", "ES256K", "RS1", "dir", "EdDSA448", "eddsa", "HS256,EdDSA"):
            lie = service.token({"alg": alg}, alg="EdDSA")
            assert type(await service.refused(lie)) is AlgorithmNotAllowed
        await service.accepted(service.token(alg="EdDSA"))


async def test_cve_2026_28498_what_is_not_known_is_not_verified() -> None:
    """CVE-2026-28498: an unknown algorithm, key type or curve is a refusal, never a success."""
    odd = [
        {"kty": "XYZ", "kid": "odd", "alg": "ES256"},
        {"kty": "EC", "crv": "P-999", "kid": "odd", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "kid": "odd", "x": "A" * 43},
        {**key("ES256").public_jwk(), "kid": "odd", "alg": "ES999"},
        {**key("ES256").public_jwk(), "kid": "odd", "use": "enc"},
        {**key("ES256").public_jwk(), "kid": "odd", "crv": "secp256k1"},
    ]
    keys = MemoryKeyProvider.from_jwks({"keys": [*odd, *jwks()["keys"]]})
    async with Service(login(keys=keys)) as service:
        for alg in ALGS:
            assert (
                type(await service.refused(service.token({"kid": "odd"}, alg=alg))) is KeyNotFound
            )
            await service.accepted(service.token(alg=alg))


async def test_ghsa_gv94_wp4h_vv8p_a_bearer_token_is_not_cut_out_of_more() -> None:
    """GHSA-gv94-wp4h-vv8p: what is around a token in its header makes the whole of it malformed."""
    async with Service() as service:
        good = service.token()
        for value in (
            f"Bearer {good} {good}",
            f"Bearer  {good}",
            f"Bearer {good},",
            f"Bearer\t{good}",
        ):
            answer = await service.request(value)
            assert (answer.status_code, answer.json()["code"]) == (400, "credential_malformed")
            service.expect_request("credential_malformed")


async def test_a_long_ecdsa_signature_overflows_nothing() -> None:
    """The ES256 overflow of HAProxy: any length but the right one is no signature."""
    async with Service() as service:
        start, _, signature = service.token().rpartition(".")
        for length in (0, 1, 63, 65, 96, 128, 132, 512, 1023, 1024):
            error = await service.refused(f"{start}.{encode_base64url(bytes(length))}")
            assert type(error) is SignatureInvalid, length
        await service.refused(f"{start}.{signature}{signature}")
        assert type(await service.refused(f"{start}.{'A' * 15_000}")) is TokenMalformed


def test_cve_2019_12995_a_malformed_token_does_not_crash_the_process() -> None:
    """CVE-2019-12995, CVE-2025-64527: in a process of its own, which has to live on to the end."""
    program = """
import asyncio, sys
from authkit.errors import TokenRefused
from tests.attacks.playbook import Service
from tests.attacks.forging import segment

async def main():
    async with Service() as service:
        good = service.token()
        for header in (b"", b"[", b"null", b"{}", b'"alg"', b"[" * 9000, b"\\xff"):
            for payload in (b"", b"{}", b"[" * 9000, b'{"iss":' + b"9" * 9000, b"\\xed\\xa0\\x80"):
                text = f"{segment(header)}.{segment(payload)}."
                for text in (text, text.rstrip("."), text * 3, text + "A" * 1366):
                    error = await service.verify(text)
                    assert isinstance(error, TokenRefused), error
        await service.accepted(good)
    print("alive")

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert (done.stdout.strip(), done.returncode) == ("alive", 0), done.stderr


async def test_time_does_not_go_back_for_a_token() -> None:
    """An expired token stays refused while it is sent again and again, cached or not."""
    async with Service() as service:
        token = service.token()
        await service.accepted(token)
        service.clock.advance(311)
        for _ in range(3):
            assert type(await service.refused(token)) is TokenExpired
        forged = f"{segment({'alg': 'ES256', 'kid': 'ES256-1'})}.{token.split('.')[1]}.AAAA"
        assert type(await service.refused(forged)) is SignatureInvalid
