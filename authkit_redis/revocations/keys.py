"""The names of the Redis keys that hold revocations; all of them are in one slot."""

from __future__ import annotations

from dataclasses import dataclass, field

from authkit.jose.encoding import encode_base64url
from authkit_redis.arguments import checked_prefix

__all__ = ["RevocationKeys"]


@dataclass(frozen=True, slots=True)
class RevocationKeys:
    """What is where, for one prefix.

    Attributes:
        prefix: of every key.
        log: a stream, the source of truth: one entry for each revocation and each lifting.
        head: a hash: which server this is, since when, where the log ends, a check of the secret.
        issuers: a hash: the issuers by the tag that log entries have of them.
        repair: exists while a process writes back what the server has lost.

    Raises:
        ConfigurationError: the prefix is empty, too long, or not printable ASCII without braces.
    """

    prefix: str
    log: bytes = field(init=False)
    head: bytes = field(init=False)
    issuers: bytes = field(init=False)
    repair: bytes = field(init=False)
    _base: bytes = field(init=False)

    def __post_init__(self) -> None:
        base = b"{%s:rev}:" % checked_prefix(self.prefix)
        object.__setattr__(self, "_base", base)
        for name in ("log", "head", "issuers", "repair"):
            object.__setattr__(self, name, base + name.encode())

    def point(self, digest: bytes) -> bytes:
        """The key that answers for one id alone, by its digest."""
        return self._base + encode_base64url(digest).encode()
