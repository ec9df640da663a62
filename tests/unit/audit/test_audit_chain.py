"""The hash chain, computed here a second time from its description."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authkit.audit import canonical_json, chain_event
from authkit.interfaces import AuditEvent

KEY = bytes(range(32))
EVENT = AuditEvent(
    schema=1,
    producer="p",
    sequence=1,
    time=1_800_000_000.0,
    type="token.verified",
    outcome="refused",
    code="token_expired",
    issuer="https://login.example.com",
    subject=None,
    client_id=None,
    token_hash="ab" * 32,
    key_thumbprint=None,
    client_address="192.0.2.1",
    request_id='with "quotes"\n and é \u2028',
    trace_id=None,
    data={"reason": "expired", "claim": "exp", "is_last": True, "n": 3, "share": 0.25, "no": None},
)


def test_the_chain_value_is_what_its_description_says() -> None:
    """Another program finds the same value from the documented formula alone."""
    members = {name: value for name, value in asdict(EVENT).items() if name != "chain"}
    members["time"] = int(members["time"])  # the only number here that JSON writers spell otherwise
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical_json(EVENT) == text.encode()
    previous = "cd" * 32
    expected = hashlib.blake2b(previous.encode("ascii") + text.encode(), digest_size=32, key=KEY)
    assert chain_event(KEY, previous, EVENT) == expected.hexdigest()


def test_the_chain_value_of_a_known_event_never_changes() -> None:
    """A trail that was written by an earlier version can still be verified."""
    assert chain_event(KEY, "", EVENT) == (
        "be4bfb8adb184701505e6337ddac04ec4a31c6795745cdefca8d0743fa902b85"
    )


# RFC 8785, appendix B: the double's bits and its text.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_are_written_as_rfc_8785_writes_them(bits: str, text: str) -> None:
    """The examples of RFC 8785 appendix B come out as printed there."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    written = canonical_json(replace(EVENT, data={"n": number}))
    assert f'"data":{{"n":{text}}}'.encode() in written


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_back_as_the_same_number(number: float) -> None:
    """No spelling loses precision."""
    assert float(json.loads(canonical_json(replace(EVENT, time=number)))["time"]) == number


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_lacks_is_refused(number: float) -> None:
    """A chain over something that no reader could repeat would be worthless."""
    with pytest.raises(ValueError, match="not finite"):
        canonical_json(replace(EVENT, time=number))


def test_names_are_sorted_by_utf16_units() -> None:
    """RFC 8785 section 3.2.3: a character beyond the basic plane sorts by its surrogates."""
    names = ["\U0001f600", "\ufb33", "é", "1", "\r"]
    written = canonical_json(replace(EVENT, data=dict.fromkeys(names)))
    assert list(json.loads(written)["data"]) == ["\r", "1", "é", "\U0001f600", "\ufb33"]


def test_text_that_is_not_unicode_has_a_chain_value_too() -> None:
    """Checking an event that no trail made ends in an answer, not in an encoding error."""
    assert chain_event(KEY, "", replace(EVENT, subject="\ud800")) != chain_event(KEY, "", EVENT)


def test_the_chain_depends_on_key_and_previous_value_but_not_on_itself() -> None:
    """Without the key nobody can continue the chain, and no event can change its place."""
    value = chain_event(KEY, "", EVENT)
    assert value != chain_event(bytes(32), "", EVENT)
    assert value != chain_event(KEY, value, EVENT)
    assert value == chain_event(KEY, "", replace(EVENT, chain=value))


CHANGES: list[dict[str, Any]] = [
    {"sequence": 2},
    {"producer": "q"},
    {"time": 1_800_000_000.5},
    {"outcome": "accepted"},
    {"code": None},
    {"issuer": None},
    {"subject": "alice"},
    {"client_id": ""},
    {"token_hash": "ac" * 32},
    {"client_address": "192.0.2.2"},
    {"data": {**EVENT.data, "n": "3"}},
]


@pytest.mark.parametrize("change", CHANGES, ids=[next(iter(change)) for change in CHANGES])
def test_any_change_of_an_event_changes_its_chain_value(change: dict[str, Any]) -> None:
    """An edited event does not fit its chain value any more."""
    assert chain_event(KEY, "", replace(EVENT, **change)) != chain_event(KEY, "", EVENT)
