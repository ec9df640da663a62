"""What the commands read from the environment: where the apps' Redis is, prefix and secret."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from authkit.errors import ConfigurationError

if TYPE_CHECKING:
    from authkit_redis import RedisBackends
    from authkit_redis.link import Link

__all__ = ["redis_backends", "redis_link"]

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
    url, prefix = _address()
    secret = _secret()
    with _driver_needed():
        # Loaded for the commands that need it: it brings the driver along.
        from authkit_redis import RedisBackends

        return RedisBackends.from_url(
            url,
            prefix=prefix,
            secret=secret,
            max_token_lifetime_seconds=max_token_lifetime_seconds,
            max_staleness_seconds=max_staleness_seconds,
        )


def redis_link() -> tuple[Link, str]:
    """A link to the Redis that the environment names, not entered yet, and the apps' prefix.

    The address, which may hold a password, stands in no message.

    Raises:
        ConfigurationError: a variable is missing or makes no sense, or the extra `redis` is not
            installed.
    """
    url, prefix = _address()
    with _driver_needed():
        # Loaded for the commands that need it: it brings the driver along.
        from authkit_redis.link import open_link

        return open_link(url), prefix


def _address() -> tuple[str, str]:
    """The address of Redis, and the prefix.

    Raises:
        ConfigurationError: one is not set, or empty.
    """
    url = _needed(_URL, "give the address of the apps' Redis, such as redis://127.0.0.1:6379/0")
    # No default: under a prefix that no app has, a revocation takes nothing back.
    prefix = _needed(_PREFIX, "give the prefix that the apps have, as RedisBackends(prefix=...)")
    return url, prefix


@contextmanager
def _driver_needed() -> Iterator[None]:
    """Says what to install where the driver is missing.

    Raises:
        ConfigurationError: the extra `redis` is not installed.
    """
    try:
        yield
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
