"""From an address to a link."""

from __future__ import annotations

import asyncio
from typing import Any

from authkit.errors import ConfigurationError
from authkit_redis.link.address import (
    Address,
    client_settings,
    parse_address,
    sentinel_settings,
)
from authkit_redis.link.cluster import ClusterHome
from authkit_redis.link.dialling import Dialler
from authkit_redis.link.homes import Home, OnFailure, SingleHome
from authkit_redis.link.interface import Link
from authkit_redis.link.multiplexed import MultiplexedLink, NewHome
from authkit_redis.link.node import Dial, Limits
from authkit_redis.link.options import require_sentinel_names, sentinel_connections
from authkit_redis.link.sentinels import SentinelDialler
from authkit_redis.link.wire import Counts

__all__ = ["open_link"]


def open_link(
    url: str,
    *,
    connect_timeout_seconds: float = 0.5,
    reply_timeout_seconds: float = 1.0,
    max_in_flight: int = 16_384,
    **client_options: Any,
) -> Link:
    """A link to the servers at an address; it connects when it is first used.

    Args:
        url: `redis://`, `rediss://` or `unix://` as redis-py reads them,
            `redis+sentinel://user:password@host:port,host:port/service/database`,
            `redis+cluster://user:password@host:port,host:port`, or the last two with `rediss`.
        connect_timeout_seconds: for making one connection, the handshake included.
        reply_timeout_seconds: for how long a server may owe replies and give none before
            its connection is given up.
        max_in_flight: how many calls may wait on one connection.
        client_options: further options of redis-py's connections, such as `ssl_ca_certs`;
            also `sentinel_kwargs` for those to Sentinels, and a cluster's `address_remap`.

    Raises:
        ConfigurationError: an address or an option that cannot be used.
    """
    if min(connect_timeout_seconds, reply_timeout_seconds, max_in_flight) <= 0:
        raise ConfigurationError("the bounds of a link must be positive")
    limits = Limits(
        connect_timeout_seconds=connect_timeout_seconds,
        reply_timeout_seconds=reply_timeout_seconds,
        max_in_flight=max_in_flight,
    )
    return MultiplexedLink(_homes_at(parse_address(url), limits, client_options), limits)


def _homes_at(address: Address, limits: Limits, options: dict[str, Any]) -> NewHome:
    timeout = limits.connect_timeout_seconds
    remap = options.pop("address_remap", None) if address.topology == "cluster" else None
    own = options.pop("sentinel_kwargs", {}) if address.topology == "sentinel" else {}
    kind, settings = client_settings(address, options, connect_timeout_seconds=timeout)
    dialler = Dialler(kind, settings, timeout)
    if address.topology == "cluster":
        hosts = list(address.hosts)

        def cluster_home(
            loop: asyncio.AbstractEventLoop, counts: Counts, on_failure: OnFailure
        ) -> Home:
            return ClusterHome(dialler, hosts, loop, limits, counts, on_failure, remap)

        return cluster_home
    dial: Dial = dialler.dial
    if address.topology == "sentinel":
        require_sentinel_names(own)
        of_sentinels = {**sentinel_settings(kind, settings), **own}
        asking = Dialler(*sentinel_connections(of_sentinels), timeout, protocol=2)
        dial = SentinelDialler(dialler, asking, address.hosts, address.service).dial

    def home(loop: asyncio.AbstractEventLoop, counts: Counts, on_failure: OnFailure) -> Home:
        return SingleHome(dial, loop, limits, counts, on_failure)

    return home
