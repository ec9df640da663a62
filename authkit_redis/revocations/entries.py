"""The entries of the log, as they are written in Redis."""

from __future__ import annotations

import math
from struct import Struct
from typing import NamedTuple

from authkit.interfaces import Revocation, RevocationScope
from authkit_redis.revocations.digests import DIGEST_BYTES, SCOPE_NUMBERS, issuer_tag

__all__ = [
    "LIFTED",
    "NO_ENTRY",
    "TAG",
    "Entry",
    "NotAnEntry",
    "entry_of",
    "is_before",
    "lifting_of",
    "milliseconds_of",
    "pack_id",
    "revocation_of",
    "scope_of",
    "unpack",
    "unpack_value",
]

_REVOKED, LIFTED = 0x10, 0x20
"""Of an entry's first byte, beside the number of the scope."""

TAG = DIGEST_BYTES + 1
"""Where the issuer's tag begins in an entry's `what`."""

_SCOPES = {number: scope for scope, number in SCOPE_NUMBERS.items()}
_WITH_VALUE = {
    SCOPE_NUMBERS[scope]
    for scope in (
        RevocationScope.SUBJECT,
        RevocationScope.CLIENT,
        RevocationScope.ISSUER,
        RevocationScope.VERSION,
    )
}
_MICROSECONDS = 1_000_000
_OFFSET = 1 << 63
_FURTHEST_SECONDS = 9e12  # in microseconds within 64 bits

# kind and scope, digest, tag of the issuer | expires_at | id of the entry before | stamp | value
_LAYOUT = Struct(f">{DIGEST_BYTES + 5}sI10sHI")
_ID = Struct(">HII")

# By the first byte; a value is what an entry may end with.
_SIZES = {
    bytes([kind | number]): _LAYOUT.size + 8 * (kind == _REVOKED and number in _WITH_VALUE)
    for kind in (_REVOKED, LIFTED)
    for number in _SCOPES
}

NO_ENTRY = b"0-0"
"""The id before the first one."""


class NotAnEntry(Exception):
    """What stands in the log is not of authkit."""


class Entry(NamedTuple):
    """A revocation, or that one was lifted.

    Attributes:
        what: one byte of kind and scope, the digest, and the issuer's tag.
        expires_at: in whole seconds, rounded up.
        stamp: when, in milliseconds of the server's clock; of a revocation and a lifting of the
            same id the later stamp counts.
        value: of SUBJECT, CLIENT and ISSUER microseconds since the epoch, of VERSION the version;
            None for the other scopes and for what is lifted.
    """

    what: bytes
    expires_at: int
    stamp: int
    value: int | None

    @property
    def digest(self) -> bytes:
        """The id that it is about."""
        return self.what[1:TAG]

    @property
    def is_lifted(self) -> bool:
        """Whether it takes a revocation back."""
        return self.what[0] >= LIFTED

    @property
    def packed_value(self) -> bytes:
        """The value in an order that bytes have too; empty where there is none."""
        return b"" if self.value is None else (self.value + _OFFSET).to_bytes(8, "big")

    def revocation(self, issuer: str, id: str) -> Revocation:
        """It as a Revocation of that issuer and id."""
        return revocation_of(scope_of(self.what), issuer, id, float(self.expires_at), self.value)


def revocation_of(
    scope: RevocationScope, issuer: str, id: str, expires_at: float, value: int | None
) -> Revocation:
    """A Revocation from what is kept of it."""
    is_version = scope is RevocationScope.VERSION
    return Revocation(
        scope=scope,
        issuer=issuer,
        id=id,
        issued_until=None if value is None or is_version else value / _MICROSECONDS,
        minimum_version=value if is_version else None,
        expires_at=expires_at,
    )


def scope_of(what: bytes) -> RevocationScope:
    """The scope that an entry's `what` begins with."""
    return _SCOPES[what[0] & 0x0F]


def entry_of(revocation: Revocation, digest: bytes, *, is_lifted: bool = False) -> Entry:
    """The entry of a revocation whose fields are filled in; it has no stamp yet."""
    kind = LIFTED if is_lifted else _REVOKED
    value = revocation.minimum_version
    if revocation.issued_until is not None:
        moment = max(-_FURTHEST_SECONDS, min(revocation.issued_until, _FURTHEST_SECONDS))
        value = math.ceil(moment * _MICROSECONDS)
        value += value / _MICROSECONDS < moment  # which a product that was rounded may be
    what = b"%c%b%b" % (
        kind | SCOPE_NUMBERS[revocation.scope],
        digest,
        issuer_tag(revocation.issuer),
    )
    expires_at = math.ceil(revocation.expires_at or 0)
    return Entry(what, expires_at, 0, None if is_lifted else value)


def lifting_of(what: bytes, expires_at: int, stamp: int) -> Entry:
    """That what `what` names is lifted."""
    return Entry(bytes([LIFTED | what[0] & 0x0F]) + what[1:], expires_at, stamp, None)


def unpack(payload: bytes) -> tuple[Entry, bytes]:
    """An entry, and the packed id of the one before it.

    Raises:
        NotAnEntry: something else has written it.
    """
    size = len(payload)
    if size != _SIZES.get(payload[:1]):
        raise NotAnEntry
    if payload[0] & 0x0F != payload[1]:
        raise NotAnEntry  # the digest is of another scope
    what, expires_at, before, high, low = _LAYOUT.unpack_from(payload)
    value = unpack_value(payload[_LAYOUT.size :]) if size > _LAYOUT.size else None
    # As `Entry(...)`, at half the price: every entry of a log comes by here.
    return tuple.__new__(Entry, (what, expires_at, high << 32 | low, value)), before


def unpack_value(packed: bytes) -> int:
    """The value that `packed_value` gave."""
    return int.from_bytes(packed, "big") - _OFFSET


def pack_id(id: bytes) -> bytes:
    """The id of a stream entry as the entry after it names it."""
    milliseconds, sequence = _numbers(id)
    number = min(milliseconds, 0xFFFFFFFFFFFF)
    return _ID.pack(number >> 32, number & 0xFFFFFFFF, min(sequence, 0xFFFFFFFF))


def is_before(one: bytes, other: bytes) -> bool:
    """Whether one id of a stream comes before another."""
    return _numbers(one) < _numbers(other)


def milliseconds_of(id: bytes) -> int:
    """When the server gave the id, by its clock."""
    return _numbers(id)[0]


def _numbers(id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = id.partition(b"-")
    return int(milliseconds), int(sequence)
