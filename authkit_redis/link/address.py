"""Where the servers are: one address is parsed, and redis-py is asked for connections to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from authkit.errors import ConfigurationError
from authkit_redis.link.options import require_names, require_tls_files

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
    "parse_address",
    "sentinel_settings",
]

_FORMS = (
    "redis://, rediss://, unix://, redis+sentinel://host:port,host:port/service,"
    " redis+cluster://host:port,host:port, or the last two with rediss"
)


_ENCODE = "the address of Redis has one of / # ? [ ] where none can be: percent-encode the password"
_BRACKETS = frozenset("[]")
_KINDS: dict[str, type[Any]] = {
    "redis": Connection,
    "rediss": SSLConnection,
    "unix": UnixDomainSocketConnection,
}


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


def parse_address(text: object) -> Address:
    """Reads an address.

    Raises:
        ConfigurationError: not an address that a link can be opened to.
    """
    if text is None or text == "":
        raise ConfigurationError("the address of Redis is not set")
    if not isinstance(text, str):
        raise ConfigurationError("the address of Redis must be a str")
    if text != text.strip():
        raise ConfigurationError("the address of Redis has white space at its ends")
    scheme, separator, rest = text.partition("://")
    plain, _, topology = scheme.partition("+")
    if (
        not separator
        or plain not in ("redis", "rediss", "unix")
        or topology not in ("", "cluster", "sentinel")
        or (plain == "unix" and topology)
    ):
        raise ConfigurationError(f"the address of Redis must be one of {_FORMS}")
    location, path = _parts(rest)
    if plain == "unix":
        _, _, host = location.rpartition("@")
        if host or not path.strip("/"):
            raise ConfigurationError("unix:// needs the path of a socket: unix:///run/redis.sock")
    elif topology:
        return _several_hosts(plain, topology, rest)
    else:
        _single_host(location, path)
    return Address(topology="single", url=text, hosts=())


def _parts(rest: str) -> tuple[str, str]:
    """What stands before the path, and the path."""
    head, _, query = rest.partition("?")
    location, _, path = head.partition("/")
    # An address ends at the first of these, wherever the password was meant to end.
    is_cut = "@" in query and "@" not in head and ":" in location
    is_cut = is_cut or (bool(location) and "@" in path and "@" not in location)
    if is_cut or "#" in rest or not _BRACKETS.isdisjoint(location.rpartition("@")[0]):
        raise ConfigurationError(_ENCODE)
    return location, path


def _single_host(location: str, path: str) -> None:
    _, _, host = location.rpartition("@")
    if "," in host:
        raise ConfigurationError(
            "redis:// and rediss:// name one host; several need redis+sentinel:// or"
            " redis+cluster://"
        )
    if not host:
        raise ConfigurationError("the address of Redis names no host")
    _host(host, 6379)
    _require_database(path)


def _require_database(path: str) -> None:
    number = path.removesuffix("/")
    if number and not (number.isascii() and number.isdigit()):
        raise ConfigurationError("the path in the address of Redis must be a database's number")


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
    _require_database(database)
    number = database if topology == "sentinel" else ""
    url = f"{plain}://{user}{at}{locations.split(',')[0]}/{number}{'?' if query else ''}{query}"
    return Address(topology=topology, url=url, hosts=hosts, service=unquote(service))


def _host(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host = parts.hostname
    except ValueError:
        raise ConfigurationError("the address of Redis has a host that cannot be read") from None
    if not host:
        raise ConfigurationError("the address of Redis names no host")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ConfigurationError(
            "a port in the address of Redis must be a number from 1 to 65535; / # ? @ : in a"
            " password must be percent-encoded"
        )
    return unquote(host), port or default_port


def client_settings(
    address: Address, options: Mapping[str, Any], *, connect_timeout_seconds: float
) -> tuple[type[Any], dict[str, Any]]:
    """The class of connection that redis-py has for an address, and what to make one with.

    Raises:
        ConfigurationError: redis-py cannot use the address or an option.
    """
    scheme, _, rest = address.url.partition("://")
    query = [name for name, _ in parse_qsl(rest.partition("?")[2], keep_blank_values=True)]
    require_names(_KINDS[scheme], [*options, *query])
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
        if issubclass(kind, SSLConnection):
            kwargs.setdefault("ssl_check_hostname", True)  # which redis-py has not always done
        connection = kind(**kwargs)
    except Exception as error:
        # Nothing of the error is kept: its text, or that of its cause, may quote the address.
        reason = type(error).__name__
    else:
        if issubclass(kind, SSLConnection):
            require_tls_files(connection, kwargs)
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


def sentinel_settings(kind: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """For connections to the Sentinels: TLS as for the servers, no password of theirs."""
    timeout = settings["socket_connect_timeout"]
    return {
        **_DRIVER,
        **_own_settings(),
        **_tls_settings(kind, settings),
        "socket_connect_timeout": timeout,
    }


def _tls_settings(kind: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    if not issubclass(kind, SSLConnection):
        return {}
    return {"ssl": True, **{name: settings[name] for name in settings if name.startswith("ssl_")}}
