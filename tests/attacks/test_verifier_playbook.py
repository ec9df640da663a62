"""The playbook of the usual tools, played against a whole verifier and the app in front of it.

After each attack the good token is sent again, and still works; once it is revoked, it does not.

Would have caught: CVE-2022-23540 and CVE-2026-28802 (`none`), CVE-2016-5431, CVE-2017-11424 and
CVE-2024-37568 (a public key taken for a secret), CVE-2018-0114 and CVE-2026-27962 (the header's
own key), CVE-2025-59420 and CVE-2026-32597 (`crit`), CVE-2026-48525 (`b64`), CVE-2022-21449 (zeros
as a signature), CVE-2023-6681 and CVE-2024-33664 (encrypted and compressed tokens).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authkit.errors import AuthkitError, TokenRevoked
from authkit.interfaces import Revocation
from authkit.jose.encoding import decode_base64url, encode_base64url
from authkit_memory import MemoryKeyProvider
from tests.attacks.forging import segment
from tests.attacks.playbook import ALGS, LOGIN, OTHER, Service, key, login

pytestmark = pytest.mark.anyio

Attack = Callable[[Service], str]
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
EVIL = "https://evil.example/jwks.json"
SQL = "' UNION SELECT 'secret"


def header_of(alg: str = "ES256", **changes: Any) -> dict[str, Any]:
    return {"alg": alg, "kid": f"{alg}-1", "typ": "at+jwt", **changes}


def hand_made(service: Service, header: Any, signature: bytes | str = b"", **claims: Any) -> str:
    """Signed with whatever is given; the claims are what an attacker wants."""
    text = signature if isinstance(signature, str) else encode_base64url(signature)
    return f"{segment(header)}.{segment(service.claims(sub='mallory', **claims))}.{text}"


def maced(service: Service, mac: str, secret: bytes, kid: str) -> str:
    unsigned = hand_made(service, header_of(mac, kid=kid)).rpartition(".")[0]
    digest = hmac.new(secret, unsigned.encode(), HASHES[mac]).digest()
    return f"{unsigned}.{encode_base64url(digest)}"


def by_the_attacker(service: Service, header: dict[str, Any], alg: str = "ES256") -> str:
    return service.token(header, alg=alg, owner="attacker", sub="mallory")


def genuine(service: Service, header: dict[str, Any]) -> str:
    """What the issuer itself signed, and nobody may accept."""
    return service.token(header, sub="mallory")


def resigned(service: Service, change: Callable[[str], str]) -> str:
    """A good token with another signature."""
    start, _, signature = service.token(sub="mallory").rpartition(".")
    return f"{start}.{change(signature)}"


def raw(r: int, s: int) -> str:
    return encode_base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def rsa_forms() -> dict[str, bytes]:
    """The public RSA key as an attacker may have got hold of it."""
    jwk = key("RS256").public_jwk()
    n, e = (int.from_bytes(decode_base64url(jwk[name]), "big") for name in "ne")
    public = RSAPublicNumbers(e, n).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "pem": pem,
        "pem without its last newline": pem.rstrip(),
        "pkcs1": public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(jwk).encode(),
        "compact jwk": json.dumps(jwk, separators=(",", ":")).encode(),
        "n": decode_base64url(jwk["n"]),
        "n as text": jwk["n"].encode(),
        "nothing": b"",
    }


def attacks() -> Iterator[tuple[str, Attack]]:
    for alg in ("none", "None", "NONE", "nOnE", " none", "none ", "none\0", "", "null", "HS256 "):
        for name, signature in (("empty", b""), ("null", b"\0"), ("zeros", bytes(64))):
            yield (
                f"alg {alg!r}, {name} signature",
                partial(hand_made, header=header_of(alg), signature=signature),
            )
    yield "alg none, two segments", lambda s: hand_made(s, header_of("none")).rstrip(".")
    for bad in (None, False, 0, [], ["none"], {"none": 1}, ["ES256"]):
        yield f"alg {bad!r}", partial(hand_made, header={**header_of(), "alg": bad})

    changes: dict[str, Callable[[str], str]] = {
        "empty": lambda _: "",
        "null byte": lambda _: "AA",
        "zeros": lambda text: "A" * len(text),
        "blank": lambda text: " " * len(text),
        "half": lambda text: text[: len(text) // 2],
        "twice": lambda text: text + text,
        "reversed": lambda text: text[:-1][::-1] + "A",
        "psychic: r = s = 0": lambda _: raw(0, 0),
        "psychic: r = 0": lambda _: raw(0, 1),
        "psychic: s = 0": lambda _: raw(1, 0),
        "psychic: r = s = n": lambda _: raw(P256_ORDER, P256_ORDER),
        "psychic: in DER": lambda _: encode_base64url(bytes.fromhex("3006020100020100")),
        "far too long": lambda text: text + "A" * 1200,
    }
    for name, change in changes.items():
        yield f"signature {name}", partial(resigned, change=change)

    for form in ("pem", "pem without its last newline", "pkcs1", "der", "jwk", "compact jwk", "n",
                 "n as text", "nothing"):  # fmt: skip
        for mac in HASHES:
            yield (
                f"{mac} with the public key: {form}",
                lambda s, form=form, mac=mac: maced(s, mac, rsa_forms()[form], "RS256-1"),
            )

    for alg in ALGS:
        for what, jwk in (
            ("public", lambda alg=alg: key(alg, "attacker").public_jwk()),
            ("private", lambda alg=alg: key(alg, "attacker").jwk()),
            ("set", lambda alg=alg: {"keys": [key(alg, "attacker").public_jwk()]}),
        ):
            yield (
                f"{alg}: own key embedded, {what}",
                lambda s, alg=alg, jwk=jwk: by_the_attacker(s, {"jwk": jwk()}, alg),
            )
    for where in ("jku", "x5u", "jwks_uri", "iss", "kid"):
        yield f"own keys at {where}", partial(by_the_attacker, header={where: EVIL})
    yield "own chain embedded", partial(by_the_attacker, header={"x5c": ["MIIBIjANBgkqhki"]})

    for kid in ("../../../../dev/null", "/dev/null", "file:///etc/passwd", SQL, "1; DROP TABLE k",
                "$(id)", "`id`", "| id", "%s%n", "{0.__class__}", "${jndi:ldap://evil}", "\0",
                "ES256-1\0", "ES256-1 ", "es256-1", "*", "", "k" * 4000, "\r\nX: y", "кey",
                "RS256-1", "EdDSA-1"):  # fmt: skip
        label = repr(kid[:24])
        yield f"kid {label}, own key", partial(by_the_attacker, header={"kid": kid})
        yield f"kid {label}, genuine key", partial(genuine, header={"kid": kid})
    for bad in (None, 0, True, ["ES256-1"], {"kid": "ES256-1"}):
        yield f"kid {bad!r}", partial(genuine, header={"kid": bad})

    for crit in ([], ["exp"], ["alg"], ["b64"], ["bork"], ["kid", "kid"], "exp", None, 1, {}, [[]]):
        yield f"crit {crit!r}", partial(genuine, header={"crit": crit, "bork": 1})
    for b64 in (False, True, None):
        yield f"b64 {b64}", partial(genuine, header={"b64": b64})
        yield f"b64 {b64} in crit", partial(genuine, header={"b64": b64, "crit": ["b64"]})

    yield "nested", lambda s: key("ES256").sign({"cty": "JWT"}, s.token().encode())
    for alg in ("dir", "RSA-OAEP", "RSA1_5", "PBES2-HS256+A128KW", "A128KW", "ECDH-ES"):
        extra = {"enc": "A128GCM", "zip": "DEF", "p2c": 2**31 - 1, "p2s": "AAAA"}
        header = header_of(alg, **extra)
        yield f"{alg} in three segments", partial(hand_made, header=header, signature=bytes(64))
        yield f"{alg} in five", lambda _, header=header: f"{segment(header)}.AAAA.AAAA.AAAA.AAAA"
    yield "compressed", lambda s: hand_made(s, header_of(zip="DEF"), bytes(64))
    for typ in ("JOSE", "at+jwt\0", "JWE", "application/application/jwt", "", "jwt;x=y"):
        yield f"typ {typ!r}", partial(genuine, header={"typ": typ})

    for name, text in (
        ("alg twice", b'{"alg":"none","alg":"ES256","kid":"ES256-1"}'),
        ("alg twice, escaped", b'{"alg":"ES256","\\u0061lg":"none","kid":"ES256-1"}'),
        ("a list", b'["alg"]'),
        ("UTF-16", '{"alg":"ES256","kid":"ES256-1"}'.encode("utf-16")),
    ):
        yield f"header {name}", lambda s, text=text: key("ES256").sign(text, s.claims())
    for claim in ("iss", "aud", "exp", "sub"):
        yield (
            f"{claim} twice",
            lambda s, claim=claim: key("ES256").sign(
                {}, f'{{"{claim}":1,{json.dumps(s.claims())[1:]}'.encode()
            ),
        )
    yield "another issuer's token", lambda s: s.token(owner=OTHER)
    yield "another issuer's name", lambda s: s.token(iss=OTHER)


PLAYBOOK = dict(attacks())


@pytest.mark.parametrize("name", PLAYBOOK)
async def test_an_attack_of_the_playbook_fails(name: str) -> None:
    """Before the good token was ever seen and after it, twice, and nothing stays behind of it."""
    async with Service() as service:
        service.hostile += [EVIL, SQL, "mallory"]
        good = service.token()
        bad = PLAYBOOK[name](service)
        first = await service.refused(bad)
        caller = await service.accepted(good)
        again = await service.refused(bad)
        assert again.code == first.code
        assert await service.accepted(good) == caller
        await service.verifier.revoke(Revocation.of(caller))
        assert type(await service.refused(good)) is TokenRevoked
        assert (await service.refused(bad)).code == first.code
        await service.accepted(service.token(jti="t-2"))


async def test_the_attacks_do_not_help_each_other() -> None:
    """All of them in a row on one service: the good tokens of both issuers go on working."""
    async with Service() as service:
        good = [service.token(alg=alg, jti=alg) for alg in ALGS]
        good += [service.token(owner=OTHER, iss=OTHER, aud="billing", alg=alg) for alg in ALGS]
        for attack in PLAYBOOK.values():
            assert isinstance(await service.verify(attack(service)), AuthkitError)
        for token in good:
            await service.accepted(token)
        stats = service.verifier.stats()
        assert stats["token_cache_entries"] == len(good)
        assert not any(name.endswith("_errors_total") for name in stats)


async def test_a_public_key_is_no_secret_even_beside_one() -> None:
    """An issuer with a shared secret and an RSA key: each verifies its own algorithm only."""
    secret = key("HS256").jwk()
    mixed = {"keys": [secret, key("RS256").public_jwk()]}
    keys = MemoryKeyProvider.from_jwks(mixed)
    async with Service(login(keys=keys, algorithms=["RS256", *HASHES])) as service:
        good = key("HS256").sign({}, service.claims())
        for mac in HASHES:
            for form in rsa_forms().values():
                for kid in ("RS256-1", "HS256-1"):
                    await service.refused(maced(service, mac, form, kid))
        assert (await service.accepted(good)).issuer == LOGIN
        await service.accepted(service.token(alg="RS256"))
