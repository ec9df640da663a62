"""The caller's address, as far as the proxies on the way can be trusted with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from starlette.types import Scope

from authkit.errors import ConfigurationError
from authkit.interfaces import RequestContext

__all__ = ["AddressResolver"]

_WITH_PORT = re.compile(r"\[([^\]]+)\](?::[0-9]+)?|([^:]+):[0-9]+")

# "[", eight groups of four, "%" and a zone, "]", ":" and a port.
_LONGEST_ENTRY = 80


class _Hop(NamedTuple):
    """An address on the way, and whether it is believed about the one before it."""

    context: RequestContext
    is_trusted: bool


class AddressResolver:
    """Finds the address that limits and audit go by; no decision about access uses it.

    The connection's own peer cannot be made up.  What `X-Forwarded-For` says is as true as
    the proxy that wrote it: entries are read from the right, and the first one that is not
    a trusted proxy is the caller.  All to the left of it came from the caller and is ignored.

    Args:
        trusted_proxies: networks as text, e.g. `10.0.0.0/8`, or single addresses.

    Raises:
        ConfigurationError: one of them is not a network.
    """

    __slots__ = ("_hop", "_networks")

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        if isinstance(trusted_proxies, str):
            raise ConfigurationError(
                f"trusted_proxies must be a list of networks, not one string: [{trusted_proxies!r}]"
            )
        try:
            self._networks = tuple(ip_network(network) for network in trusted_proxies)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f"trusted_proxies must hold networks such as '10.0.0.0/8' or '::1': {error}"
            ) from error
        # The same few proxies and callers come again and again.
        self._hop = lru_cache(maxsize=1024)(self._new_hop)

    def context(self, scope: Scope) -> RequestContext | None:
        """The caller's address in a context; None where the peer has none, as on a Unix socket."""
        client = scope.get("client")
        hop = self._hop(client[0]) if client else None
        if hop is None:
            return None
        if hop.is_trusted:
            hop = self._caller(scope["headers"], hop)
        return hop.context

    def _caller(self, headers: Iterable[tuple[bytes, bytes]], hop: _Hop) -> _Hop:
        lists = [value for name, value in headers if name == b"x-forwarded-for"]
        if not lists:
            return hop
        for entry in reversed(b",".join(lists).decode("latin-1").split(",")):
            text = entry.strip(" \t")
            further = self._hop(text) if len(text) <= _LONGEST_ENTRY else None
            if further is None:
                # Nobody vouches for what stands further left.
                break
            hop = further
            if not hop.is_trusted:
                break
        return hop

    def _new_hop(self, text: str) -> _Hop | None:
        address = _parsed(text)
        if address is None:
            return None
        return _Hop(
            RequestContext(client_address=str(address)),
            any(address in network for network in self._networks),
        )


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address without the port and zone that some proxies add; mapped IPv4 is IPv4."""
    wrapped = _WITH_PORT.fullmatch(text)
    host = text if wrapped is None else wrapped[1] or wrapped[2]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
