"""Revoked, and still let in: each way round a revocation that a token's claims or text could offer.

Would have caught: CVE-2023-0091 and CVE-2026-8922 (of several floors only one is looked at, or a
later one lowers it), CVE-2026-1486 (a disabled issuer is accepted on some path).
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from authkit.errors import (
    ClaimRejected,
    KeyNotFound,
    SignatureInvalid,
    TokenExpired,
    TokenNotYetValid,
    TokenRevoked,
)
from authkit.interfaces import Revocation, RevocationScope, VerificationKey
from authkit.jose.signing import SigningKey
from authkit.policy import ClaimMapping
from authkit.principal import Principal
from authkit_memory import MemoryKeyProvider
from tests.attacks.playbook import LOGIN, OTHER, Service, jwks, key, login, other

pytestmark = pytest.mark.anyio

IDS = {
    RevocationScope.TOKEN: "t-1",
    RevocationScope.SESSION: "s-1",
    RevocationScope.SUBJECT: "alice",
    RevocationScope.CLIENT: "web",
    RevocationScope.ISSUER: "",
    RevocationScope.VERSION: "alice",
}
VERSIONED = ClaimMapping(token_version=("ver", ("realm", "ver")))


def revocation(scope: RevocationScope, issuer: str = LOGIN, **fields: Any) -> Revocation:
    if scope is RevocationScope.VERSION:
        fields.setdefault("minimum_version", 2)
    return Revocation(scope=scope, issuer=issuer, **{"id": IDS.get(scope, ""), **fields})


async def revoked(service: Service, token: str) -> str:
    """The scope by which the verifier and the app refuse it."""
    error = await service.refused(token)
    assert isinstance(error, TokenRevoked), error
    return error.scope


@pytest.mark.parametrize("scope", IDS)
@pytest.mark.parametrize("is_cached", [True, False], ids=["cached", "new"])
async def test_no_rewording_of_a_token_passes_its_revocation(
    scope: RevocationScope, is_cached: bool
) -> None:
    """Another header, key, order, type of number or further claim: the same revoked caller."""
    async with Service(login(mapping=VERSIONED)) as service:
        now = service.clock.time()
        tokens = [
            service.token(ver=1),
            service.token({"typ": "JWT", "x": 1}, ver=1),
            service.token(alg="RS256", ver=1),
            service.token(ver=1, aud=["orders", "x"], iat=now - 0.5, exp=now + 299.5),
            service.token(ver=1, scope="everything", admin=True),
            key("ES256").sign({}, dict(reversed(service.claims(ver=1).items()))),
        ]
        for token in tokens if is_cached else ():
            await service.accepted(token)
        await service.verifier.revoke(revocation(scope))
        for token in tokens:
            assert await revoked(service, token) == scope.value


@pytest.mark.parametrize("scope", IDS)
async def test_another_issuer_is_not_concerned(scope: RevocationScope) -> None:
    """It may use the same ids for its own callers, and cannot revoke those of anybody else."""
    async with Service(login(mapping=VERSIONED), other(mapping=VERSIONED)) as service:
        own = service.token(ver=1)
        theirs = service.token(owner=OTHER, iss=OTHER, aud="billing", ver=1)
        await service.verifier.revoke(revocation(scope, OTHER))
        await service.accepted(own)
        assert await revoked(service, theirs) == scope.value
        await service.verifier.revoke(revocation(scope))
        await service.verifier.lift(revocation(scope, OTHER))
        await service.accepted(theirs)
        assert await revoked(service, own) == scope.value


async def test_ids_of_one_scope_mean_nothing_in_another() -> None:
    """A session named as a token, a client named as a subject: each only as what it is."""
    async with Service() as service:
        names = {"jti": "a", "sid": "b", "sub": "c", "client_id": "d"}
        token = service.token(**names)
        for scope, own in (("token", "a"), ("session", "b"), ("subject", "c"), ("client", "d")):
            for name in set("abcd") - {own}:
                await service.verifier.revoke(revocation(RevocationScope(scope), id=name))
        await service.verifier.revoke(revocation(RevocationScope.KEY, id="a"))
        assert isinstance(await service.verify(token), Principal)
        await service.verifier.revoke(revocation(RevocationScope.CLIENT, id="d"))
        assert await revoked(service, token) == "client"


async def test_what_cannot_be_named_is_refused_outright() -> None:
    """An id, a session or a version of a wrong type could never be revoked."""
    async with Service(login(mapping=VERSIONED)) as service:
        for claim in ("jti", "sid", "sub", "client_id"):
            for value in (None, "", 0, 1.0, True, [], ["t-1"], {"id": "t-1"}):
                bad = key("ES256").sign({}, {**service.claims(), claim: value})
                error = await service.refused(bad)
                assert isinstance(error, ClaimRejected)
                assert (error.claim, error.reason) == (claim, "invalid")
        for version in (None, "2", 2.0, 1e3, True, [2], {"ver": 2}):
            bad = key("ES256").sign({}, {**service.claims(), "ver": version})
            assert isinstance(await service.refused(bad), ClaimRejected), version


async def test_a_token_without_an_id_can_be_revoked() -> None:
    """By what was signed; a second token with the same claims is another one."""
    async with Service() as service:
        first, second = (service.token(jti=None, n=n) for n in (1, 2))
        caller = await service.accepted(first)
        assert (await service.accepted(second)).token_id != caller.token_id
        await service.verifier.revoke(Revocation.of(caller))
        assert await revoked(service, first) == "token"
        await service.accepted(second)
        posing = service.token(jti=caller.token_id)
        assert await revoked(service, posing) == "token"


async def test_a_floor_in_time_has_a_sharp_edge() -> None:
    """Up to the very moment, fractions included; a token of unknown birth is below it."""
    async with Service() as service:
        for scope in (RevocationScope.SUBJECT, RevocationScope.CLIENT, RevocationScope.ISSUER):
            service.clock.advance(0.75)
            moment = service.clock.time()
            await service.verifier.revoke(revocation(scope))
            service.clock.advance(1)
            for birth in (moment, int(moment), float(int(moment)), moment - 3600, None):
                token = service.token(iat=birth)
                assert await revoked(service, token) == scope.value
            for birth in (math.nextafter(moment, math.inf), moment + 0.25, math.ceil(moment)):
                await service.accepted(service.token(iat=birth))
            for birth in (moment + 12, "0", True, [0]):
                error = await service.refused(service.token(iat=birth))
                assert isinstance(error, ClaimRejected | TokenNotYetValid)
            await service.verifier.lift(revocation(scope))


async def test_a_floor_in_versions_has_one_too() -> None:
    """A token without a version, or with it in another place, is below every floor."""
    async with Service(login(mapping=VERSIONED)) as service:
        await service.verifier.revoke(revocation(RevocationScope.VERSION))
        for below in ({}, {"ver": 1}, {"ver": 0}, {"ver": -1}, {"version": 9}, {"realm": 9},
                      {"realm": {"ver": 1}}, {"ver": 1, "realm": {"ver": 9}}):  # fmt: skip
            assert await revoked(service, service.token(**below)) == "version"
        for above in ({"ver": 2}, {"ver": 10**300}, {"realm": {"ver": 2}}):
            await service.accepted(service.token(**above))


async def test_all_floors_hold_together() -> None:
    """The highest of each kind counts, in whatever order they came, and none hides another."""
    async with Service(login(mapping=VERSIONED)) as service:
        now = service.clock.time()
        for scope in (RevocationScope.SUBJECT, RevocationScope.CLIENT, RevocationScope.ISSUER):
            for until in (now - 100, now - 10, now - 50):
                await service.verifier.revoke(revocation(scope, issued_until=until))
            for minimum in (1, 3, 2):
                await service.verifier.revoke(
                    revocation(RevocationScope.VERSION, minimum_version=minimum)
                )
            for birth, version in ((now - 10, 9), (now - 60, 9), (now, 2), (now - 99, 1)):
                await service.refused(service.token(iat=birth, ver=version))
            await service.accepted(service.token(iat=now - 9, ver=3))
            await service.verifier.lift(revocation(scope))
            await service.accepted(service.token(iat=now - 60, ver=9))


@pytest.mark.parametrize("claims", [{}, {"jti": None, "sub": None, "client_id": None, "sid": None}])
async def test_a_disabled_issuer_is_disabled_on_every_path(claims: dict[str, Any]) -> None:
    """CVE-2026-1486: known or new tokens, keys and headers, of now and of later."""
    keys = MemoryKeyProvider.from_jwks(jwks())
    async with Service(login(keys=keys), other()) as service:
        known = service.token(**claims)
        await service.accepted(known)
        until = service.clock.time() + 3600
        await service.verifier.revoke(revocation(RevocationScope.ISSUER, issued_until=until))
        keys.replace({"keys": [*jwks()["keys"], key("RS512").public_jwk()]})
        for _ in range(3):
            for token in (known, service.token(**claims), service.token(alg="RS512", **claims),
                          service.token({"typ": "JWT"}, **{**claims, "jti": "new"})):  # fmt: skip
                assert await revoked(service, token) == "issuer"
            await service.accepted(service.token(owner=OTHER, iss=OTHER, aud="billing"))
            service.clock.advance(100)


async def test_a_revocation_outlives_its_token() -> None:
    """Revoked from the first to the last moment of its life, then expired, never accepted."""
    async with Service(login(leeway_seconds=60)) as service:
        token = service.token()
        await service.verifier.revoke(Revocation.of(await service.accepted(token)))
        seen = []
        for _ in range(48):
            seen.append(type(await service.refused(token)))
            service.clock.advance(10)
        assert seen == [TokenRevoked] * 36 + [TokenExpired] * 12


async def test_a_revocation_overtakes_a_request_on_its_way() -> None:
    """Revoked while its key was being looked for: the request that began before is refused."""

    class Slow:
        """Keys that arrive when a test lets them."""

        def __init__(self) -> None:
            self.keys = MemoryKeyProvider.from_jwks(jwks())
            self.asked, self.go_on = asyncio.Event(), asyncio.Event()

        async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
            self.asked.set()
            await self.go_on.wait()
            return await self.keys.find(kid, alg)

    slow = Slow()
    async with Service(login(keys=slow)) as service:
        token = service.token()
        request = asyncio.create_task(service.verify(token))
        await slow.asked.wait()
        await service.verifier.revoke(revocation(RevocationScope.SUBJECT))
        slow.go_on.set()
        assert isinstance(await request, TokenRevoked)
        assert await revoked(service, token) == "subject"


@pytest.mark.parametrize("is_renamed", [False, True], ids=["same key id", "new key id"])
async def test_a_key_that_was_taken_back_is_worth_nothing(is_renamed: bool) -> None:
    """A leaked key, replaced: neither cached nor new tokens of it pass, and never again."""
    keys = MemoryKeyProvider.from_jwks(jwks())
    async with Service(login(keys=keys)) as service:
        known = service.token()
        await service.accepted(known)
        fresh = SigningKey.generate("ES256", kid="fresh" if is_renamed else "ES256-1")
        keys.replace({"keys": [key("ES256").public_jwk(), fresh.public_jwk()]})
        overlapping = fresh.sign({"typ": "at+jwt"}, service.claims(jti="t-2"))
        for token in (known, service.token(jti="t-3"), overlapping):
            await service.accepted(token)
        for _ in range(2):
            keys.replace({"keys": [fresh.public_jwk()]})
            for token in (known, service.token(jti="t-3"), service.token(jti="t-4", sub="root")):
                error = await service.refused(token)
                assert isinstance(error, KeyNotFound if is_renamed else SignatureInvalid)
            await service.accepted(overlapping)
