"""Keys come from absolute https addresses, and from this machine where that is asked for."""

from __future__ import annotations

import pytest

from authkit.remote_keys.addresses import AddressRefused, checked_address, discovery_addresses
from tests.unit.remote_keys.web import (
    BAD_ADDRESSES,
    OAUTH,
    OIDC,
)


@pytest.mark.parametrize(
    "address",
    [
        "https://login.example.com",
        "https://login.example.com:8443/a/b/?c=d&e=%20",
        "https://[2001:db8::1]/jwks",
        "https://192.0.2.7/jwks",
        "https://under_score.example/",
        "https://localhost/jwks",
        "HTTPS://LOGIN.example.com/",
    ],
)
def test_an_absolute_https_address_is_taken_as_it_is(address: str) -> None:
    """Whatever is in its path and query."""
    assert checked_address(address, insecure_loopback_http=False) == address


@pytest.mark.parametrize("address", BAD_ADDRESSES, ids=repr)
@pytest.mark.parametrize("insecure", [False, True], ids=["secure", "insecure"])
def test_no_other_address_is(address: object, insecure: bool) -> None:
    """Neither one without TLS nor one that can be read in two ways; nothing is shown."""
    with pytest.raises(AddressRefused) as refused:
        checked_address(address, insecure_loopback_http=insecure)
    assert "password" not in str(refused.value).replace("user name or password", "")
    assert "example" not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["http://localhost:8000/", "http://127.0.0.1/", "http://127.8.8.8/", "http://[::1]/"]
)
def test_plain_http_is_for_this_machine_and_must_be_asked_for(address: str) -> None:
    """The option's name is in the message, since it says what it costs."""
    assert checked_address(address, insecure_loopback_http=True) == address
    with pytest.raises(AddressRefused, match="insecure_loopback_http"):
        checked_address(address, insecure_loopback_http=False)


@pytest.mark.parametrize(
    ("issuer", "oidc", "oauth"),
    [
        ("https://a.example", f"https://a.example{OIDC}", f"https://a.example{OAUTH}"),
        ("https://a.example/", f"https://a.example{OIDC}", f"https://a.example{OAUTH}"),
        ("https://a.example/t", f"https://a.example/t{OIDC}", f"https://a.example{OAUTH}/t"),
        ("https://a.example:1/t/u/", f"https://a.example:1/t/u{OIDC}", None),
    ],
)
def test_a_document_is_looked_for_where_the_two_standards_say(
    issuer: str, oidc: str, oauth: str | None
) -> None:
    """One appends to the issuer's path, the other inserts before it (RFC 8414 section 3.1)."""
    oauth = oauth or f"https://a.example:1{OAUTH}/t/u"
    assert discovery_addresses(issuer) == (oidc, oauth)
