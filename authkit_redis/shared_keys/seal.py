"""How a key set, and the note of a failed attempt, stand in Redis: with a seal, read strictly."""

from __future__ import annotations

import hmac
import math
import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

from authkit.interfaces import KeySetDocument
from authkit_redis.arguments import derived_key

__all__ = ["MAX_BODY_BYTES", "MAX_RECORD_BYTES", "MAX_TIME_MS", "NotOurs", "Note", "Record", "Seal"]

MAX_BODY_BYTES: Final = 1024 * 1024
"""Of a key set that is shared; a larger one is fetched by each process."""

_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BQQdHI")  # version, two times, freshness, lengths of etag and body
_NOTE: Final = struct.Struct(">BQQ")  # version, two times in ms
_NO_ETAG: Final = 0xFFFF
_MAC_BYTES: Final = 32

MAX_TIME_MS: Final = 2**53
"""Above every time: what a script counts exactly."""

MAX_RECORD_BYTES: Final = MAX_BODY_BYTES + _NO_ETAG + _HEAD.size + _MAC_BYTES
"""Of a record with its seal; more is not even read."""


class NotOurs(ValueError):
    """Nobody who has the secret has written it for this issuer and address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A key set as it is shared.

    Attributes:
        asked_ms: when the provider was asked, in ms, by the clock of the Redis server.
        wall_ms: the same by the clock of the process that asked.
        fresh_seconds: how long from then on it may be used without asking again.
        etag: the provider's entity tag, or None.
        body: the JWK Set as it came.
    """

    asked_ms: int
    wall_ms: int
    fresh_seconds: float
    etag: str | None
    body: bytes

    def document(self, fetched_at: float) -> KeySetDocument:
        """The same for one process, by whose clock it was fetched at a time."""
        return KeySetDocument(
            body=self.body,
            etag=self.etag,
            fetched_at=fetched_at,
            fresh_seconds=self.fresh_seconds,
        )


class Note(NamedTuple):
    """That an attempt failed.

    Attributes:
        failed_ms: when it began, in ms, by the clock of the Redis server.
        wall_ms: the same by the clock of the process that made it.
    """

    failed_ms: int
    wall_ms: int


class Seal:
    """Puts a MAC on what is shared: keyed BLAKE2b with 256 bits.

    Args:
        secret: of the fleet.  None makes it a mere checksum, which anybody can forge.
        issuer: whose keys they are.
        address: where they come from.

    Raises:
        ConfigurationError: the secret is too short.
    """

    __slots__ = ("_context", "_key")

    def __init__(self, secret: bytes | None, issuer: str, address: str) -> None:
        self._key = b"" if secret is None else derived_key(secret, b"authkit-keys")
        self._context = _prefixed(issuer) + _prefixed(address)

    def record(self, record: Record) -> bytes:
        """A record, sealed.

        Raises:
            ValueError: it is one that would not be accepted.
        """
        etag = b"" if record.etag is None else record.etag.encode()
        body = record.body
        _check(record.asked_ms, record.wall_ms, record.fresh_seconds, len(body))
        if len(etag) >= _NO_ETAG:
            raise ValueError("the entity tag is too long")
        length = _NO_ETAG if record.etag is None else len(etag)
        times = record.asked_ms, record.wall_ms
        head = _HEAD.pack(_VERSION, *times, record.fresh_seconds, length, len(body))
        return self._sealed(b"key set", head + etag + body)

    def open_record(self, data: bytes) -> Record:
        """The record.

        Raises:
            NotOurs: it was not sealed for this issuer and address, or says what cannot be.
        """
        payload = self._opened(b"key set", data)
        try:
            head = _HEAD.unpack_from(payload)
            version, asked_ms, wall_ms, fresh_seconds, etag_length, length = head
            has_etag = etag_length != _NO_ETAG
            start = _HEAD.size + (etag_length if has_etag else 0)
            if version != _VERSION or len(payload) != start + length:
                raise NotOurs
            _check(asked_ms, wall_ms, fresh_seconds, length)
            etag = payload[_HEAD.size : start].decode() if has_etag else None
        except (struct.error, ValueError) as error:
            raise NotOurs from error
        body = payload[start:]
        return Record(
            asked_ms=asked_ms,
            wall_ms=wall_ms,
            fresh_seconds=fresh_seconds,
            etag=etag,
            body=body,
        )

    def note(self, note: Note) -> bytes:
        """That an attempt failed, sealed."""
        return self._sealed(b"failed attempt", _NOTE.pack(_VERSION, *note))

    def open_note(self, data: bytes) -> Note:
        """That an attempt failed.

        Raises:
            NotOurs: it was not sealed for this issuer and address.
        """
        payload = self._opened(b"failed attempt", data)
        if len(payload) != _NOTE.size:
            raise NotOurs
        version, failed_ms, wall_ms = _NOTE.unpack(payload)
        if version != _VERSION:
            raise NotOurs
        return Note(failed_ms=failed_ms, wall_ms=wall_ms)

    def _sealed(self, purpose: bytes, payload: bytes) -> bytes:
        return payload + self._mac(purpose, payload)

    def _opened(self, purpose: bytes, data: bytes) -> bytes:
        if len(data) > MAX_RECORD_BYTES:
            raise NotOurs  # before any work goes into it
        payload, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        if not hmac.compare_digest(self._mac(purpose, payload), mac):
            raise NotOurs
        return payload

    def _mac(self, purpose: bytes, payload: bytes) -> bytes:
        mac = blake2b(digest_size=_MAC_BYTES, key=self._key, person=b"authkit-shared")
        mac.update(struct.pack(">I", len(purpose)) + purpose + self._context)
        mac.update(payload)
        return mac.digest()


def _check(asked_ms: int, wall_ms: int, fresh_seconds: float, length: int) -> None:
    if not (0 <= asked_ms < MAX_TIME_MS and 0 <= wall_ms < MAX_TIME_MS):
        raise ValueError("the time is none")
    if not (math.isfinite(fresh_seconds) and fresh_seconds >= 0):
        raise ValueError("the freshness is none")
    if length > MAX_BODY_BYTES:
        raise ValueError("the key set is too large")


def _prefixed(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return struct.pack(">I", len(data)) + data
