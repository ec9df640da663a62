"""What is sealed is read as it was written, and nothing else is read at all."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authkit.errors import ConfigurationError
from authkit_redis.shared_keys.seal import MAX_BODY_BYTES, Note, NotOurs, Record, Seal

SECRET = b"a secret of the fleet's own"
ISSUER, ADDRESS = "https://login.example.com", "https://login.example.com/keys"
SEAL = Seal(SECRET, ISSUER, ADDRESS)
RECORD = Record(
    asked_ms=1_800_000_000_000,
    wall_ms=1_800_000_000_500,
    fresh_seconds=600.0,
    etag='"1"',
    body=b'{"keys":[]}',
)
NOTE = Note(failed_ms=1_800_000_000_000, wall_ms=1_800_000_000_500)


def changed(**changes: Any) -> Record:
    given = {
        "asked_ms": RECORD.asked_ms,
        "wall_ms": RECORD.wall_ms,
        "fresh_seconds": RECORD.fresh_seconds,
        "etag": RECORD.etag,
        "body": RECORD.body,
    }
    return Record(**{**given, **changes})


def resealed(payload: bytes) -> bytes:
    """A payload with a seal that fits, as only a faulty version of ours would make it."""
    return SEAL._sealed(b"key set", payload)


@given(
    asked_ms=st.integers(0, 2**53 - 1),
    wall_ms=st.integers(0, 2**53 - 1),
    fresh_seconds=st.floats(0, 1e9),
    etag=st.none() | st.text(st.characters(codec="utf-8"), max_size=50),
    body=st.binary(max_size=200),
)
def test_a_record_is_read_as_it_was_sealed(**members: Any) -> None:
    """Every member; an empty entity tag is not none at all."""
    record = Record(**members)
    assert SEAL.open_record(SEAL.record(record)) == record


@given(data=st.data())
def test_a_changed_bit_is_found(data: st.DataObject) -> None:
    """Wherever it is, in the seal too."""
    sealed = bytearray(SEAL.record(RECORD))
    position = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[position // 8] ^= 1 << position % 8
    with pytest.raises(NotOurs):
        SEAL.open_record(bytes(sealed))


@given(junk=st.binary(max_size=200))
def test_anything_else_is_not_ours(junk: bytes) -> None:
    """Whatever is read, the answer is the same error."""
    for read in (SEAL.open_record, SEAL.open_note):
        with pytest.raises(NotOurs):
            read(junk)


@pytest.mark.parametrize(
    "other",
    [
        Seal(b"another secret of 16 bytes", ISSUER, ADDRESS),
        Seal(None, ISSUER, ADDRESS),
        Seal(SECRET, ADDRESS, ISSUER),
        Seal(SECRET, ISSUER + "h", ADDRESS[1:]),
        Seal(SECRET, ISSUER, ADDRESS + "/"),
    ],
    ids=["secret", "no-secret", "swapped", "shifted", "address"],
)
def test_a_seal_holds_for_one_secret_issuer_and_address(other: Seal) -> None:
    """A record or a note of any other is not ours."""
    with pytest.raises(NotOurs):
        SEAL.open_record(other.record(RECORD))
    with pytest.raises(NotOurs):
        SEAL.open_note(other.note(NOTE))


def test_a_seal_holds_for_one_purpose() -> None:
    """A note is no record, and a record no note."""
    with pytest.raises(NotOurs):
        SEAL.open_record(SEAL.note(NOTE))
    with pytest.raises(NotOurs):
        SEAL.open_note(SEAL.record(RECORD))
    assert SEAL.open_note(SEAL.note(NOTE)) == NOTE


@pytest.mark.parametrize(
    "changes",
    [
        {"asked_ms": -1},
        {"asked_ms": 2**53},
        {"wall_ms": -1},
        {"wall_ms": 2**53},
        {"fresh_seconds": -1.0},
        {"fresh_seconds": math.nan},
        {"fresh_seconds": math.inf},
        {"body": b"x" * (MAX_BODY_BYTES + 1)},
        {"etag": "x" * 0xFFFF},
        {"etag": "\ud800"},
    ],
    ids=lambda changes: ascii(changes)[:30],
)
def test_what_cannot_be_meant_is_not_sealed(changes: dict[str, Any]) -> None:
    """A ValueError, and nothing that another process would refuse."""
    with pytest.raises(ValueError):  # noqa: PT011 (any of them will do)
        SEAL.record(changed(**changes))


@pytest.mark.parametrize(
    ("members", "rest"),
    [
        ((2, 1, 1, 1.0, 0, 2), b"{}"),
        ((1, 2**60, 1, 1.0, 0, 2), b"{}"),
        ((1, 1, 2**60, 1.0, 0, 2), b"{}"),
        ((1, 1, 1, math.inf, 0, 2), b"{}"),
        ((1, 1, 1, -1.0, 0, 2), b"{}"),
        ((1, 1, 1, 1.0, 0, 3), b"{}"),
        ((1, 1, 1, 1.0, 0, 1), b"{}"),
        ((1, 1, 1, 1.0, 9, 2), b"{}"),
        ((1, 1, 1, 1.0, 1, 2), b"\xff{}"),
        ((1, 1, 1, 1.0, 0, MAX_BODY_BYTES + 1), b"x" * (MAX_BODY_BYTES + 1)),
    ],
)
def test_what_cannot_be_meant_is_not_read(members: tuple[Any, ...], rest: bytes) -> None:
    """Not even with a seal that fits."""
    with pytest.raises(NotOurs):
        SEAL.open_record(resealed(struct.pack(">BQQdHI", *members) + rest))


@pytest.mark.parametrize("payload", [struct.pack(">BQQ", 2, 1, 1), b"", b"\x01", b"\x01" * 18])
def test_an_odd_note_is_not_read(payload: bytes) -> None:
    """Another version, or another length."""
    with pytest.raises(NotOurs):
        SEAL.open_note(SEAL._sealed(b"failed attempt", payload))


def test_without_a_secret_damage_is_found() -> None:
    """It is a checksum then: what was cut off or mixed up is noticed."""
    seal = Seal(None, ISSUER, ADDRESS)
    sealed = seal.record(RECORD)
    assert seal.open_record(sealed) == RECORD
    with pytest.raises(NotOurs):
        seal.open_record(sealed[:-1])


def test_a_short_secret_is_refused() -> None:
    """As everywhere."""
    with pytest.raises(ConfigurationError, match="at least 16 bytes"):
        Seal(b"short", ISSUER, ADDRESS)
