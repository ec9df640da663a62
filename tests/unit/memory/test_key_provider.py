"""Keys at hand are found, exchanged at a rotation, and refused at once where none can be used."""

from __future__ import annotations

import json
import logging
import math
from types import MappingProxyType
from typing import Any

import pytest

from authkit.errors import ConfigurationError
from authkit.interfaces import Observable, StateChange
from authkit.jose.jws import UnverifiedToken, verify_signature
from authkit.jose.signing import SigningKey
from authkit.key_set import KEYS_ROTATED
from authkit.testing import ManualClock
from authkit_memory.key_provider import MemoryKeyProvider

pytestmark = pytest.mark.anyio

KEYS = {name: SigningKey.generate("ES256", kid=name) for name in ("a", "b", "c")}


def jwks(*names: str) -> dict[str, Any]:
    return {"keys": [KEYS[name].public_jwk() for name in names]}


@pytest.mark.parametrize(
    "form",
    [dict, MappingProxyType, json.dumps, lambda value: json.dumps(value).encode()],
    ids=["object", "mapping", "text", "bytes"],
)
async def test_a_jwk_set_is_taken_in_any_form(form: Any) -> None:
    """As it was configured, read from a file, or built."""
    provider = MemoryKeyProvider.from_jwks(form(jwks("a", "b")))

    (key,) = await provider.find("b", "ES256")
    assert key.kid == "b"
    assert key.lease.trusted_until == math.inf
    assert len(await provider.find(None, "ES256")) == 2


async def test_what_is_not_there_is_not_found() -> None:
    """The keys are known to be all there are, so this is no outage."""
    provider = MemoryKeyProvider.from_jwks(jwks("a"))

    assert await provider.find("x", "ES256") == await provider.find("a", "RS256") == ()


async def test_unusable_keys_are_skipped() -> None:
    """One odd key costs no other key (RFC 7517 section 5)."""
    off_curve = {**jwks("a")["keys"][0], "y": jwks("b")["keys"][0]["y"], "kid": "odd"}
    provider = MemoryKeyProvider.from_jwks({"keys": [off_curve, {}, 7, *jwks("a")["keys"]]})

    assert await provider.find("odd", "ES256") == ()
    assert len(await provider.find("a", "ES256")) == 1
    assert provider.stats()["unusable_keys"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"keys": {}},
        {"keys": []},
        {"keys": [{"kty": "XYZ"}]},
        {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]},
        {"keys": [{"kty": "oct", "k": "c2hvcnQ"}]},
        {"keys": [math.nan]},
        {"keys": [object()]},
        {"keys": ["\ud800"]},
        "",
        "{",
        "https://login.example.com/jwks",
        b"\xff",
        b"-----BEGIN PUBLIC KEY-----",
        None,
        7,
        [],
    ],
    ids=repr,
)
def test_what_holds_no_usable_key_is_refused_at_construction(wrong: Any) -> None:
    """A verifier that can only refuse is a mistake, best found at the start."""
    with pytest.raises(ConfigurationError, match="jwks must"):
        MemoryKeyProvider.from_jwks(wrong)


async def test_a_replacement_keeps_what_stays_and_withdraws_what_goes() -> None:
    """A rotation costs only what the old key proved."""
    provider = MemoryKeyProvider.from_jwks(jwks("a", "b"))
    (a,), (b,) = await provider.find("a", "ES256"), await provider.find("b", "ES256")
    provider.replace(json.dumps(jwks("b", "c")))

    assert a.lease.withdrawn
    assert not b.lease.withdrawn
    assert await provider.find("a", "ES256") == ()
    assert await provider.find("b", "ES256") == (b,)
    assert len(await provider.find("c", "ES256")) == 1


async def test_an_empty_replacement_withdraws_every_key() -> None:
    """Saying that there is no key any more must be possible, and is meant."""
    provider = MemoryKeyProvider.from_jwks(jwks("a"))
    (key,) = await provider.find("a", "ES256")
    provider.replace({"keys": []})

    assert key.lease.withdrawn
    assert await provider.find("a", "ES256") == ()


@pytest.mark.parametrize("wrong", ["{", {}, {"keys": [{}]}, {"keys": [{"kty": "XYZ"}]}], ids=repr)
async def test_a_replacement_that_is_no_good_changes_nothing(wrong: Any) -> None:
    """A broken file at a rotation does not log everyone out."""
    provider = MemoryKeyProvider.from_jwks(jwks("a"))
    (key,) = await provider.find("a", "ES256")
    with pytest.raises(ConfigurationError):
        provider.replace(wrong)

    assert await provider.find("a", "ES256") == (key,)
    assert not key.lease.withdrawn
    assert provider.stats()["rotations_total"] == 0


async def test_rotations_are_told_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """In the provider's name, once for each that changes a key."""
    caplog.set_level(logging.INFO, "authkit")
    clock = ManualClock(1_900_000_000)
    provider = MemoryKeyProvider.from_jwks(jwks("a", "b"), name="https://i.example", clock=clock)
    seen: list[StateChange] = []
    assert isinstance(provider, Observable)
    provider.observe(seen.append)
    provider.replace(jwks("b", "a"))
    clock.advance(5)
    provider.replace(jwks("a"))
    await provider.find("b", "ES256")

    assert [(c.interface, c.name, c.code, c.time) for c in seen] == [
        ("keys", "https://i.example", KEYS_ROTATED, 1_900_000_005)
    ]
    assert caplog.messages == ["keys of https://i.example: rotated, 0 added, 1 withdrawn"]
    assert provider.stats() == {
        "keys": 1,
        "listener_errors_total": 0,
        "rotations_total": 1,
        "unknown_key_ids_total": 1,
        "unusable_keys": 0,
    }


@pytest.mark.parametrize(("alg", "length"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
async def test_a_secret_verifies_what_it_signed(alg: str, length: int) -> None:
    """Configured secrets are keys like others, for the one algorithm that was named."""
    signing = SigningKey.generate(alg, kid="s")
    provider = MemoryKeyProvider.from_secret(bytes(range(length)), alg=alg)
    assert await provider.find(None, alg)
    assert await provider.find("s", alg) == ()
    for other in {"HS256", "HS384", "HS512"} - {alg}:
        assert await provider.find(None, other) == ()

    provider = MemoryKeyProvider.from_jwks({"keys": [signing.jwk()]})
    token = UnverifiedToken.parse(signing.sign({}, {"sub": "alice"}))
    keys = await provider.find("s", alg)
    assert verify_signature(token, token.header(), keys).claims == {"sub": "alice"}


async def test_a_secret_can_have_a_key_id() -> None:
    """For issuers whose tokens name it."""
    provider = MemoryKeyProvider.from_secret(b"x" * 32, kid="2024")
    (key,) = await provider.find("2024", "HS256")
    assert key.kid == "2024"
    assert "x" * 32 not in repr(key)


@pytest.mark.parametrize(
    ("arguments", "what_to_do"),
    [
        ({"secret": b"x" * 31}, "at least 32 bytes"),
        ({"secret": b"x" * 63, "alg": "HS512"}, "at least 64 bytes"),
        ({"secret": b"x" * 32, "alg": "RS256"}, "HS256, HS384, HS512"),
        ({"secret": b"x" * 32, "alg": "none"}, "HS256, HS384, HS512"),
        ({"secret": "x" * 32}, "at least 32 bytes"),
    ],
    ids=repr,
)
def test_a_secret_that_is_too_weak_is_refused_at_construction(
    arguments: dict[str, Any], what_to_do: str
) -> None:
    """And never shown."""
    with pytest.raises(ConfigurationError, match=what_to_do) as refused:
        MemoryKeyProvider.from_secret(**arguments)
    assert "xxx" not in str(refused.value)
