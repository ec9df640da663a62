"""The verifier against a second opinion: both accept the same tokens, for the same callers.

What was only generated to be legal must be accepted, however unusual; what was changed must not;
and nothing but errors of the family comes out.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from authkit.errors import AuthkitError, ConfigurationError, TokenRefused
from authkit.policy import TrustedIssuer
from authkit.testing import ManualClock
from authkit.verifier import NoRevocation, Verifier
from authkit_memory import MemoryAuditSink, MemoryKeyProvider
from tests.properties.second_opinion import (
    AUDIENCE,
    EC,
    ED,
    ED_JWK,
    ISSUER,
    JWKS,
    LIFETIME,
    NOW,
    RSA,
    b64,
    second_opinion,
    sign,
    unbase64,
)
from tests.properties.test_jose import Refused, documents, odd_members, strictly, texts, values

Verdict = Callable[[Any], Any]


# What a Verifier says -----------------------------------------------------------------------------


def verifier(*jwks: Any) -> Verifier:
    keys = MemoryKeyProvider.from_jwks({"keys": jwks})
    trusted = TrustedIssuer(ISSUER, AUDIENCE, keys=keys, max_token_lifetime_seconds=LIFETIME)
    return Verifier(
        trusted, revocations=NoRevocation(), audit=MemoryAuditSink(), clock=ManualClock(NOW)
    )


async def verdict(checking: Verifier, credential: Any) -> Any:
    """What the Principal says, in the terms of the second opinion, or the refusal."""
    try:
        caller = await checking.verify(credential)
    except AuthkitError as error:
        return error
    names = ("issuer", "subject", "client_id", "session_id", "token_id", "scopes", "roles",
             "issued_at", "expires_at", "authenticated_at")  # fmt: skip
    return {name: getattr(caller, name) for name in names} | {"claims": thawed(caller.claims)}


def thawed(value: Any) -> Any:
    if isinstance(value, tuple):
        return [thawed(inner) for inner in value]
    return {k: thawed(v) for k, v in value.items()} if hasattr(value, "items") else value


@pytest.fixture(scope="module")
def say() -> Iterator[Verdict]:
    """The verdict of one Verifier that has seen all the examples before."""
    with asyncio.Runner() as runner:
        checking = verifier(*JWKS)
        runner.run(checking.__aenter__())
        yield lambda credential: runner.run(verdict(checking, credential))
        runner.run(checking.__aexit__(None, None, None))


def agreed(say: Verdict, text: str) -> bool:
    """Whether both accept the token, for the same caller; now and, from the cache, once more."""
    try:
        expected: Any = second_opinion(text)
    except Refused:
        expected = None
    for _ in range(2):
        found = say(text)
        if expected is None:
            assert isinstance(found, TokenRefused), found
        else:
            assert found == expected
    return expected is not None


# Tokens -------------------------------------------------------------------------------------------

SIGNERS: list[tuple[str | None, str, Any]] = [
    ("e", "ES256", EC[0]), (None, "ES256", EC[0]), (None, "ES256", EC[1]), ("d", "EdDSA", ED),
    (None, "EdDSA", ED), ("d", "Ed25519", ED), ("e", "RS256", RSA), (None, "PS512", RSA),
]  # fmt: skip
MAX_HEADER_BYTES = 8 * 1024
MAX_TOKEN_BYTES = 16 * 1024
HEADER_NAMES = ("alg", "kid", "typ", "crit", "b64")
CLAIM_NAMES = ("iss", "aud", "exp", "nbf", "iat", "sub", "jti", "sid", "client_id", "azp", "scope",
               "scp", "roles", "auth_time", "typ", "token_use", "at_hash", "events")  # fmt: skip

# Between marks stands a number as it shall be spelled: no Python value is written like that.
TIMES = ("@1e10@", "@1.0E+10@", "@18000003e2@", "@1800000300@", "@1799999991.0@", "@1.9e9@")
BIRTHS = ("@18e8@", "@1800000010.5@", "@0@", "@-0.0@", "@-1e9@", "@1.8000000004999e9@")

some_text = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["é", "\u2028", "😀", '"', "a\\/b", "\0"]
)
deep = st.sampled_from([json.loads("[" * 31 + "]" * 31), json.loads('{"":' * 30 + "{}" + "}" * 30)])
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e300, 1e300) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
unknown = plain | deep | st.sampled_from(["", -0.0, 10**300])


def others(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    odd_names = st.text() | st.sampled_from(
        ["jwk", "jku", "x5c", "x5u", "cty", "zip", "enc", "nonce"]
    )
    return st.dictionaries(odd_names.filter(lambda name: name not in names), unknown, max_size=3)


legal_claims = st.fixed_dictionaries(
    {
        "iss": st.just(ISSUER),
        "aud": st.just(AUDIENCE) | st.lists(some_text, max_size=3).map(lambda n: [*n, AUDIENCE]),
        "exp": st.sampled_from(TIMES),
    },
    optional={
        **{name: st.sampled_from(BIRTHS) for name in ("iat", "nbf", "auth_time")},
        **dict.fromkeys(("sub", "jti", "sid", "client_id", "azp"), some_text),
        **{name: st.text() | st.lists(some_text, max_size=3) for name in ("scope", "scp")},
        "roles": some_text | st.lists(some_text, max_size=3),
        "typ": st.sampled_from(["Bearer", "DPoP", None, 1]),
        "token_use": st.sampled_from(["access", None]),
    },
)
legal_types = st.sampled_from(
    [{}, {"typ": "JWT"}, {"typ": "at+jwt"}, {"typ": "application/AT+JWT"}]
)
oddities = st.tuples(
    st.sampled_from([*((0, name) for name in HEADER_NAMES), *((1, name) for name in CLAIM_NAMES)]),
    st.sampled_from(["", " ", AUDIENCE, "none", "HS256", "RS256", "e", "d", "ID", "id", "at+jwt",
                     "@1799999990.5@", "@1799999990.4@", "@1800000010.6@", "@1e400@", "@NaN@",
                     f"@{2**53}@", f"@{2**53 + 1}@", "@9e18@", ["b64"], True, None, 0])
    | values,
)  # fmt: skip


def written(draw: st.DrawFn, members: dict[str, Any]) -> bytes:
    options: Any = draw(st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}]))
    text = json.dumps(members, ensure_ascii=draw(st.booleans()), **options)
    return re.sub(r'"@([^"@]*)@"', r"\1", text).encode("utf-8", "surrogatepass")


def token(header: bytes, claims: bytes, key: Any, alg: str) -> str:
    unsigned = f"{b64(header)}.{b64(claims)}"
    return f"{unsigned}.{b64(sign(key, alg, unsigned.encode()))}"


@st.composite
def tokens(draw: st.DrawFn, max_oddities: int = 0) -> str:
    """Legal, if unusual, but for so many members that may be odd."""
    kid, alg, key = draw(st.sampled_from(SIGNERS))
    header = {"alg": alg, **({} if kid is None else {"kid": kid}), **draw(legal_types)}
    parts = (draw(others(*HEADER_NAMES)) | header, draw(others(*CLAIM_NAMES)) | draw(legal_claims))
    parts[draw(st.integers(0, 1))]["filling"] = "x" * draw(st.sampled_from([0, 3000, 5000]))
    for (part, name), value in draw(st.lists(oddities, max_size=max_oddities)):
        parts[part][name] = value
        if value is None and draw(st.booleans()):
            del parts[part][name]
    header_bytes = written(draw, parts[0])
    text = token(header_bytes, written(draw, parts[1]), key, alg)
    assume(len(header_bytes) <= MAX_HEADER_BYTES and len(text) <= MAX_TOKEN_BYTES)
    return text


GOOD = token(
    json.dumps({"alg": "EdDSA", "kid": "d"}).encode(),
    json.dumps({"iss": ISSUER, "aud": AUDIENCE, "exp": 2e9, "sub": "alice"}).encode(),
    ED,
    "EdDSA",
)


@given(text=tokens())
def test_every_legal_token_is_accepted(say: Verdict, text: str) -> None:
    """With unknown members, decoy keys, odd spellings of numbers and texts, any depth allowed."""
    assert agreed(say, text)


@given(text=tokens(max_oddities=2))
def test_a_token_is_accepted_exactly_where_the_second_opinion_accepts_it(
    say: Verdict, text: str
) -> None:
    """Genuinely signed, with up to two members that may be anything."""
    agreed(say, text)


@given(header=documents(), claims=documents(), signer=st.sampled_from(SIGNERS))
def test_any_signed_documents_are_read_alike(
    say: Verdict, header: bytes, claims: bytes, signer: tuple[Any, str, Any]
) -> None:
    """Whatever the issuer signed: JSON or nearly, or with the right members in front."""
    _, alg, key = signer
    right = json.dumps({"alg": alg}).encode(), json.dumps({"iss": ISSUER, "aud": AUDIENCE}).encode()
    agreed(say, token(header, claims, key, alg))
    agreed(say, token(right[0], claims, key, alg))
    agreed(say, token(right[0], joined(right[1], claims), key, alg))
    agreed(say, token(joined(right[0], header), joined(right[1], b"{}"), key, alg))


def joined(right: bytes, document: bytes) -> bytes:
    return (right[:-1] + b',"exp":2e9,' + document[1:]).replace(b",}", b"}")


@given(text=tokens(), data=st.data())
def test_a_changed_token_is_not_accepted(say: Verdict, text: str, data: st.DataObject) -> None:
    """Bits flipped, characters taken, added, swapped, segments moved; the good one still passes."""
    place = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.sampled_from("AQgw-_.=+/ \n\0é"))
    parts = text.split(".")
    which = data.draw(st.integers(0, 2))
    octets = bytearray(unbase64(parts[which]))
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    flipped = ".".join([*parts[:which], b64(bytes(octets)), *parts[which + 1 :]])
    for changed in (
        flipped,
        text[:place] + text[place + 1 :],
        text[:place] + char + text[place:],
        text[:place] + char + text[place + 1 :],
        text[:place] + text[place : place + 2][::-1] + text[place + 2 :],
        ".".join(parts[which:] + parts[:which]),
    ):
        assert changed == text or not agreed(say, changed)
    assert agreed(say, text)


# Anything at all ----------------------------------------------------------------------------------


@given(text=st.text(st.characters()) | st.text("A.e30_-=\ud800", max_size=40))
@example(text=GOOD + "\ud800")
@example(text="." * 17_000)
def test_any_text_is_refused(say: Verdict, text: str) -> None:
    """A text that nobody signed ends in TokenRefused, and is not taken for an outage."""
    assert isinstance(say(text), TokenRefused)
    assert isinstance(say(f"{GOOD}{text or '.'}"), TokenRefused)


objects = st.none() | st.binary() | st.integers() | st.floats() | st.lists(st.text())
objects |= st.dictionaries(st.text(), st.text()) | st.builds(object)


@given(objects | st.sampled_from([str, GOOD.encode(), [GOOD], {"token": GOOD}]))
def test_any_object_ends_in_the_family(say: Verdict, credential: object) -> None:
    """Whatever is handed in where a text belongs, and the next good token passes."""
    assert isinstance(say(credential), AuthkitError)
    assert isinstance(say(GOOD), dict)


# Key sets -----------------------------------------------------------------------------------------


nearly_good = odd_members.map(lambda members: {**ED_JWK, **members})


@given(odd=st.lists(odd_members | nearly_good | values, max_size=3), place=st.integers(0, 3))
def test_no_key_beside_it_spoils_a_good_one(odd: list[Any], place: int) -> None:
    """Unless the set is no strict JSON: then there is no provider, and the message says so."""
    jwks = [*odd[:place], ED_JWK, *odd[place:]]
    try:
        strictly(json.dumps({"keys": jwks}).encode())
    except Refused:
        with pytest.raises(ConfigurationError):
            verifier(*jwks)
        return

    async def check() -> None:
        async with verifier(*jwks) as checking:
            assert await verdict(checking, GOOD) == second_opinion(GOOD)
            spoiled = await verdict(checking, GOOD[:-4] + "AAAA")
            assert isinstance(spoiled, TokenRefused)

    asyncio.run(check())


@given(documents() | texts | values | objects)
def test_anything_is_a_key_set_or_a_mistake_of_configuration(jwks: Any) -> None:
    """Nothing but ConfigurationError comes out of it."""
    try:
        MemoryKeyProvider.from_jwks(jwks)
    except ConfigurationError:
        pass
