"""What the commands read from the environment: where the apps' Redis is, prefix and secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from authkit.errors import ConfigurationError

if TYPE_CHECKING:
    from authkit_redis import RedisBackends

__all__ = ["redis_backends"]

_URL = "AUTHKIT_REDIS_URL"
_PREFIX = "AUTHKIT_REDIS_PREFIX"
_SECRET_FILE = "AUTHKIT_SECRET_FILE"


def redis_backends(
    *, max_token_lifetime_seconds: float, max_staleness_seconds: float
) -> RedisBackends:
    """The backends that the environment names, not entered yet.

    Neither the address, which may hold a password, nor the secret stands in any message.

    Args:
        max_token_lifetime_seconds: as the apps have it.
        max_staleness_seconds: as the apps have it.

    Raises:
        ConfigurationError: a variable is missing or makes no sense, the secret's file cannot
            be read, or the extra `redis` is not installed.
    """
    url = _needed(_URL, "give the address of the apps' Redis, such as redis://127.0.0.1:6379/0")
    # No default: under a prefix that no app has, a revocation takes nothing back.
    prefix = _needed(_PREFIX, "give the prefix that the apps have, as RedisBackends(prefix=...)")
    secret = _secret()
    try:
        # Loaded for the commands that need it: it brings the driver along.
        from authkit_redis import RedisBackends

        return RedisBackends.from_url(
            url,
            prefix=prefix,
            secret=secret,
            max_token_lifetime_seconds=max_token_lifetime_seconds,
            max_staleness_seconds=max_staleness_seconds,
        )
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise ConfigurationError(
            f"{package} is not installed: pip install 'pyauthkit[redis]'"
        ) from error


def _needed(name: str, advice: str) -> str:
    """The variable's value.

    Raises:
        ConfigurationError: it is not set, or empty.
    """
    value = _variable(name)
    if value is None:
        raise ConfigurationError(f"{name} is not set: {advice}")
    return value


def _variable(name: str) -> str | None:
    """The variable's value, or None.

    Raises:
        ConfigurationError: it is empty.  Taking that for "not set" would hide a mistake in a
            deployment: with another prefix or secret a revocation takes nothing back.
    """
    value = os.environ.get(name)
    if value == "":
        raise ConfigurationError(f"{name} is set, but empty: give it the value that the apps have")
    return value


def _secret() -> bytes | None:
    """The bytes of the secret's file, without one newline at the end."""
    name = _variable(_SECRET_FILE)
    if name is None:
        return None
    try:
        secret = Path(name).read_bytes().removesuffix(b"\n")
    except OSError as error:
        raise ConfigurationError(
            f"the file that {_SECRET_FILE} names cannot be read: {error.strerror}"
        ) from error
    if not secret:
        raise ConfigurationError(f"the file that {_SECRET_FILE} names is empty")
    return secret
