"""Strict base64url and strict JSON: one text, one meaning, or a refusal."""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from math import isfinite
from typing import Any, Final, NoReturn, cast

from pydantic_core import SchemaValidator, core_schema, from_json, to_json

__all__ = ["NotStrict", "decode_base64url", "encode_base64url", "parse_json_object"]


class NotStrict(ValueError):
    """The input is not in the one form that is accepted.  The message never holds a part of it."""


# base64url (RFC 7515 section 2) -------------------------------------------------------------------

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# By length modulo 4: the last characters whose unused bits are zero (RFC 4648 section 3.5).
_CANONICAL_TAILS: Final = (
    frozenset(("", *_ALPHABET)),
    frozenset[str](),
    frozenset(_ALPHABET[::16]),
    frozenset(_ALPHABET[::4]),
)
# Several times faster than binascii, and it refuses what is of neither alphabet.  The cast: its
# annotation leaves out the plain string that its documentation is about.
_decode: Final = cast(
    "Callable[[str], bytes]",
    SchemaValidator(
        core_schema.bytes_schema(),
        config=core_schema.CoreConfig(val_json_bytes="base64", hide_input_in_errors=True),
    ).validate_strings,
)
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")


def decode_base64url(text: str) -> bytes:
    """Decodes the one canonical spelling of some bytes.

    Only the alphabet of RFC 4648 section 5 is taken: no padding, no whitespace, no line
    breaks, and no unused bits that are not zero (RFC 4648 section 3.5), so that no other
    text decodes to the same bytes.

    Raises:
        NotStrict: the text is not of that form.
    """
    # The decoder itself would take padding, and the alphabet of standard base64.
    if "=" in text or "+" in text or "/" in text:
        raise NotStrict("not base64url")
    if text[-1:] not in _CANONICAL_TAILS[len(text) & 3]:
        raise NotStrict("not canonical base64url")
    try:
        return _decode(text)
    except ValueError:
        raise NotStrict("not base64url") from None


def encode_base64url(data: bytes) -> str:
    """The canonical base64url text of `data`, without padding (RFC 7515 section 2)."""
    text = binascii.b2a_base64(data, newline=False).translate(_TO_URL)
    return text.rstrip(b"=").decode("ascii")


# JSON (RFC 8259, as RFC 7515 section 4 and RFC 7519 section 4 narrow it) --------------------------

# Every integer of so many digits is finite as a double too, so arithmetic with it cannot overflow.
_MAX_DIGITS: Final = 308
_DIGITS_TO_ZERO: Final = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))
_STEP: Final = (_MAX_DIGITS + 1) // 4
_SAMPLES: Final = slice(_STEP - 1, None, _STEP)


# The first call of all imports what it needs, and panics where the stack is too full for that.
to_json({})


def parse_json_object(
    data: bytes, *, max_depth: int = 32, max_containers: int = 1_000
) -> dict[str, Any]:
    """Parses a JSON object that has one meaning to every parser.

    UTF-8 without a byte order mark; no name twice in any object, however it is escaped;
    no NaN, Infinity, or number beyond the range of a double; integers of at most 308
    digits; no lone surrogates; nothing nested deeper than `max_depth`, the object itself
    being the first level; about `max_containers` objects and arrays in all, brackets in
    strings included, because each costs far more time and memory than the two bytes it takes.

    Raises:
        NotStrict: the data is not such an object.
    """
    value: dict[str, Any]
    containers = data.count(b"{") + data.count(b"[")
    if containers > max_containers:
        raise NotStrict("JSON of too many parts")
    try:
        value = from_json(data, allow_inf_nan=False, cache_strings="keys")
        if type(value) is not dict:
            raise NotStrict("not a JSON object")
        # Written again from what was understood and equal byte for byte: then no name was dropped
        # as a duplicate and no number was changed.  Only long integers survive that: their digits
        # hold four neighbouring samples at least, so a few bytes tell most documents from them.
        # (By `find`, which is twice as fast for bytes as `in`.)
        if to_json(value) != data or data[_SAMPLES].translate(_DIGITS_TO_ZERO).find(b"0000") >= 0:
            value = _parse_spelled_freely(data)
        if containers > max_depth and _is_deeper(value, max_depth):
            raise NotStrict("JSON nested too deeply")
        return value
    except NotStrict:
        raise
    except (ValueError, RecursionError):
        raise NotStrict("not strict JSON") from None


def _parse_spelled_freely(data: bytes) -> dict[str, Any]:
    """The same for any spelling: whitespace, escapes, exponents.  Slower, and strict on its own."""
    value: dict[str, Any] = _DECODER.decode(data.decode("utf-8"))
    if type(value) is not dict:
        raise NotStrict("not a JSON object")
    if b"\\u" in data:
        to_json(value)  # a lone surrogate, which only an escape can bring in, cannot be written
    return value


def _is_deeper(value: dict[str, Any], max_depth: int) -> bool:
    level: list[Any] = [value]
    for _ in range(max_depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrict("a JSON object with a duplicate name")
    return members


def _bounded_int(text: str) -> int:
    if len(text) > _MAX_DIGITS and len(text.lstrip("-")) > _MAX_DIGITS:
        raise NotStrict("a JSON number out of range")
    return int(text)


def _finite_float(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise NotStrict("a JSON number out of range")
    return value


def _no_constant(text: str) -> NoReturn:
    raise NotStrict("a JSON number that is not finite")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique_members,
    parse_int=_bounded_int,
    parse_float=_finite_float,
    parse_constant=_no_constant,
)
