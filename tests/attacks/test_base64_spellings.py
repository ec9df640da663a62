"""One signature, many texts: whoever lists tokens by their text is passed by another spelling.

Would have caught the class of deny lists and caches that are passed by a respelled token: padding,
unused bits, whitespace and the standard alphabet, which lenient decoders take (RFC 4648 sections
3.1, 3.3 and 3.5, RFC 7515 section 2).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from authkit.errors import TokenMalformed
from authkit.jose.encoding import encode_base64url
from tests.attacks.forging import CLAIMS, attacker, segment, signer, verify

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def spellings(text: str) -> Iterator[str]:
    """Other texts that a lenient decoder reads as the same bytes."""
    yield text + "=" * (-len(text) % 4 or 4)
    yield text + "="
    for odd in ("\n", "\r\n", " ", "\t", "\0", "\v", "%3D", "\u200b", "\ufeff", "!", "#", "?"):
        yield text + odd
        yield odd + text
        yield text[:2] + odd + text[2:]
    if "-" in text or "_" in text:
        yield text.replace("-", "+").replace("_", "/")
    if len(text) % 4:
        unused = 16 if len(text) % 4 == 2 else 4
        last = ALPHABET.index(text[-1])
        for bits in range(1, unused):
            yield text[:-1] + ALPHABET[last + bits]
    yield text[:4] + "\u0131" + text[5:]  # folds to "i" or "I"
    yield "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in text)  # fullwidth


@pytest.mark.parametrize("part", [0, 1, 2], ids=["header", "payload", "signature"])
@pytest.mark.parametrize("alg", ["HS256", "RS256", "ES256", "EdDSA"])
def test_a_token_has_one_text(alg: str, part: int) -> None:
    """A genuine token passes as it was issued, and in no other spelling of the same bytes."""
    key = signer(alg)
    for filler in ("", "x", "xx"):  # so that each length modulo 4 comes up
        text = key.sign({"x": filler + "~~"}, {**CLAIMS, "x": filler + "??>>"})
        assert verify(text, key.jwk())
        segments = text.split(".")
        for other in spellings(segments[part]):
            with pytest.raises(TokenMalformed):
                verify(".".join([*segments[:part], other, *segments[part + 1 :]]), key.jwk())


@pytest.mark.parametrize("part", [0, 1], ids=["header", "payload"])
def test_a_signed_misspelling_is_refused_too(part: int) -> None:
    """Even where the issuer itself signed the odd text: its meaning would depend on the reader."""
    key = signer("HS256")
    good = [segment({"alg": "HS256", "kid": key.kid}), segment(dict(CLAIMS))]
    for other in spellings(good[part]):
        if not other.isascii():
            continue
        signing_input = ".".join(other if place == part else good[place] for place in (0, 1))
        tag = key._algorithm.sign(signing_input.encode(), key._key)
        with pytest.raises(TokenMalformed):
            verify(f"{signing_input}.{encode_base64url(tag)}", key.jwk())


def test_other_serializations_are_no_tokens() -> None:
    """JSON serializations, a data URL, a scheme in front, quotes around: nothing is peeled off."""
    text = signer("ES256").sign({}, CLAIMS)
    header, payload, signature = text.split(".")
    flat = {"protected": header, "payload": payload, "signature": signature}
    for other in (
        json.dumps(flat),
        json.dumps({"payload": payload, "signatures": [flat]}),
        f'"{text}"',
        f"Bearer {text}",
        f"{text},{attacker('ES256').sign({}, CLAIMS)}",
        f"data:,{text}",
        f"{text}#x",
        f"{text}.",
        f".{text}",
        text.replace(".", "%2E"),
        text.replace(".", "\uff0e"),
        text.replace(".", "\u3002"),
    ):
        with pytest.raises(TokenMalformed):
            verify(other, signer("ES256").public_jwk())
