"""Two parsers, two meanings: what one checks is not what the other uses.

Would have caught: the class of CVE-2017-12635 (duplicate names: the last wins here, the first
there), and the crashes that NaN, infinities and lone surrogates cause behind a lenient parser (RFC
8725 section 3.7, RFC 7515 section 4, RFC 7519 section 4).
"""

from __future__ import annotations

import json

import pytest

from authkit.errors import TokenMalformed
from authkit.jose.encoding import NotStrict
from authkit.jose.jwk import parse_jwk_set
from tests.attacks.forging import CLAIMS, signer, verify

BODIES = {
    "duplicate": '{"%s":"%s","x":1,"x":2}',
    "duplicate by escape": '{"%s":"%s","x":1,"\\u0078":2}',
    "duplicate of the first": '{"%s":"%s","alg":"none","iss":"https://evil.example","alg":"none","iss":"e"}',
    "duplicate within": '{"%s":"%s","cnf":{"jkt":"a","jkt":"b"}}',
    "duplicate deep within": '{"%s":"%s","a":[[{"b":[{"c":1,"c":1}]}]]}',
    "NaN": '{"%s":"%s","exp":NaN}',
    "Infinity": '{"%s":"%s","exp":Infinity}',
    "minus Infinity": '{"%s":"%s","nbf":-Infinity}',
    "overflow": '{"%s":"%s","exp":1e400}',
    "long integer": '{"%s":"%s","exp":1' + "0" * 308 + "}",
    "lone surrogate": '{"%s":"%s","sub":"\\ud800"}',
    "lone surrogate as a name": '{"%s":"%s","\\udfff":1}',
    "reversed surrogates": '{"%s":"%s","sub":"\\ude00\\ud83d"}',
    "comment": '{"%s":"%s"/*,"x":1*/}',
    "trailing comma": '{"%s":"%s",}',
    "single quotes": "{'%s':'%s'}",
    "two objects": '{"%s":"%s"}{"x":1}',
    "trailing null": '{"%s":"%s"}\0',
    "leading zero": '{"%s":"%s","exp":01}',
    "hexadecimal": '{"%s":"%s","exp":0x7fffffff}',
    "raw newline": '{"%s":"%s","sub":"a\nb"}',
    "array": '[{"%s":"%s"}]',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_ambiguous_claims_are_refused(body: str) -> None:
    """Though genuinely signed: an issuer can be made to sign what it does not read the same way."""
    claims = (body % ("iss", CLAIMS["iss"])).encode()
    with pytest.raises(TokenMalformed):
        verify(signer("ES256").sign({}, claims), signer("ES256").public_jwk())


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_ambiguous_header_is_refused(body: str) -> None:
    """The algorithm that is checked must be the algorithm that is used."""
    header = (body % ("alg", "ES256")).encode()
    with pytest.raises(TokenMalformed):
        verify(signer("ES256").sign(header, CLAIMS), signer("ES256").public_jwk())


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_ambiguous_key_set_is_refused(body: str) -> None:
    """It is a document as any other: what it publishes must be one thing."""
    key = (body % ("kty", "RSA")).encode()
    with pytest.raises(NotStrict):
        parse_jwk_set(b'{"keys":[' + key + b',{"kty":"RSA"}],"keys":[]}')
    if not body.startswith("["):
        with pytest.raises(NotStrict):
            parse_jwk_set(b'{"keys":[' + key + b"]}")


@pytest.mark.parametrize(
    "codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"]
)
def test_other_encodings_are_refused(codec: str) -> None:
    """A parser that guesses the encoding reads what a filter in front of it did not."""
    text = json.dumps({**CLAIMS, "sub": "ännä~"}, ensure_ascii=False)
    with pytest.raises(TokenMalformed):
        verify(signer("ES256").sign({}, text.encode(codec) + b"\n"), signer("ES256").public_jwk())


@pytest.mark.parametrize("octets", [b"\xed\xa0\x80", b"\xc0\xaf", b"\xc0\x80", b"\xf5\x80\x80\x80"])
def test_utf_8_that_is_none_is_refused(octets: bytes) -> None:
    """Encoded surrogates, overlong forms and what lies beyond Unicode."""
    claims = b'{"sub":"' + octets + b'"}'
    with pytest.raises(TokenMalformed):
        verify(signer("ES256").sign({}, claims), signer("ES256").public_jwk())


def test_unusual_but_clear_json_passes() -> None:
    """Strict is not narrow: whitespace, escapes, exponents, any Unicode, names in any order."""
    claims = (
        b' {\r\n\t"exp" : 4.0e9, "\\u0069ss":"https:\\/\\/login.example.com",'
        b'"sub":"\\ud83d\\ude00 \xf0\x9f\x98\x80 \\u0000","":[],"x":{"":{"":null}},"n":-0} '
    )
    signed = verify(signer("ES256").sign({}, claims), signer("ES256").public_jwk())
    assert signed.claims["iss"] == CLAIMS["iss"]
    assert signed.claims["sub"] == "😀 😀 \0"
    assert signed.claims["exp"] == 4_000_000_000
