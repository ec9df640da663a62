"""Which options a link takes: a mistake in one is found before anything is connected."""

from __future__ import annotations

import inspect
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection

from authkit.errors import ConfigurationError
from authkit_redis.link.reasons import reason_of

__all__ = [
    "require_names",
    "require_sentinel_names",
    "require_tls_files",
    "sentinel_connections",
]

# These are the link's own: it decides about them for every connection.
_RESERVED = frozenset(
    {
        "connection_class",
        "connection_pool",
        "decode_responses",
        "health_check_interval",
        "legacy_responses",
        "maint_notifications_config",
        "max_connections",
        "parser_class",
        "protocol",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "socket_timeout",
        "timeout",
    }
)
_OF_THE_ADDRESS = frozenset({"host", "path", "port"})
_ELSEWHERE = {
    "address_remap": "redis+cluster:// or rediss+cluster://",
    "sentinel_kwargs": "redis+sentinel:// or rediss+sentinel://",
}


def require_names(kind: type[Any], names: Iterable[str]) -> None:
    """Whether redis-py's class of connection has options of these names, for all to give.

    Raises:
        ConfigurationError: naming those that it has not, or that are not to be given.
    """
    given = frozenset(names)
    taken = sorted(_RESERVED & given)
    if taken:
        raise ConfigurationError(f"the link decides about {', '.join(taken)} by itself")
    stated = sorted(_OF_THE_ADDRESS & given)
    if stated:
        raise ConfigurationError(f"the address of Redis says what {', '.join(stated)} is")
    for name in sorted(given - _names_of(kind)):
        if name in _ELSEWHERE:
            raise ConfigurationError(f"{name} needs {_ELSEWHERE[name]}")
        if name in _names_of(SSLConnection) and name.startswith("ssl_"):
            raise ConfigurationError(f"{name} needs rediss://")
        # Of a query anything may be a name, the rest of a password with a ? in it too.
        said = f" {name}" if name.isidentifier() else ""
        raise ConfigurationError(f"unknown option{said}")


def _names_of(kind: type[Any]) -> frozenset[str]:
    found: set[str] = set()
    for each in kind.__mro__:
        if "__init__" in vars(each):
            found.update(_parameters(each))
    return frozenset(found) - {"self"}


def _parameters(kind: type[Any]) -> list[str]:
    parameters = inspect.signature(kind.__init__).parameters.values()
    return [each.name for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD]


def require_sentinel_names(given: object) -> None:
    """Whether redis-py's clients of Sentinels have options of these names.

    Raises:
        ConfigurationError: naming those that they have not.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError("sentinel_kwargs must be a mapping of options to values")
    unknown = sorted(str(name) for name in given if name not in _parameters(Redis))
    if unknown:
        raise ConfigurationError(f"unknown option in sentinel_kwargs: {', '.join(unknown)}")


def sentinel_connections(settings: Mapping[str, Any]) -> tuple[type[Any], dict[str, Any]]:
    """The class of connection that redis-py's client of a Sentinel has, and what to make one with.

    Raises:
        ConfigurationError: it cannot make one, or a file for TLS is not what it should be.
    """
    try:
        pool = Redis(**settings).connection_pool
        kind, kwargs = pool.connection_class, dict(pool.connection_kwargs)
        connection = kind(**kwargs)
    except Exception as error:
        reason = type(error).__name__
    else:
        if isinstance(connection, SSLConnection):
            require_tls_files(connection, kwargs)
        return kind, kwargs
    raise ConfigurationError(f"redis-py cannot use the sentinel_kwargs ({reason})")


def require_tls_files(connection: Any, settings: Mapping[str, Any]) -> None:
    """Whether the files for TLS are there and hold what they should.

    Raises:
        ConfigurationError: naming the option, and why.
    """
    try:
        connection.ssl_context.get()
    except (OSError, TypeError, ValueError) as error:
        reason = _reason(error)
    else:
        return
    what = "an option for TLS"
    if settings.get("ssl_certfile") or settings.get("ssl_keyfile"):
        what = "ssl_certfile or ssl_keyfile"
    authorities = settings.get("ssl_ca_certs")
    try:
        if authorities:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=authorities)
    except OSError:
        what = "ssl_ca_certs"
    raise ConfigurationError(f"{what} cannot be used: {reason}")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        # Not every one has the attribute.
        reason: str | None = getattr(error, "reason", None)
        return reason.lower().replace("_", " ") if reason else "not what OpenSSL takes"
    return reason_of(error) or type(error).__name__
