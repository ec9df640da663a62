"""An index over the keys of one set, which imports a key when it is first needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from authkit.jose.jwk import JWK, KeyLease, VerificationKey

__all__ = ["MAX_CANDIDATES", "KeySet"]

MAX_CANDIDATES: Final = 4
"""How many keys are tried for one signature, whatever an issuer publishes."""


class _Entry:
    """One published key and what became of it."""

    __slots__ = ("is_unusable", "jwk", "key", "lease")

    def __init__(self, jwk: JWK, trusted_until: float) -> None:
        self.jwk = jwk
        self.lease = KeyLease(trusted_until)
        self.key: VerificationKey | None = None
        self.is_unusable = False

    def imported(self) -> VerificationKey | None:
        """The key, or None where it cannot be imported, which is tried once only."""
        if self.key is None and not self.is_unusable:
            try:
                self.key = self.jwk.verification_key(self.lease)
            except (RecursionError, MemoryError):
                raise  # No room to import it says nothing about the key.
            except Exception:
                # Whatever is odd about one key must not cost the others (RFC 7517 section 5).
                self.is_unusable = True
        return self.key


class KeySet:
    """The keys that an issuer publishes at one time.

    Its keys never change; a newer set is made by `replaced_by`, which keeps the identity of
    the keys that stay.  A key is imported, which is the expensive part, when it is first a
    candidate; one that turns out to be unusable is skipped from then on.

    Args:
        keys: as parsed; of equal ones the first counts.
        trusted_until: seconds since the epoch, for the leases of all keys.
        allow_symmetric: whether `oct` keys count.  Never for keys that are published.
    """

    __slots__ = (
        "_allow_symmetric",
        "_by_alg",
        "_by_kid",
        "_entries",
        "_found",
        "_trusted_until",
        "kept",
    )

    kept: int
    """How many keys the set has in common with the one that it replaced."""

    def __init__(
        self, keys: Iterable[JWK] = (), *, trusted_until: float, allow_symmetric: bool = False
    ) -> None:
        self._allow_symmetric = allow_symmetric
        self._trusted_until = trusted_until
        self._index({}, keys)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_usable(self) -> bool:
        """Whether at least one key can be imported."""
        return any(self.each_usable())

    def each_usable(self) -> Iterator[bool]:
        """For one key after the other whether it can be imported."""
        return (entry.imported() is not None for entry in self._entries.values())

    @property
    def unusable(self) -> int:
        """How many keys were needed and could not be imported."""
        return sum(entry.is_unusable for entry in self._entries.values())

    def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        """The usable keys that fit, in the issuer's order, at most `MAX_CANDIDATES`.

        The cost does not grow with the number of keys.
        """
        found = self._found.get((kid, alg))
        if found is None:
            found = tuple(islice(self._usable(kid, alg), MAX_CANDIDATES))
            if found:  # What is not there is not remembered: anyone can ask for anything.
                self._found[kid, alg] = found
        return found

    def trust(self, until: float) -> None:
        """Moves the leases of all keys to `until`, seconds since the epoch."""
        self._trusted_until = until
        for entry in self._entries.values():
            entry.lease.trusted_until = until

    def replaced_by(self, keys: Iterable[JWK]) -> KeySet:
        """The set of `keys`, in which those that stay keep their VerificationKey and their lease.

        The leases of those that are gone are withdrawn, for good: a key that comes back in a
        later set has a new one.
        """
        successor = KeySet.__new__(KeySet)
        successor._allow_symmetric = self._allow_symmetric
        successor._trusted_until = self._trusted_until
        successor._index(self._entries, keys)
        staying = set(successor._entries.values())
        for entry in self._entries.values():
            if entry not in staying:
                entry.lease.withdrawn = True
        return successor

    def _index(self, known: dict[JWK, _Entry], keys: Iterable[JWK]) -> None:
        self._entries: dict[JWK, _Entry] = {}
        self._by_kid: dict[str | None, list[_Entry]] = {}
        self._by_alg: dict[str, list[_Entry]] | None = None
        self._found: dict[tuple[str | None, str], tuple[VerificationKey, ...]] = {}
        self.kept = 0
        for jwk in keys:
            if jwk.is_symmetric and not self._allow_symmetric:
                continue
            staying = known.get(jwk)
            entry = staying or _Entry(jwk, self._trusted_until)
            before = len(self._entries)
            self._entries.setdefault(jwk, entry)
            if len(self._entries) > before:
                self._by_kid.setdefault(jwk.kid, []).append(entry)
                self.kept += staying is not None

    def _usable(self, kid: str | None, alg: str) -> Iterator[VerificationKey]:
        if kid is not None:
            entries = self._by_kid.get(kid, ())
        else:
            entries = self._all_by_alg().get(alg, ())
        for entry in entries:
            if entry.jwk.fits(kid, alg) and (key := entry.imported()) is not None:
                yield key

    def _all_by_alg(self) -> dict[str, list[_Entry]]:
        """Tokens without a key id are rare, so this index is made for the first of them."""
        if self._by_alg is None:
            self._by_alg = {}
            for jwk, entry in self._entries.items():
                for alg in jwk.algorithms:
                    self._by_alg.setdefault(alg, []).append(entry)
        return self._by_alg
