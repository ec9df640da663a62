"""What was proven of a token before: whole tokens, and the headers that their issuer signs with."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence

from authkit.errors import ConfigurationError
from authkit.interfaces import LimitRequest, TokenFacts
from authkit.jose.jwk import KeyLease, VerificationKey
from authkit.jose.jws import JoseHeader
from authkit.principal import Principal

__all__ = ["HeaderMemo", "ProvenToken", "TokenCache"]


class ProvenToken:
    """A token whose signature and claims are good, with all that later requests need of it.

    Attributes:
        principal: who it speaks for.
        facts: what the revocation store asks for.
        limits: what the caller is charged, the limits by address aside.
        accepted_until: its expiry with the issuer's leeway, in seconds since the epoch.
        lease: of the key that signed it, read live.
        token_hash: the SHA-256 of the token in hex, for the audit trail.
    """

    __slots__ = (
        "_is_recent",
        "_key",
        "_size",
        "accepted_until",
        "facts",
        "lease",
        "limits",
        "principal",
        "token_hash",
    )

    def __init__(
        self,
        principal: Principal,
        facts: TokenFacts,
        limits: Sequence[LimitRequest],
        accepted_until: float,
        lease: KeyLease,
        token_hash: str,
    ) -> None:
        self.principal: Principal = principal
        self.facts: TokenFacts = facts
        self.limits: Sequence[LimitRequest] = limits
        self.accepted_until: float = accepted_until
        self.lease: KeyLease = lease
        self.token_hash: str = token_hash
        self._key: str | bytes | None = None  # None: in no cache
        self._size = 0
        self._is_recent = False


class TokenCache:
    """The proven tokens of one issuer, found by their exact full text.

    Tokens not used since the last turn make room first (second chance), which needs no
    lock and no reordering on a hit.

    Args:
        max_entries: how many tokens at most; 0 keeps none.
        max_bytes: how much memory at most, by an estimate for each token.
        hashes_tokens: keeps the SHA-256 of a token instead of its text, so that the
            process holds no bearer token longer than its request; a hit costs a hash more.

    Raises:
        ConfigurationError: a bound is negative.
    """

    __slots__ = ("_bytes", "_entries", "_hashes_tokens", "_max_bytes", "_max_entries", "_ring")

    def __init__(
        self,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 64 * 2**20,
        hashes_tokens: bool = False,
    ) -> None:
        if max_entries < 0 or max_bytes < 0:
            raise ConfigurationError("the token cache's bounds must not be negative")
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._hashes_tokens = hashes_tokens
        self._entries: dict[str | bytes, ProvenToken] = {}
        self._ring: deque[ProvenToken] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """The estimated memory in use."""
        return self._bytes

    def find(self, token: str, now: float) -> ProvenToken | None:
        """The proven token with exactly this text, if time and its key's lease still allow it."""
        key = _digest(token) if self._hashes_tokens else token
        entry = self._entries.get(key)
        if entry is None:
            return None
        lease = entry.lease
        if now < entry.accepted_until and now < lease.trusted_until and not lease.withdrawn:
            entry._is_recent = True
            return entry
        self._remove(entry)
        return None

    def add(self, token: str, entry: ProvenToken) -> None:
        """Keeps a token that was just proven; the least used ones make room for it."""
        if not self._max_entries:
            return
        # Measured on CPython 3.11: claims, principal and facts take up to three times the text.
        size = 1_600 + 4 * len(token)
        if size > self._max_bytes:
            return
        key = _digest(token) if self._hashes_tokens else token
        known = self._entries.get(key)
        if known is not None:
            self._remove(known)
        while len(self._entries) >= self._max_entries or self._bytes + size > self._max_bytes:
            self._evict()
        entry._key = key
        entry._size = size
        self._entries[key] = entry
        self._ring.append(entry)
        self._bytes += size

    def _evict(self) -> None:
        entry = self._ring.popleft()
        if entry._is_recent and entry._key is not None:
            entry._is_recent = False
            self._ring.append(entry)
        else:
            self._remove(entry)

    def _remove(self, entry: ProvenToken) -> None:
        # It stays in the ring, unkeyed, until its turn comes: taking it out would be a scan.
        if entry._key is not None:
            del self._entries[entry._key]
            self._bytes -= entry._size
            entry._key = None
            self._trim_ring()

    def _trim_ring(self) -> None:
        if len(self._ring) > 2 * len(self._entries) + 16:
            self._ring = deque(entry for entry in self._ring if entry._key is not None)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class HeaderMemo:
    """The headers that one issuer has signed with, parsed, and the keys that they led to.

    An issuer uses a header for each of its keys, so this stays small; only a good signature
    enters, so a stranger cannot fill it.

    Args:
        max_entries: when there are more, all are forgotten and learnt again.
    """

    __slots__ = ("_entries", "_max_entries")

    def __init__(self, max_entries: int = 256) -> None:
        self._max_entries = max_entries
        self._entries: dict[str, tuple[JoseHeader, tuple[VerificationKey, ...]]] = {}

    def find(
        self, header_segment: str, now: float
    ) -> tuple[JoseHeader, tuple[VerificationKey, ...]] | None:
        """The parsed header and its keys, if all of them may still be used."""
        entry = self._entries.get(header_segment)
        if entry is None:
            return None
        for key in entry[1]:
            lease = key.lease
            if lease.withdrawn or now >= lease.trusted_until:
                del self._entries[header_segment]
                return None
        return entry

    def add(
        self, header_segment: str, header: JoseHeader, keys: tuple[VerificationKey, ...]
    ) -> None:
        """Keeps a header that a good signature has just proven."""
        if len(self._entries) >= self._max_entries:
            self._entries.clear()
        self._entries[header_segment] = (header, keys)
