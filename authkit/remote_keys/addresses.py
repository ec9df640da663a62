"""Which addresses keys may come from, and where an issuer's discovery document is."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

__all__ = ["AddressRefused", "checked_address", "discovery_addresses", "host_of"]

_MAX_CHARACTERS: Final = 2048
# RFC 3986 section 2, without the fragment's "#".  What parsers read differently (a backslash, a
# control character, a blank) is not in it.
_URI: Final = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")
_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9\-_.]*[A-Za-z0-9_.])?")


class AddressRefused(ValueError):
    """Keys may not come from there.  The message says why, and holds no part of the address."""


def checked_address(address: object, *, insecure_loopback_http: bool) -> str:
    """The address, if it is an absolute https one (RFC 8414 section 2).

    With `insecure_loopback_http` an http address is taken too, if its host is `localhost` or
    a loopback IP address, so that nothing is ever asked over a network without TLS.

    Raises:
        AddressRefused: it is anything else.
    """
    if not isinstance(address, str) or not 0 < len(address) <= _MAX_CHARACTERS:
        raise AddressRefused("must be an absolute https address")
    if "#" in address:
        raise AddressRefused("must not have a fragment")
    parts = _split(address)
    if "@" in parts.netloc:
        raise AddressRefused("must not hold a user name or password")
    if parts.scheme == "https":
        return address
    if parts.scheme != "http":
        raise AddressRefused("must be an absolute https address")
    if not _is_loopback(parts.hostname or ""):
        raise AddressRefused("must use https: over http anyone on the way could give us keys")
    if not insecure_loopback_http:
        raise AddressRefused(
            "must use https; for tests, insecure_loopback_http=True allows http on this machine"
        )
    return address


def discovery_addresses(issuer: str) -> tuple[str, ...]:
    """Where an issuer's document may be, in the order to try.

    OpenID Connect Discovery 1.0 section 4 appends to the issuer's path, RFC 8414 section 3
    inserts before it; both drop a final slash.

    Raises:
        AddressRefused: the issuer has a query, so that neither rule applies.
    """
    if "?" in issuer:
        raise AddressRefused("must not have a query")
    parts = urlsplit(issuer)
    path = parts.path.removesuffix("/")
    root = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{root}{path}/.well-known/openid-configuration",
        f"{root}/.well-known/oauth-authorization-server{path}",
    )


def host_of(address: str) -> str:
    """The part of an address that may stand in a message: a path or a query may hold a secret."""
    return urlsplit(address).hostname or ""


def _split(address: str) -> SplitResult:
    if _URI.fullmatch(address) is None:
        raise AddressRefused("must be an absolute https address, in ASCII")
    try:
        parts = urlsplit(address)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise AddressRefused("must have a valid host and port") from None
    bare = parts.netloc.rpartition("@")[2].removesuffix(f":{port}").lower()
    is_host = _NAME.fullmatch(host) if bare == host else _ip(host) and bare == f"[{host}]"
    if parts.scheme and parts.netloc and (not is_host or port == 0):
        raise AddressRefused("must have a valid host and port")
    if not parts.netloc:
        raise AddressRefused("must be an absolute https address")
    return parts


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _ip(host)
    return host == "localhost" if address is None else address.is_loopback
