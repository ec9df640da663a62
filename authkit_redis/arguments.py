"""What every backend asks of its arguments: a prefix, a secret, numbers that are numbers."""

from __future__ import annotations

import math
import re
from hashlib import blake2b

from authkit.errors import ConfigurationError

__all__ = ["checked_prefix", "derived_key", "is_number", "require_seconds"]

_PREFIX = re.compile(r"[!-z|~]{1,64}")  # printable ASCII without the braces of a hash tag
_LEAST_SECRET_BYTES = 16


def checked_prefix(prefix: object) -> bytes:
    """The prefix of all keys, as bytes.

    Raises:
        ConfigurationError: it is empty, too long, or not printable ASCII without braces.
    """
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(
            "prefix must be 1 to 64 printable ASCII characters without braces or spaces"
        )
    return prefix.encode()


def derived_key(secret: object, purpose: bytes) -> bytes:
    """A key of 32 bytes for one purpose (at most 16 bytes), which tells nothing of the others.

    Raises:
        ConfigurationError: the secret is not bytes, or too short.
    """
    if not isinstance(secret, bytes) or len(secret) < _LEAST_SECRET_BYTES:
        raise ConfigurationError(
            f"secret must be at least {_LEAST_SECRET_BYTES} bytes, for example "
            "secrets.token_bytes(32), and the same for every process"
        )
    return blake2b(secret, digest_size=32, person=purpose).digest()


def is_number(value: object) -> bool:
    """Whether it can be a time: text from the environment, or a bool, is a mistake."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def require_seconds(**times: float) -> None:
    """Checks times by the names of their arguments.

    Raises:
        ConfigurationError: one is not positive and finite.
    """
    for name, value in times.items():
        if not (is_number(value) and 0 < value < math.inf):
            raise ConfigurationError(f"{name} must be positive and finite")
