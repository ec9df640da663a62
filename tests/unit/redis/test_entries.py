"""What is written to the log is read as it was meant, and nothing else is."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authkit.interfaces import Revocation, RevocationScope
from authkit_redis.revocations.digests import DIGEST_BYTES, SCOPE_NUMBERS, issuer_tag
from authkit_redis.revocations.entries import (
    NO_ENTRY,
    Entry,
    NotAnEntry,
    entry_of,
    is_before,
    lifting_of,
    pack_id,
    scope_of,
    unpack,
    unpack_value,
)

UNTIL = {RevocationScope.SUBJECT, RevocationScope.CLIENT, RevocationScope.ISSUER}
STREAM_IDS = st.tuples(st.integers(0, 2**48 - 1), st.integers(0, 2**32 - 1))
STAMPS = st.integers(0, 2**48 - 1)
ENDS = st.integers(0, 2**32 - 1)


@st.composite
def revocations(draw: st.DrawFn) -> Revocation:
    """Any, with its fields filled in."""
    scope = draw(st.sampled_from(RevocationScope))
    return Revocation(
        scope=scope,
        issuer=draw(st.text(min_size=1, max_size=20)),
        id="" if scope is RevocationScope.ISSUER else draw(st.text(min_size=1, max_size=20)),
        issued_until=draw(st.floats(0, 4e9)) if scope in UNTIL else None,
        minimum_version=(
            draw(st.integers(-(2**63), 2**63 - 1)) if scope is RevocationScope.VERSION else None
        ),
        expires_at=draw(st.floats(0, 4e9)),
    )


def packed(entry: Entry, before: bytes = NO_ENTRY) -> bytes:
    """As the script writes it."""
    stamp = entry.stamp.to_bytes(6, "big")
    return (
        entry.what
        + struct.pack(">I", entry.expires_at)
        + pack_id(before)
        + stamp
        + entry.packed_value
    )


def digest_of(scope: RevocationScope) -> bytes:
    """One that begins as those of the scope do."""
    return bytes([SCOPE_NUMBERS[scope]]).ljust(DIGEST_BYTES, b"d")


@given(revocations(), st.sampled_from(RevocationScope), st.booleans())
def test_a_digest_of_another_scope_makes_no_entry(
    revocation: Revocation, other: RevocationScope, is_lifted: bool
) -> None:
    """So nobody can put an entry in the place of one that means something else."""
    payload = packed(entry_of(revocation, digest_of(other), is_lifted=is_lifted))
    if other is revocation.scope:
        unpack(payload)
    else:
        with pytest.raises(NotAnEntry):
            unpack(payload)


@given(revocations(), STAMPS, STREAM_IDS, st.booleans())
def test_what_is_packed_is_unpacked(
    revocation: Revocation, stamp: int, before: tuple[int, int], is_lifted: bool
) -> None:
    """Scope, digest, end, stamp, value, and which entry came before."""
    digest, id = digest_of(revocation.scope), b"%d-%d" % before
    entry = entry_of(revocation, digest, is_lifted=is_lifted)._replace(stamp=stamp)
    found, named = unpack(packed(entry, id))
    assert found == entry
    assert named == pack_id(id)
    assert found.digest == digest
    assert found.is_lifted == is_lifted
    assert scope_of(found.what) is revocation.scope
    assert found.what.endswith(issuer_tag(revocation.issuer))


@given(revocations())
def test_a_revocation_loses_no_more_than_a_fraction(revocation: Revocation) -> None:
    """Its end is rounded up to a second, its moment to a microsecond: never to less."""
    assert revocation.expires_at is not None
    found = entry_of(revocation, bytes(DIGEST_BYTES)).revocation(revocation.issuer, revocation.id)
    assert found.expires_at == math.ceil(revocation.expires_at)
    assert found.minimum_version == revocation.minimum_version
    if revocation.issued_until is not None:
        assert found.issued_until is not None
        assert 0 <= found.issued_until - revocation.issued_until < 2e-6


@pytest.mark.parametrize("moment", [-1e300, -1e14, 0.0, 1e14, 1e300])
def test_a_moment_out_of_this_world_is_kept_within_64_bits(moment: float) -> None:
    """Before everything or after everything is what it means there too."""
    given = Revocation(
        scope=RevocationScope.SUBJECT, issuer="i", id="s", issued_until=moment, expires_at=1.0
    )
    entry = entry_of(given, bytes(DIGEST_BYTES))
    value = unpack_value(entry.packed_value)
    assert value == entry.value
    assert (value > 0) == (moment > 0)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_packed_values_have_the_order_of_the_values(one: int, other: int) -> None:
    """So the script can compare them."""
    first, second = (Entry(b"", 0, 0, value).packed_value for value in (one, other))
    assert (first < second) == (one < other)
    assert unpack_value(first) == one


@given(STREAM_IDS, STREAM_IDS)
def test_stream_ids_are_compared_as_numbers(one: tuple[int, int], other: tuple[int, int]) -> None:
    """9-10 comes after 9-9, and 10-0 after both."""
    assert is_before(b"%d-%d" % one, b"%d-%d" % other) == (one < other)


_LAYOUT_BYTES = 40


@given(
    st.binary(max_size=64)
    | st.binary(min_size=_LAYOUT_BYTES, max_size=_LAYOUT_BYTES)
    | st.binary(min_size=_LAYOUT_BYTES + 8, max_size=_LAYOUT_BYTES + 8)
)
@example(b"")
@example(b"\x11" * 40)
@example(b"\x13" * 40)
@example(b"\x11" * 48)
@example(b"\x13" + b"\xff" * 47)
@example(b"\x16" + b"\x00" * 47)
@example(b"\x23" + b"\xff" * 39)
@example(b"\x18" + b"\x00" * 39)
@example(b"\x30" + b"\x00" * 39)
def test_no_bytes_raise_anything_but_not_an_entry(payload: bytes) -> None:
    """And what is read from whatever bytes can be used: as a revocation, and written again."""
    try:
        entry, before = unpack(payload)
    except NotAnEntry:
        return
    assert len(before) == len(pack_id(NO_ENTRY))
    scope = scope_of(entry.what)
    if not entry.is_lifted:
        assert entry.revocation("i", "" if scope is RevocationScope.ISSUER else "x").scope is scope
    assert entry.packed_value == payload[_LAYOUT_BYTES:]
    lifting = lifting_of(entry.what, entry.expires_at, entry.stamp)
    assert lifting.is_lifted
    assert lifting.digest == entry.digest
    assert unpack(packed(lifting))[0] == lifting
