"""Whatever comes in, `authkit.jose` answers with its own refusals, and what it signs it reads."""

from __future__ import annotations

import binascii
import json
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authkit.errors import SignatureInvalid, TokenMalformed
from authkit.jose import encoding
from authkit.jose.encoding import NotStrict, decode_base64url, encode_base64url, parse_json_object
from authkit.jose.jwa import ALGORITHMS
from authkit.jose.jwk import JWK, KeyLease, UnusableKey, VerificationKey, parse_jwk_set
from authkit.jose.jws import JoseHeader, UnverifiedToken, verify_signature
from authkit.jose.signing import SigningKey

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
CHEAP = ["HS256", "ES256", "EdDSA", "RS256"]


@cache
def signer(alg: str) -> SigningKey:
    return SigningKey.generate(alg)


@cache
def verification_key(alg: str) -> VerificationKey:
    return JWK(signer(alg).jwk()).verification_key(KeyLease(0.0))


# Strategies ---------------------------------------------------------------------------------------

numbers = (
    st.integers()
    | st.integers(-(10**320), 10**320)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [0, -0.0, 2**53, 2**63, 2**64, -(2**63) - 1, 10**308 - 1, 10**308, 1e308, 5e-324]
    )
)
texts = st.text() | st.sampled_from(
    ["a", "b", "iss", "", "\0", "\u2028", "😀", '"', "\\u0061", "["]
)
leaves = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=5)

literals = st.sampled_from(
    ["NaN", "Infinity", "-Infinity", "1e400", "1E+5", "1.50", "-0", "01", "1.", "0x1", "tru", "1 2",
     "9" * 308, "9" * 309, "-" + "9" * 309, "9" * 4301, '"\\ud800"', '"\\ud83d\\ude00"', '"\\/"',
     "[" * 31 + "]" * 31, "[" * 32 + "]" * 32, "[" * 300, '{"a":1,"\\u0061":1}', '"\t"', "[1,]"]
)  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """JSON in some spelling, often with something wrong in it."""
    options: dict[str, Any] = draw(
        st.sampled_from(
            [{"separators": (",", ":")}, {}, {"indent": 1}, {"separators": (" ,\r", "\t: ")}]
        )
    )
    text = json.dumps(draw(objects), ensure_ascii=draw(st.booleans()), **options)
    kind = draw(st.sampled_from(["plain", "plain", "member", "repeat", "splice", "encode", "cut"]))
    if kind == "member":
        text = f'{{"x":{draw(literals)},{text[1:]}'.replace(",}", "}")
    elif kind == "repeat":
        name = json.dumps(draw(texts))
        text = f"{{{name}:1,{name}:{draw(st.sampled_from(['1', '2']))}}}"
    data = text.encode("utf-8", "surrogatepass")
    place = draw(st.integers(0, len(data)))
    if kind == "splice":
        data = data[:place] + draw(st.binary(max_size=3)) + data[place:]
    elif kind == "encode":
        codec = draw(st.sampled_from(["utf-16", "utf-32-le", "utf-8-sig"]))
        data = text.encode(codec, "surrogatepass")
    elif kind == "cut":
        data = data[:place]
    return data


segments = (
    st.binary(max_size=60).map(encode_base64url)
    | documents().map(encode_base64url)
    | st.text(ALPHABET + "=+/ .\n\0é", max_size=30)
)
headers = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "cty"]),
    st.sampled_from(["RS256", "none", "k", "", None, 1, ["b64"], {}]) | texts,
).map(lambda header: encode_base64url(json.dumps(header).encode()))
tokens = st.text() | st.builds(".".join, st.lists(segments | headers, max_size=5))


# base64url ----------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_base64url_goes_there_and_back(data: bytes) -> None:
    """Any bytes have a text, and it is theirs alone."""
    text = encode_base64url(data)
    assert set(text) <= set(ALPHABET)
    assert decode_base64url(text) == data


@given(st.text(ALPHABET, max_size=12) | st.text(ALPHABET + "=+/ \n\r.\0é", max_size=8) | st.text())
def test_base64url_is_decoded_exactly_where_it_is_canonical(text: str) -> None:
    """Against the standard library's decoder: what encodes to the same text again is taken."""
    try:
        padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
        expected = binascii.a2b_base64(padded)
        is_canonical = encode_base64url(expected) == text
    except ValueError:
        is_canonical = False
    if is_canonical:
        assert decode_base64url(text) == expected
    else:
        with pytest.raises(NotStrict):
            decode_base64url(text)


# JSON ---------------------------------------------------------------------------------------------


class Refused(Exception):
    pass


def strictly(data: bytes, max_depth: int = 32) -> Any:
    """What strict JSON means, said once more and slowly, on the standard library alone."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise Refused
        return dict(pairs)

    def finite(text: str) -> float:
        if not math.isfinite(number := float(text)):
            raise Refused
        return number

    def short(text: str) -> int:
        if len(text.removeprefix("-")) > 308:
            raise Refused
        return int(text)

    def no_constant(_: str) -> None:
        raise Refused

    def walk(value: Any, depth: int) -> None:
        if isinstance(value, str):
            value.encode("utf-8")
        elif isinstance(value, dict | list):
            if depth > max_depth:
                raise Refused
            for inner in [*value, *value.values()] if isinstance(value, dict) else value:
                walk(inner, depth + 1)

    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=unique,
            parse_float=finite,
            parse_int=short,
            parse_constant=no_constant,
        )
        walk(value, 1)
    except (ValueError, RecursionError):
        raise Refused from None
    if not isinstance(value, dict):
        raise Refused
    return value


def same(one: Any, two: Any) -> bool:
    """Equal, and of the same types: 1 is not 1.0 and not True, -0.0 is not 0.0."""
    return repr(one) == repr(two)


@given(documents() | st.binary(max_size=40))
@example(b'{"a":-0.0}')
@example(b'{"a":1e22}')
@example(b'{"a":' + b"9" * 309 + b"}")
@example(b'{"a":"' + b"9" * 400 + b'"}')
@example(b'{"a":1,"a":1}')
@example(b"{" + b'"a":[' * 31 + b"{}" + b"]" * 31 + b"}")
def test_json_is_read_exactly_where_it_is_strict(data: bytes) -> None:
    """The fast way agrees with the slow definition on what passes and on what it means."""
    try:
        expected = strictly(data)
    except Refused:
        with pytest.raises(NotStrict):
            parse_json_object(data)
    else:
        assert same(parse_json_object(data), expected)


@given(documents() | st.binary(max_size=40))
def test_the_slow_way_is_strict_on_its_own(data: bytes) -> None:
    """Depth aside, which is looked at after either way, it needs no other parser's approval."""
    try:
        expected = repr(strictly(data, max_depth=10**9))
    except Refused:
        expected = "refused"
    try:
        found = repr(encoding._parse_spelled_freely(data))
    except (ValueError, RecursionError):
        found = "refused"
    assert found == expected


@given(objects)
def test_every_spelling_means_the_same(value: dict[str, Any]) -> None:
    """Spaced, indented, escaped or compact."""
    spellings = [
        json.dumps(value, ensure_ascii=is_ascii, indent=indent, separators=separators)
        for is_ascii in (True, False)
        for indent in (None, 2)
        for separators in ((",", ":"), (" , ", " : "))
    ]
    meanings = set()
    for text in spellings:
        try:
            meanings.add(repr(parse_json_object(text.encode("utf-8", "surrogatepass"))))
        except NotStrict:
            meanings.add("refused")
    assert len(meanings) == 1


# Tokens -------------------------------------------------------------------------------------------


@given(tokens)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but TokenMalformed and SignatureInvalid comes out."""
    try:
        token = UnverifiedToken.parse(text)
        header = token.header()
    except TokenMalformed:
        return
    assert text.count(".") == 2
    for alg in (header.alg, *ALGORITHMS):
        with pytest.raises(SignatureInvalid):
            verify_signature(
                token,
                JoseHeader(alg=alg, kid=header.kid, typ=header.typ),
                [verification_key(cheap) for cheap in CHEAP],
            )


@given(st.none() | st.integers() | st.binary() | st.lists(st.text()))
def test_anything_else_is_refused(value: Any) -> None:
    """A token is a str."""
    with pytest.raises(TokenMalformed):
        UnverifiedToken.parse(value)


@given(st.sampled_from(CHEAP), objects, st.text(max_size=20), st.text(max_size=20))
def test_what_is_signed_is_read(alg: str, claims: dict[str, Any], kid: str, typ: str) -> None:
    """Any claims that JSON can hold strictly come back, with any key id and any type."""
    try:
        expected = strictly(json.dumps(claims, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    except Refused:
        return
    text = signer(alg).sign({"kid": kid, "typ": typ}, claims)
    token = UnverifiedToken.parse(text)
    signed = verify_signature(token, token.header(), [verification_key(alg)])
    assert same(signed.claims, expected)
    assert signed.header == JoseHeader(alg=alg, kid=kid, typ=typ)
    assert token.issuer == (claims["iss"] if isinstance(claims.get("iss"), str) else None)


@given(st.sampled_from(CHEAP), st.data())
def test_a_changed_token_is_never_accepted(alg: str, data: st.DataObject) -> None:
    """One character replaced, removed or added, anywhere."""
    text = signer(alg).sign({"typ": "JWT"}, {"iss": "a", "sub": "b"})
    place = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.sampled_from(["", *ALPHABET, ".", "=", text[place] * 2]))
    changed = text[:place] + new + text[place + 1 :]
    if changed == text:
        return
    try:
        token = UnverifiedToken.parse(changed)
        header = token.header()
    except TokenMalformed:
        return
    with pytest.raises(SignatureInvalid):
        verify_signature(token, header, [verification_key(alg)])


# Keys ---------------------------------------------------------------------------------------------

odd_members = st.dictionaries(
    st.sampled_from(
        ["kty", "crv", "n", "e", "x", "y", "k", "d", "kid", "alg", "use", "key_ops", "x5c", "oth"]
    ),
    st.sampled_from(
        ["RSA", "EC", "OKP", "oct", "P-256", "P-521", "Ed25519", "Ed448", "sig", "AQAB", "AA", "",
         "!", None, 0, ["verify"], ["verify", "verify"], [[]], {}, "RS256", "A" * 43, "_" * 342]
    )
    | st.binary(max_size=70).map(encode_base64url)
    | values,
    max_size=5,
)  # fmt: skip


@given(st.sampled_from([*CHEAP, "ES512", "Ed448"]), odd_members, st.sets(st.sampled_from("nexyk")))
def test_any_key_is_imported_or_unusable(
    alg: str, changes: dict[str, Any], removed: set[str]
) -> None:
    """Nothing but UnusableKey comes out, and what comes in keeps the floors."""
    members = {name: v for name, v in signer(alg).jwk().items() if name not in removed}
    try:
        jwk = JWK({**members, **changes})
        key = jwk.verification_key(KeyLease(0.0))
    except UnusableKey:
        return
    assert key.algorithms <= ALGORITHMS.keys()
    assert {ALGORITHMS[name].kty for name in key.algorithms} == {key._key.key_type}
    assert len(key.thumbprint) == 43
    if key._key.key_type == "RSA":
        assert 2048 <= key._key.raw_value.key_size <= 8192


@given(
    documents()
    | st.binary(max_size=40)
    | st.lists(odd_members | values, max_size=4).map(
        lambda keys: json.dumps({"keys": keys}).encode("utf-8")
    )
)
def test_any_key_set_is_read_or_refused(data: bytes) -> None:
    """Nothing but NotStrict comes out of a set, nothing but UnusableKey of its keys."""
    try:
        keys = parse_jwk_set(data)
    except NotStrict:
        return
    for key in keys:
        assert key.algorithms
        try:
            key.verification_key(KeyLease(0.0))
        except UnusableKey:
            continue


# At any stack depth -------------------------------------------------------------------------------


def with_frames_left(frames: int, action: Callable[[], object]) -> object:
    """Calls it where only so many calls within calls are left to the interpreter."""

    def depth_left(level: int = 0) -> int:
        try:
            return depth_left(level + 1)
        except RecursionError:
            return level

    def descend(levels: int) -> object:
        return action() if levels <= 0 else descend(levels - 1)

    return descend(depth_left() - frames)


STACK_TOKENS = {
    "good": (b'{"alg":"HS256"}', b'{"iss":"a","n":[1.5,true,null,100000000000000000000]}'),
    "spaced": (b'{ "alg": "HS256" }', b'{ "iss" : "a", "n" : { "b": [ [ 1 ] ] } }'),
    "nested": (b'{"alg":"HS256"}', b'{"a": ' + b"[" * 31 + b"]" * 31 + b"}"),
    "too deep": (b"[" * 383, b'{"a":' + b"[" * 5000),
    "too deep, closed": (b"{}", b'{"a": ' + b"[ " * 150 + b"]" * 150 + b"}"),
    "duplicate": (b'{"alg":"a","alg":"b"}', b'{"a":1,"a":1}'),
    "surrogate": (b'{"alg":"\\ud800"}', b'{"a":"\\ud800"}'),
    "no JSON": (b"\xff", b"\xff"),
    "no algorithm": (b"{}", b"{}"),
}  # fmt: skip


@pytest.mark.parametrize("frames", [*range(8, 60, 2), 100, 400])
@pytest.mark.parametrize("name", STACK_TOKENS)
def test_a_token_is_read_or_refused_at_any_stack_depth(name: str, frames: int) -> None:
    """A caller that has all but used up the stack gets an answer of the family as well."""
    header, payload = (encode_base64url(part) for part in STACK_TOKENS[name])
    keys = [verification_key("HS256")]

    def check() -> str:
        token = None
        try:
            token = UnverifiedToken.parse(f"{header}.{payload}.AAAA")
        except TokenMalformed:
            token = UnverifiedToken.parse(f"{header}.e30.AAAA")
        try:
            verify_signature(token, token.header(), keys)
        except (TokenMalformed, SignatureInvalid):
            return "refused"
        return "accepted"

    assert with_frames_left(frames, check) == "refused"


@pytest.mark.parametrize("frames", [*range(8, 60, 2), 100, 400])
def test_a_good_token_needs_little_of_the_stack(frames: int) -> None:
    """Compact JSON is read on a few frames, however much of it there is."""
    text = signer("HS256").sign({}, {"iss": "a", "a": [[[[{"b": [[[1]]]}]]]]})
    assert isinstance(
        with_frames_left(frames, lambda: UnverifiedToken.parse(text)), UnverifiedToken
    )


@pytest.mark.parametrize("frames", [*range(7, 30), 100, 400])
@pytest.mark.parametrize(
    "data",
    [
        b'{"keys":[{"kty":"oct","k":"%s"}]}' % (b"A" * 43),
        b'{ "keys" : [{}] }',
        b'{"keys":' + b"[" * 900,
    ],
    ids=["good", "spaced", "too deep"],
)
def test_a_key_set_is_read_or_refused_at_any_stack_depth(data: bytes, frames: int) -> None:
    """Keys are skipped, sets refused; nothing comes out but that there is no room to import one."""

    def check() -> bool:
        try:
            for key in parse_jwk_set(data):
                key.verification_key(KeyLease(0.0))
        except (NotStrict, UnusableKey, RecursionError):
            return False
        return True

    assert with_frames_left(frames, check) in (True, False)
