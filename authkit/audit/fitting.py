"""Makes whatever stands in a record fit for an event: strict JSON, and bounded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from itertools import islice
from math import isfinite
from typing import Final, get_args

from authkit.interfaces import Outcome

__all__ = [
    "LEFT_OUT",
    "MAX_DATA",
    "MAX_NAME",
    "MAX_REQUEST_TEXT",
    "MAX_TEXT",
    "Value",
    "fit_data",
    "fit_hash",
    "fit_name",
    "fit_outcome",
    "fit_request_text",
    "fit_text",
    "fit_time",
]

Value = str | int | float | bool | None

MAX_TEXT: Final = 1024
"""Characters of an issuer, a subject, a client, or a text in the data; more are cut off."""

MAX_NAME: Final = 128
"""Characters of a type, a code, or the name of a member of the data."""

MAX_DATA: Final = 32
"""Members of the data; of more, the first ones stand."""

LEFT_OUT: Final = "members_left_out"
"""The member of the data that says how many more there were."""

MAX_REQUEST_TEXT: Final = 128
"""Longer than any address, UUID or trace context; shorter than any signed token."""

# Readers that know only doubles would read another number beyond this (RFC 8785 section 3.2.2.3).
_MAX_EXACT_INT: Final = 2**53 - 1
_OUTCOMES: Final = frozenset(get_args(Outcome))
_is_sha256 = re.compile(r"[0-9a-f]{64}").fullmatch


def fit_text(value: object, most: int = MAX_TEXT) -> str | None:
    """A text, of at most so many characters, or its beginning and its hash; None stays None.

    What is cut ends in `...sha256:` and the hex SHA-256 of the whole text in UTF-8, so that two
    texts never look alike, and the whole one can be recognised.  It is longer than any text that
    is not cut, so that none can pass for the other.
    """
    if value is None or (type(value) is str and len(value) <= most and value.isascii()):
        return value
    if not isinstance(value, str):
        # Named by its type, never by its content.
        value = f"<{type(value).__name__}>"
    # Lone surrogates would fail at the first sink that encodes them (RFC 8259 section 8.2).
    encoded = value.encode("utf-8", "backslashreplace")
    text = encoded.decode()
    if len(text) <= most:
        return text
    return f"{text[:most]}...sha256:{sha256(encoded).hexdigest()}"


def fit_name(value: object) -> str:
    """A text of at most MAX_NAME characters, cut as `fit_text` does it, and never empty."""
    return fit_text(value, MAX_NAME) or f"<{type(value).__name__}>"


def fit_request_text(value: object) -> str | None:
    """Text that a request may have brought along: bounded, and too short to hold a signed token."""
    text = fit_text(value, MAX_REQUEST_TEXT)
    if text is None or len(text) <= MAX_REQUEST_TEXT:
        return text
    # Not a character of it: it may be a token by mistake.
    return text[MAX_REQUEST_TEXT + len("...") :]


def fit_hash(value: object) -> str | None:
    """A hex SHA-256; whatever else is given is hashed."""
    if value is None:
        return None
    if type(value) is str and _is_sha256(value):
        return value
    text = value if isinstance(value, str) else f"<{type(value).__name__}>"
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def fit_time(value: float) -> float:
    """A time that JSON has a number for; 0 for a broken clock's."""
    return float(value) if isfinite(value) else 0.0


def fit_outcome(value: Outcome) -> Outcome:
    """One of the outcomes that there are; `unavailable` for anything else."""
    return value if isinstance(value, str) and value in _OUTCOMES else "unavailable"


def fit_data(data: Mapping[str, object] | None) -> dict[str, Value]:
    """The data with names and values that fit; of more than MAX_DATA, the first ones."""
    if not data:
        return {}
    if len(data) <= MAX_DATA:
        return {fit_name(name): _fit_value(value) for name, value in data.items()}
    first = islice(data.items(), MAX_DATA)
    fit: dict[str, Value] = {fit_name(name): _fit_value(value) for name, value in first}
    return fit | {LEFT_OUT: len(data) - MAX_DATA}


def _fit_value(value: object) -> Value:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= _MAX_EXACT_INT else fit_text(hex(value))
    if isinstance(value, float):
        return float(value) if isfinite(value) else str(float(value))
    return fit_text(value)
