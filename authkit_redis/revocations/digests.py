"""Keyed hashes in the place of ids, so that Redis holds no name of anybody."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from hashlib import blake2b

from authkit.interfaces import RevocationScope, TokenFacts
from authkit_redis.arguments import derived_key

__all__ = ["DIGEST_BYTES", "SCOPE_NUMBERS", "Digests", "issuer_tag", "named"]

_HASH_BYTES = 14
"""112 bits: no two ids meet by chance."""

DIGEST_BYTES = 1 + _HASH_BYTES
"""The scope's number goes before the hash, so that no entry can say another one.

CPython keeps such a string in 48 bytes.
"""

SCOPE_NUMBERS = {
    RevocationScope.TOKEN: 1,
    RevocationScope.SESSION: 2,
    RevocationScope.SUBJECT: 3,
    RevocationScope.CLIENT: 4,
    RevocationScope.ISSUER: 5,
    RevocationScope.VERSION: 6,
    RevocationScope.KEY: 7,
}
"""What a scope is called in Redis; in the order of RevocationScope."""

_MAX_TOKENS = 10_000
_MAX_OTHERS = 20_000
_LONGEST_REMEMBERED = 256
"""Characters of an id; longer ones are hashed each time, so that memory is bounded."""


class Digests:
    """Hashes ids, and remembers the hashes of the tokens seen last.

    The hash is BLAKE2b (RFC 7693), keyed with what is derived from the secret.  Without a secret
    it is the same for everybody: who reads the database can then try names, and find them.

    Args:
        secret: at least 16 bytes, the same for all processes; None is no secret.

    Attributes:
        check: differs where the secret differs, and tells nothing about it.

    Raises:
        ConfigurationError: the secret is not bytes, or too short.
    """

    __slots__ = ("_hash", "_of_tokens", "_other", "check")

    def __init__(self, secret: bytes | None) -> None:
        key = b"" if secret is None else derived_key(secret, b"authkit-ids")

        keyed = blake2b(digest_size=_HASH_BYTES, key=key)

        def hash(beginning: bytes, id: str) -> bytes:
            hashing = keyed.copy()  # cheaper than a new one
            hashing.update(beginning + id.encode("utf-8", "surrogatepass"))
            return beginning[:1] + hashing.digest()

        self._hash = hash
        # Subjects, clients and keys return with other tokens; a token's own id does not.
        self._other = lru_cache(_MAX_OTHERS)(hash)
        self._of_tokens: OrderedDict[int, tuple[TokenFacts, tuple[bytes, ...]]] = OrderedDict()
        self.check: bytes = blake2b(b"check", digest_size=8, key=key).hexdigest().encode()

    def hash(self, scope: RevocationScope, issuer: str, id: str) -> bytes:
        """The digest of one id."""
        return self._hash(_beginnings(issuer)[scope], id)

    def of(self, token: TokenFacts) -> tuple[bytes, ...]:
        """One digest for each of its ids, in the order of `named`.

        They are remembered for the very object, as a cached token comes with the same one.
        """
        known = self._of_tokens.get(id(token))
        if known is not None and known[0] is token:
            return known[1]
        own, *beginnings = _beginnings(token.issuer).values()
        others, other = zip(beginnings, _others(token), strict=True), self._other
        digests = (
            self._hash(own, token.token_id),
            *[
                other(beginning, name)
                if len(name) <= _LONGEST_REMEMBERED
                else self._hash(beginning, name)
                for beginning, name in others
                if name is not None
            ],
        )
        if len(token.token_id) > _LONGEST_REMEMBERED:
            return digests
        if len(self._of_tokens) >= _MAX_TOKENS:
            self._of_tokens.popitem(last=False)
        self._of_tokens[id(token)] = (token, digests)
        return digests


def named(token: TokenFacts) -> list[tuple[RevocationScope, str]]:
    """The ids of a token by scope, in the order of RevocationScope; those that it has."""
    ids = zip(SCOPE_NUMBERS, (token.token_id, *_others(token)), strict=True)
    return [(scope, name) for scope, name in ids if name is not None]


def _others(token: TokenFacts) -> tuple[str | None, ...]:
    """What it can be revoked by besides its own id, in the order of RevocationScope."""
    issuer, version = "", token.subject
    return (
        token.session_id,
        token.subject,
        token.client_id,
        issuer,
        version,
        token.key_thumbprint,
    )


@lru_cache(1_000)
def _beginnings(issuer: str) -> dict[RevocationScope, bytes]:
    """What is hashed before an id, by scope."""
    name = issuer.encode("utf-8", "surrogatepass")
    return {
        scope: b"%c%d:%b" % (number, len(name), name) for scope, number in SCOPE_NUMBERS.items()
    }


def issuer_tag(issuer: str) -> bytes:
    """Four bytes that stand for an issuer in the log; two may share them, which does no harm."""
    return blake2b(issuer.encode("utf-8", "surrogatepass"), digest_size=4).digest()
