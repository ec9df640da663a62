"""The caller's address is as true as the proxies that are trusted with it."""

from __future__ import annotations

import pytest

from authkit.errors import ConfigurationError
from authkit.fastapi.client_address import AddressResolver


def resolved(
    trusted: list[str], peer: str | None, *forwarded: str, header: bytes = b"x-forwarded-for"
) -> str | None:
    """The address of a request from `peer` with these X-Forwarded-For headers."""
    headers = [(b"host", b"service.test"), *((header, value.encode()) for value in forwarded)]
    scope = {"client": None if peer is None else (peer, 4711), "headers": headers}
    context = AddressResolver(trusted).context(scope)
    return None if context is None else context.client_address


def test_without_trusted_proxies_the_peer_is_the_caller() -> None:
    """A header that anybody can write counts for nothing."""
    assert resolved([], "203.0.113.9", "198.51.100.1") == "203.0.113.9"


def test_a_peer_that_is_no_trusted_proxy_is_the_caller() -> None:
    """Whoever goes around the proxy cannot pose as somebody else (CVE-2026-40575's class)."""
    assert resolved(["10.0.0.0/8"], "203.0.113.9", "198.51.100.1") == "203.0.113.9"


def test_a_trusted_proxy_names_the_caller() -> None:
    """The rightmost entry is the one that it wrote."""
    assert resolved(["10.0.0.0/8"], "10.0.0.1", "198.51.100.1") == "198.51.100.1"


def test_what_the_caller_wrote_before_the_proxy_is_ignored() -> None:
    """A spoofed header stands to the left of what the proxy adds."""
    spoofed = "127.0.0.1, 10.0.0.5, 198.51.100.1"
    assert resolved(["10.0.0.0/8"], "10.0.0.1", spoofed) == "198.51.100.1"


def test_a_chain_of_trusted_proxies_is_followed() -> None:
    """Several hops, several networks, several headers: they are one list (RFC 9110 section 5.3)."""
    trusted = ["10.0.0.0/8", "192.168.7.7", "2001:db8:1::/48"]
    assert (
        resolved(trusted, "10.0.0.1", "6.6.6.6, 198.51.100.1", "192.168.7.7,2001:db8:1::5")
        == "198.51.100.1"
    )


def test_where_all_are_trusted_the_first_is_the_caller() -> None:
    """A proxy may have a caller inside its own network."""
    assert resolved(["10.0.0.0/8"], "10.0.0.1", "10.1.1.1, 10.0.0.2") == "10.1.1.1"


def test_a_trusted_proxy_that_names_nobody_is_the_caller() -> None:
    """Its own requests, such as health checks."""
    assert resolved(["10.0.0.0/8"], "10.0.0.1") == "10.0.0.1"


@pytest.mark.parametrize(
    "entry",
    [
        "unknown",
        "_hidden",
        "",
        "1.2.3",
        "1.2.3.4:x",
        "[::1",
        "[]",
        "[::1]:",
        ":80",
        "[::1]x",
        "[1",
        "1.2.3.4, ",
        "٣.1.1.1",
        "1" * 5000,
        "::1::",
        "2130706433",
    ],
)
def test_a_malformed_entry_ends_the_search(entry: str) -> None:
    """Nobody vouches for what stands further left; the last hop that is known is taken."""
    assert resolved(["10.0.0.0/8"], "10.0.0.1", f"198.51.100.1, {entry}, 10.0.0.2") == "10.0.0.2"


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("198.51.100.1:8080", "198.51.100.1"),
        ("[2001:db8::1]:8080", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:1", "fe80::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        ("\t198.51.100.1 ", "198.51.100.1"),
    ],
)
def test_one_caller_has_one_spelling(entry: str, address: str) -> None:
    """Ports, zones and spellings do not make new buckets of a limit."""
    assert resolved(["10.0.0.0/8"], "10.0.0.1", entry) == address


def test_a_mapped_peer_is_known_by_its_ipv4_address() -> None:
    """A dual-stack socket shows IPv4 peers so (RFC 4291 section 2.5.5.2)."""
    assert resolved(["10.0.0.0/8"], "::ffff:10.0.0.1", "198.51.100.1") == "198.51.100.1"
    assert resolved([], "::ffff:198.51.100.1") == "198.51.100.1"


@pytest.mark.parametrize("peer", [None, "testclient", ""])
def test_a_peer_without_an_address_gives_none(peer: str | None) -> None:
    """A Unix socket has none, and then nobody can say that the header is the proxy's."""
    assert resolved(["10.0.0.0/8"], peer, "198.51.100.1") is None


def test_other_headers_are_not_read() -> None:
    """One header, so that there is one truth."""
    for header in (b"x-real-ip", b"forwarded", b"true-client-ip"):
        assert resolved(["10.0.0.0/8"], "10.0.0.1", "198.51.100.1", header=header) == "10.0.0.1"


def test_one_address_has_one_context() -> None:
    """Nothing is built for a caller that was seen a moment ago."""
    resolver = AddressResolver([])
    scope = {"client": ("203.0.113.9", 1), "headers": []}
    assert resolver.context(scope) is resolver.context(dict(scope))


@pytest.mark.parametrize(
    "trusted", ["10.0.0.0/8", ["10.0.0.1/8"], ["proxy"], [""], ["*"], [None], [["10.0.0.0/8"]]]
)
def test_what_is_no_network_is_refused(trusted: list[str]) -> None:
    """A typing error must not trust nobody, nor everybody."""
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        AddressResolver(trusted)
