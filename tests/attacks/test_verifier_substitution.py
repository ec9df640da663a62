"""A genuine token in a place that it was not made for: issuer, audience, time, kind.

Would have caught: CVE-2024-53861 (an issuer that is only a part of the name), CVE-2026-22817 and
CVE-2026-22818 (the token picks the rules it is checked by), and the substitutions of RFC 8725
sections 2.8 and 3.8 to 3.12.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from typing import Any
from unicodedata import normalize

import pytest

from authkit.errors import (
    AudienceMismatch,
    ClaimRejected,
    IssuerNotTrusted,
    KeyNotFound,
    SignatureInvalid,
    TokenExpired,
    TokenLifetimeTooLong,
    TokenNotYetValid,
    TokenTypeNotAllowed,
)
from authkit.interfaces import Revocation, RevocationScope
from authkit.policy import TrustedIssuer
from authkit_memory import MemoryKeyProvider
from tests.attacks.playbook import ALGS, LOGIN, OTHER, Service, key, login, other

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service() as service:
        yield service


@pytest.mark.parametrize("alg", ALGS)
async def test_a_token_of_one_issuer_is_none_of_another(service: Service, alg: str) -> None:
    """Both publish the same key ids; before and after the keys of both have been used."""
    own = service.token(alg=alg)
    others = service.token(alg=alg, owner=OTHER, iss=OTHER, aud="billing")
    lies = [
        service.token(alg=alg, iss=OTHER),
        service.token(alg=alg, iss=OTHER, aud="billing"),
        service.token(alg=alg, iss=OTHER, aud=["orders", "billing"]),
        service.token(alg=alg, owner=OTHER),
        service.token(alg=alg, owner=OTHER, aud=["orders", "billing"]),
    ]
    for _ in range(2):
        for lie in lies:
            assert type(await service.refused(lie)) is SignatureInvalid
        assert (await service.accepted(own)).issuer == LOGIN
        assert (await service.accepted(others)).issuer == OTHER
    assert type(await service.refused(service.token(alg=alg, aud="billing"))) is AudienceMismatch


async def test_keys_of_one_issuer_are_not_looked_for_at_another() -> None:
    """A key id that only the other one publishes is unknown, whatever was verified with it."""
    single = MemoryKeyProvider.from_jwks({"keys": [key("EdDSA").public_jwk()]})
    async with Service(login(keys=single), other()) as service:
        await service.accepted(service.token(owner=OTHER, iss=OTHER, aud="billing"))
        assert type(await service.refused(service.token(owner=OTHER))) is KeyNotFound
        assert type(await service.refused(service.token())) is KeyNotFound


async def test_an_issuer_is_the_whole_name_and_nothing_else(service: Service) -> None:
    """No part of it, no more than it, no other spelling of the same address."""
    host = LOGIN.removeprefix("https://")
    for name in (
        *(LOGIN[:length] for length in range(len(LOGIN))),
        f"{LOGIN}/", f"{LOGIN} ", f" {LOGIN}", f"{LOGIN}\0", f"{LOGIN}:443", f"{LOGIN}?",
        f"{LOGIN}#", f"{LOGIN}/..", f"{LOGIN}.", f"{LOGIN}.evil.example", f"https://{host.upper()}",
        f"HTTPS://{host}", f"http://{host}", f"https://x@{host}", f"https://evil.example/{LOGIN}",
        host, f"{LOGIN},{OTHER}", LOGIN.replace(".", "%2E"), LOGIN.replace("o", "\u043e", 1),
        LOGIN.replace(".", "\u3002"), LOGIN.replace("l", "\uff4c"), LOGIN + "\u200b",
        [LOGIN], {"iss": LOGIN}, None, True, 0, [], "null", "None",
    ):  # fmt: skip
        assert type(await service.refused(service.token(iss=name))) is IssuerNotTrusted, name
    await service.accepted(service.token())


async def test_an_audience_is_the_whole_name_and_nothing_else(service: Service) -> None:
    """As the string, or as a member of an array of strings (RFC 7519 section 4.1.3)."""
    for name in (
        "order", "orders2", "Orders", "orders ", " orders", "orders,billing", "orders billing",
        "orders\0", "\u043erders", "order\u017f", "", [], ["order"], ["orders "], "*", ["*"],
        [["orders"]], ["billing"], LOGIN,
    ):  # fmt: skip
        assert isinstance(await service.refused(service.token(aud=name)), ClaimRejected), name
    for value in (None, True, 0, {"orders": 1}, ["orders", 1], ["orders", None], ["orders", ""]):
        bad = key("ES256").sign({}, {**service.claims(), "aud": value})
        assert isinstance(await service.refused(bad), ClaimRejected), value
    for name in ("orders", ["orders"], ["x", "orders"], ["orders", "orders"]):
        await service.accepted(service.token(aud=name))


async def test_normal_forms_of_a_text_are_different_texts() -> None:
    """Unicode has several spellings of a name; only the configured one is meant, byte for byte."""
    name = f"{LOGIN}/caf\u00e9"
    twin = normalize("NFD", name)
    jwk = {**key("ES256").public_jwk(), "kid": "cl\u00e9"}
    keys = MemoryKeyProvider.from_jwks({"keys": [jwk]})
    async with Service(TrustedIssuer(name, "caf\u00e9", keys=keys)) as service:

        def token(
            iss: str = name, kid: str = "cl\u00e9", aud: str = "caf\u00e9", **more: Any
        ) -> str:
            return service.token({"kid": kid}, iss=iss, aud=aud, **more)

        await service.accepted(token())
        assert type(await service.refused(token(iss=twin))) is IssuerNotTrusted
        assert type(await service.refused(token(kid="cle\u0301"))) is KeyNotFound
        assert type(await service.refused(token(aud="cafe\u0301"))) is AudienceMismatch
        subjects = ["zo\u00eb", "zoe\u0308", "zo\u00cb", "zo\u00eb\u200b", "\uff5ao\u00eb"]
        for subject in subjects:
            assert (await service.accepted(token(sub=subject, jti=None))).subject == subject
        await service.verifier.revoke(
            Revocation(scope=RevocationScope.SUBJECT, issuer=name, id=subjects[0])
        )
        await service.refused(token(sub=subjects[0], jti=None))
        for subject in subjects[1:]:
            await service.accepted(token(sub=subject, jti=None))


@pytest.mark.parametrize("leeway", [0.0, 10.0, 60.0])
async def test_time_has_sharp_edges(leeway: float) -> None:
    """RFC 7519 sections 4.1.4 to 4.1.6, to the last bit of a double."""
    trusted = login(leeway_seconds=leeway, max_token_lifetime_seconds=3600)
    async with Service(trusted) as service:
        now = service.clock.time()
        edge = now - leeway
        assert type(await service.refused(service.token(exp=edge))) is TokenExpired
        await service.accepted(service.token(exp=math.nextafter(edge, math.inf)))
        ahead = now + leeway
        for claim in ("nbf", "iat"):
            late = {claim: math.nextafter(ahead, math.inf)}
            assert type(await service.refused(service.token(**late))) is TokenNotYetValid
            await service.accepted(service.token(**{claim: ahead}))
        longest = now + 3600
        too_long = service.token(exp=math.nextafter(longest, math.inf))
        assert type(await service.refused(too_long)) is TokenLifetimeTooLong
        await service.accepted(service.token(exp=longest))
        without_birth = service.token(iat=None, exp=math.nextafter(longest, math.inf))
        assert type(await service.refused(without_birth)) is TokenLifetimeTooLong


async def test_a_cached_token_ends_on_the_same_edge(service: Service) -> None:
    """Proven before, and refused from the very moment on at which a new one would be."""
    end = service.clock.time() + 300 + 10
    token = service.token()
    await service.accepted(token)
    service.clock.set_time(math.nextafter(end, 0))
    await service.accepted(token)
    service.clock.set_time(end)
    assert type(await service.refused(token)) is TokenExpired


async def test_times_are_numbers(service: Service) -> None:
    """Whatever a lenient reader makes a number of, or never compares as one."""
    now = service.clock.time()
    for claim in ("exp", "nbf", "iat", "auth_time"):
        for value in (str(now), "", True, False, [now], {"t": now}, 10**300, -(10**300), 1e300):
            bad = service.token(**{claim: value})
            assert isinstance(await service.refused(bad), ClaimRejected), (claim, value)
        for text in ("null", "1e400", "-1e400", "NaN", "Infinity", "0x7fffffff", "9" * 400):
            body = json.dumps(service.claims(**{claim: "@"})).replace('"@"', text)
            await service.refused(key("ES256").sign({}, body.encode()))


async def test_other_kinds_of_tokens_are_refused(service: Service) -> None:
    """ID, refresh, logout and state tokens of the same issuer, for the same audience."""
    for typ in (
        "logout+jwt", "secevent+jwt", "dpop+jwt", "oauth-authz-req+jwt", "client-auth+jwt",
        "Refresh", "id_token", "JWS", "jose+json", "at+jwt ", "at jwt", "\uff2awt",
    ):  # fmt: skip
        for spelled in (typ, typ.upper(), f"application/{typ}"):
            error = await service.refused(service.token({"typ": spelled}))
            assert type(error) is TokenTypeNotAllowed, spelled
    for mark in (
        {"at_hash": "x"}, {"c_hash": "x"}, {"at_hash": None}, {"events": {}}, {"typ": "ID"},
        {"typ": "Refresh"}, {"typ": "Offline"}, {"typ": "refresh"}, {"typ": "Logout"},
        {"token_use": "id"}, {"token_use": "refresh"}, {"token_use": "Access"},
        {"token_use": ["access"]},
    ):  # fmt: skip
        for header in ({}, {"typ": "JWT"}):
            token = key("ES256").sign(header, {**service.claims(), **mark})
            assert type(await service.refused(token)) is TokenTypeNotAllowed, mark
    for header in (
        {"typ": "JWT"},
        {"typ": "jwt"},
        {"typ": "application/AT+JWT"},
        {"typ": "AT+jwt"},
    ):
        await service.accepted(service.token(header, typ="Bearer", token_use="access"))


async def test_a_strict_issuer_takes_no_half_access_token() -> None:
    """RFC 9068 section 4: each claim of section 2.2 is there, and the type says so."""
    async with Service(login(profile="rfc9068"), other(profile="id_token")) as service:
        await service.accepted(service.token())
        for claim in ("aud", "exp", "sub", "client_id", "iat", "jti"):
            error = await service.refused(service.token(**{claim: None}))
            assert isinstance(error, ClaimRejected)
            assert (error.claim, error.reason) == (claim, "missing")
        for header in ({"typ": "JWT"}, {"typ": "jwt"}):
            assert type(await service.refused(service.token(header))) is TokenTypeNotAllowed
        identity = service.claims(iss=OTHER, aud=["billing", "x"], azp="billing")
        signer = key("ES256", OTHER)
        await service.accepted(signer.sign({"typ": "JWT"}, identity))
        for change in ({"azp": "x"}, {"azp": 1}, {"events": {}}, {"typ": "Refresh"}):
            await service.refused(signer.sign({"typ": "JWT"}, {**identity, **change}))
        await service.refused(signer.sign({"typ": "at+jwt"}, identity))
        await service.refused(signer.sign({}, service.claims(iss=OTHER, aud=["billing", "x"])))
