"""Where the servers are: one address is parsed, and redis-py is asked for connections to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.asyncio.connection import ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from authkit.errors import ConfigurationError

_redis: Any = redis
MaintNotificationsConfig: Any
try:
    from redis.maint_notifications import MaintNotificationsConfig
except ImportError:  # before 6.4
    MaintNotificationsConfig = None

# What a connection tells of itself; it would read the files of the installed package each time.
_DRIVER: dict[str, Any]
try:
    from redis.driver_info import DriverInfo
except ImportError:  # before 7.1
    _DRIVER = {"lib_version": _redis.__version__}
else:
    _DRIVER = {"driver_info": DriverInfo(lib_version=_redis.__version__)}

__all__ = [
    "Address",
    "client_settings",
    "cluster_settings",
    "parse_address",
    "sentinel_settings",
]

_FORMS = (
    "redis://, rediss://, unix://, redis+sentinel://host:port,host:port/service,"
    " redis+cluster://host:port,host:port, or the last two with rediss"
)
# These are the link's own: it decides about them for every connection.
_RESERVED = frozenset(
    {
        "connection_class",
        "connection_pool",
        "decode_responses",
        "health_check_interval",
        "maint_notifications_config",
        "max_connections",
        "parser_class",
        "protocol",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
        "socket_timeout",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What an address says.  It has no repr to speak of: there may be a password in it.

    Attributes:
        topology: `single`, `sentinel` or `cluster`.
        url: an address that redis-py understands, of the first host.
        hosts: all hosts, with their ports.
        service: the name of the master that the Sentinels watch.
    """

    topology: str
    url: str = field(repr=False)
    hosts: tuple[tuple[str, int], ...] = field(repr=False)
    service: str = ""


def parse_address(text: str) -> Address:
    """Reads an address.

    Raises:
        ConfigurationError: not an address that a link can be opened to.
    """
    scheme, separator, rest = text.partition("://")
    plain, _, topology = scheme.partition("+")
    if not separator or plain not in ("redis", "rediss", "unix"):
        raise ConfigurationError(f"the address of Redis must be one of {_FORMS}")
    if not topology:
        return Address(topology="single", url=text, hosts=())
    if topology not in ("sentinel", "cluster") or plain == "unix":
        raise ConfigurationError(f"the address of Redis must be one of {_FORMS}")
    return _several_hosts(plain, topology, rest)


def _several_hosts(plain: str, topology: str, rest: str) -> Address:
    rest, _, query = rest.partition("?")
    location, _, path = rest.partition("/")
    user, at, locations = location.rpartition("@")
    default_port = 26379 if topology == "sentinel" else 6379
    hosts = tuple(_host(part, default_port) for part in locations.split(",") if part)
    service, _, database = path.partition("/")
    if topology == "cluster" and (service.strip("0") or database):
        raise ConfigurationError("a Redis cluster has one database only, the address may name none")
    if topology == "sentinel" and not service:
        raise ConfigurationError(
            "the address of Redis must name the service that the Sentinels watch:"
            " redis+sentinel://host:port,host:port/service"
        )
    if not hosts:
        raise ConfigurationError("the address of Redis names no host")
    number = database if topology == "sentinel" else ""
    url = f"{plain}://{user}{at}{locations.split(',')[0]}/{number}{'?' if query else ''}{query}"
    return Address(topology=topology, url=url, hosts=hosts, service=unquote(service))


def _host(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise ConfigurationError("the address of Redis has a host that cannot be read")
    return unquote(host), port or default_port


def client_settings(
    address: Address, options: Mapping[str, Any], *, connect_timeout_seconds: float
) -> tuple[type[Any], dict[str, Any]]:
    """The class of connection that redis-py has for an address, and what to make one with.

    Raises:
        ConfigurationError: redis-py cannot use the address or an option.
    """
    taken = sorted(_RESERVED.intersection(options))
    if taken:
        raise ConfigurationError(f"the link decides about {', '.join(taken)} by itself")
    settings = {
        "socket_connect_timeout": connect_timeout_seconds,
        **_DRIVER,
        **options,
        **_own_settings(),
    }
    try:
        pool = ConnectionPool.from_url(address.url, **settings)
        kind = pool.connection_class
        # What the address asks for does not count where the link decides by itself.
        kwargs = {**pool.connection_kwargs, **_own_settings()}
        if address.topology != "single":
            kwargs = {name: kwargs[name] for name in kwargs if name not in ("host", "port")}
        kind(**kwargs)
    except Exception as error:
        # Nothing of the error is kept: its text, or that of its cause, may quote the address.
        reason = type(error).__name__
    else:
        return kind, kwargs
    raise ConfigurationError(f"redis-py cannot use the address of Redis or an option ({reason})")


def _own_settings() -> dict[str, Any]:
    settings: dict[str, Any] = {
        "decode_responses": False,
        # What may be repeated is decided by each call, not by the connection.
        "retry": Retry(NoBackoff(), 0),
        "protocol": 3,
        # Deadlines are the channel's.
        "socket_timeout": None,
    }
    if MaintNotificationsConfig is not None:
        # Otherwise each server is asked for them, and a closed connection is taken for alive.
        settings["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
    return settings


def sentinel_settings(
    kind: type[Any], settings: Mapping[str, Any], timeout_seconds: float
) -> dict[str, Any]:
    """For redis-py's clients of the Sentinels: TLS as for the servers, no password of theirs."""
    return {
        **_DRIVER,
        **_own_settings(),
        **_tls_settings(kind, settings),
        "protocol": 2,
        "socket_connect_timeout": timeout_seconds,
        "socket_timeout": timeout_seconds,
    }


def cluster_settings(
    kind: type[Any], settings: Mapping[str, Any], timeout_seconds: float
) -> dict[str, Any]:
    """For redis-py's client of a cluster, which is asked for nothing but the slot map."""
    credentials = ("username", "password", "credential_provider", "client_name")
    return {
        **_DRIVER,
        **_own_settings(),
        **_tls_settings(kind, settings),
        **{name: settings[name] for name in credentials if name in settings},
        "protocol": 2,
        "socket_connect_timeout": timeout_seconds,
        "socket_timeout": timeout_seconds,
    }


def _tls_settings(kind: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    if not issubclass(kind, SSLConnection):
        return {}
    return {"ssl": True, **{name: settings[name] for name in settings if name.startswith("ssl_")}}
