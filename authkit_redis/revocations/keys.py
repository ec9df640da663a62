"""The names of the Redis keys that hold revocations; all of them are in one slot."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from authkit.errors import ConfigurationError
from authkit.jose.encoding import encode_base64url

__all__ = ["RevocationKeys"]

_PREFIX = re.compile(r"[!-z|~]{1,64}")  # printable ASCII without the braces of a hash tag


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
        if not isinstance(self.prefix, str) or not _PREFIX.fullmatch(self.prefix):
            raise ConfigurationError(
                "prefix must be 1 to 64 printable ASCII characters without braces or spaces"
            )
        base = b"{%s:rev}:" % self.prefix.encode()
        object.__setattr__(self, "_base", base)
        for name in ("log", "head", "issuers", "repair"):
            object.__setattr__(self, name, base + name.encode())

    def point(self, digest: bytes) -> bytes:
        """The key that answers for one id alone, by its digest."""
        return self._base + encode_base64url(digest).encode()
