"""One token in many texts: what was proven or revoked of one text must hold for the right others.

Would have caught the class of deny lists and token caches that are passed, or poisoned, by another
text: mirrored ECDSA signatures, base64 spellings, a text that differs in one character.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from authkit.errors import AuthkitError, SignatureInvalid, TokenMalformed, TokenRevoked
from authkit.interfaces import Revocation, RevocationScope
from authkit.jose.encoding import decode_base64url, encode_base64url
from authkit.policy import Requirement
from authkit.principal import Principal
from authkit_memory import MemoryKeyProvider
from tests.attacks.playbook import LOGIN, Service, key, login

pytestmark = pytest.mark.anyio

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ORDERS = {
    "ES256": "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551",
    "ES384": "F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973",
    "ES512": f"1{'F' * 65}A51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409",
}
CACHES = [{}, {"token_cache_entries": 0}, {"hashes_cached_tokens": True}]


@pytest.fixture(params=CACHES, ids=["cached", "uncached", "hashed"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    jwks = {"keys": [key(alg).public_jwk() for alg in ("RS256", "EdDSA", *ORDERS)]}
    trusted = login(keys=MemoryKeyProvider.from_jwks(jwks))
    async with Service(trusted, **request.param) as service:
        yield service


def mirrored(token: str, alg: str) -> str:
    """The same with n - s in the place of s, which every ECDSA verifier takes."""
    start, _, signature = token.rpartition(".")
    octets = decode_base64url(signature)
    half = len(octets) // 2
    s = int(ORDERS[alg], 16) - int.from_bytes(octets[half:], "big")
    return f"{start}.{encode_base64url(octets[:half] + s.to_bytes(half, 'big'))}"


@pytest.mark.parametrize("claims", [{}, {"jti": None}], ids=["with an id", "without one"])
@pytest.mark.parametrize("alg", ORDERS)
async def test_a_mirrored_signature_is_the_same_token(
    service: Service, alg: str, claims: dict[str, Any]
) -> None:
    """The same caller under the same id, so that revoking either text revokes both."""
    for revoked, used in ((0, 1), (1, 0)):
        token = service.token(alg=alg, sid=f"s-{revoked}", **claims)
        texts = (token, mirrored(token, alg))
        assert texts[0] != texts[1]
        callers = [await service.accepted(text) for text in texts]
        assert callers[0] == callers[1]
        await service.verifier.revoke(Revocation.of(callers[revoked]))
        for text in (texts[used], texts[revoked], mirrored(texts[used], alg)):
            assert type(await service.refused(text)) is TokenRevoked
        await service.verifier.lift(Revocation.of(callers[used]))
        await service.accepted(texts[used])


@pytest.mark.parametrize("alg", ORDERS)
async def test_a_mirrored_text_that_was_never_seen_is_revoked_too(
    service: Service, alg: str
) -> None:
    """An attacker keeps the second text back until the first one is revoked."""
    token = service.token(alg=alg, jti=None)
    caller = await service.accepted(token)
    await service.verifier.revoke(Revocation.of(caller))
    assert type(await service.refused(mirrored(token, alg))) is TokenRevoked


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
async def test_a_character_makes_another_token(service: Service, alg: str) -> None:
    """Next to a token that is known to be good, each text that differs in one place is refused."""
    good = service.token(alg=alg)
    caller = await service.accepted(good)
    for place, old in enumerate(good):
        following = ALPHABET[(ALPHABET.find(old) + 1) % 64]
        for new in (following,) if place % 9 else (following, "", old + following, old.swapcase()):
            text = good[:place] + new + good[place + 1 :]
            if text != good:
                assert isinstance(await service.verify(text), AuthkitError), (place, new)
    assert await service.accepted(good) == caller


async def test_another_spelling_is_no_token(service: Service) -> None:
    """Padding, unused bits, blanks and the other alphabet: refused beside the cached text too."""
    good = service.token(x="~~~???>>>ÿÿ")
    caller = await service.accepted(good)
    segments = good.split(".")
    spelled = []
    for number, part in enumerate(segments):
        odd = [part + "=" * (-len(part) % 4 or 4), part + "=", part + "%3D"]
        odd += [part.replace("-", "+").replace("_", "/") + ("" if set("-_") & set(part) else "+")]
        odd += [part[:9] + blank + part[9:] for blank in " \n\t\r\0\v\u200b"]
        if len(part) % 4:
            odd += [part[:-1] + ALPHABET[ALPHABET.index(part[-1]) + 1]]
        spelled += [".".join([*segments[:number], text, *segments[number + 1 :]]) for text in odd]
    spelled += [f" {good}", f"{good} ", f"{good}\n", f"{good}.", f".{good}", f"Bearer {good}"]
    for text in spelled:
        assert isinstance(await service.refused(text), TokenMalformed), text
    assert await service.accepted(good) == caller


async def test_parts_of_good_tokens_make_no_good_token(service: Service) -> None:
    """Header, payload and signature of cached tokens, shuffled: none of them is anybody."""
    tokens = [
        service.token(jti=name, sub=name, alg=alg) for name in "ab" for alg in ("ES256", "RS256")
    ]
    for token in tokens:
        await service.accepted(token)
    parts = [token.split(".") for token in tokens]
    mixes = {".".join((h[0], p[1], s[2])) for h in parts for p in parts for s in parts}
    for text in sorted(mixes.difference(tokens)):
        assert type(await service.refused(text)) is SignatureInvalid
    for token, name in zip(tokens, "aabb", strict=True):
        assert (await service.accepted(token)).subject == name


async def test_what_one_route_was_told_is_nothing_to_another(service: Service) -> None:
    """A cached caller is refused what its token was not granted, however often it is asked."""
    token = service.token(scope="a", roles=["r"])
    asked = {
        "scope": Requirement(scopes=["a", "b"]),
        "role": Requirement(roles=["admin"]),
        "claim": Requirement(claims={"sub": "bob"}),
    }
    for require in (*asked.values(), *asked.values()):
        assert isinstance(await service.verify(token, require=Requirement(scopes=["a"])), Principal)
        assert isinstance(await service.verify(token, require=require), AuthkitError)


async def test_a_cached_caller_cannot_be_changed(service: Service) -> None:
    """It is shared by all requests with its token: nobody may promote it."""
    token = service.token(roles=["r"], nested={"list": [{"a": 1}]})
    caller: Any = await service.accepted(token)
    attempts = [
        lambda: setattr(caller, "subject", "admin"),
        lambda: delattr(caller, "subject"),
        lambda: setattr(caller, "extra", 1),
        lambda: caller.claims.update(sub="admin"),
        lambda: caller.claims.__setitem__("sub", "admin"),
        lambda: caller.claims["nested"].__setitem__("a", 1),
        lambda: caller.claims["nested"]["list"].append(1),
        lambda: caller.claims["nested"]["list"][0].__setitem__("a", 2),
        lambda: caller.roles.add("admin"),
        lambda: caller.scopes.add("admin"),
    ]
    for attempt in attempts:
        with pytest.raises((AttributeError, TypeError)):
            attempt()
    again = await service.accepted(token)
    assert (again.subject, again.roles, again.claims["nested"]["list"]) == (
        "alice",
        {"r"},
        ({"a": 1},),
    )


async def test_a_key_under_a_second_name_stays_distrusted() -> None:
    """A key is revoked by what it is, not by its key id (RFC 7638)."""
    twice = [{**key("ES256").public_jwk(), "kid": kid} for kid in ("ES256-1", "again")]
    keys = MemoryKeyProvider.from_jwks({"keys": twice})
    async with Service(login(keys=keys)) as service:
        (used,) = await keys.find("ES256-1", "ES256")
        await service.accepted(service.token({"kid": "again"}))
        await service.verifier.revoke(
            Revocation(scope=RevocationScope.KEY, issuer=LOGIN, id=used.thumbprint)
        )
        for header in ({}, {"kid": "again"}, {"kid": "again", "x": 1}):
            assert type(await service.refused(service.token(header))) is TokenRevoked
