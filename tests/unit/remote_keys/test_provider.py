"""One line makes a provider; wrong ones fail at once and say what to do."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from authkit.errors import ConfigurationError
from authkit.jose.jws import UnverifiedToken, verify_signature
from authkit.remote_keys import HttpKeySource, RemoteKeyProvider
from tests.unit.remote_keys.web import (
    ISSUER,
    JWKS_URL,
    KEY,
    Web,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("arguments", "what_to_do"),
    [
        ({}, "jwks_url"),
        ({"discovery_url": JWKS_URL}, "needs the issuer"),
        ({"issuer": ISSUER, "jwks_url": JWKS_URL, "discovery_url": JWKS_URL}, "not both"),
        ({"issuer": "http://login.example.com"}, "issuer must use https"),
        ({"issuer": "http://localhost:1"}, "insecure_loopback_http=True"),
        ({"issuer": "my-issuer"}, "give a jwks_url"),
        ({"issuer": ""}, "issuer must be an absolute https"),
        ({"issuer": ISSUER + "/?tenant=1"}, "discovery_url"),
        ({"issuer": ISSUER + "/#x"}, "fragment"),
        ({"jwks_url": "http://keys.example.com"}, "jwks_url must use https"),
        ({"jwks_url": "https://me:secret@keys.example.com"}, "user name or password"),
        ({"issuer": ISSUER, "discovery_url": "ftp://x"}, "discovery_url must be"),
        ({"issuer": ISSUER, "client": httpx.AsyncClient}, "client"),
        ({"issuer": ISSUER, "client": object()}, "client"),
        ({"issuer": ISSUER, "timeout_seconds": 0}, "timeout_seconds"),
        ({"issuer": ISSUER, "max_bytes": 0}, "max_bytes"),
        ({"issuer": ISSUER, "max_keys": 0}, "max_keys"),
        ({"issuer": ISSUER, "fresh_seconds": -1}, "fresh_seconds"),
        ({"issuer": ISSUER, "min_fresh_seconds": 10, "max_fresh_seconds": 9}, "max_fresh_seconds"),
        ({"issuer": ISSUER, "cooldown_seconds": -1}, "cooldown_seconds"),
    ],
    ids=repr,
)
def test_wrong_configuration_fails_at_construction_and_says_what_to_do(
    arguments: dict[str, Any], what_to_do: str
) -> None:
    """Not at the first request, and without showing a password."""
    with pytest.raises(ConfigurationError, match=what_to_do) as refused:
        RemoteKeyProvider(**arguments)
    assert "secret" not in str(refused.value)


def test_a_client_that_blocks_is_refused() -> None:
    """It would stop the event loop at every refresh."""
    with httpx.Client() as client:
        wrong: Any = client
        with pytest.raises(ConfigurationError, match="asynchronous"):
            HttpKeySource(JWKS_URL, client=wrong)


async def test_one_line_makes_a_provider_that_verifies(web: Web) -> None:
    """From the issuer's name to a proven signature."""
    web.publish()
    async with web.client() as client, RemoteKeyProvider(ISSUER, client=client) as provider:
        token = UnverifiedToken.parse(KEY.sign({}, {"iss": ISSUER}))
        header = token.header()
        keys = await provider.find(header.kid, header.alg)
        assert verify_signature(token, header, keys).claims == {"iss": ISSUER}


async def test_changes_are_told_in_the_name_of_the_issuer(web: Web) -> None:
    """Or of the key set's host, where no issuer is named."""
    web.publish()
    async with web.client() as client:
        for provider, name in (
            (RemoteKeyProvider(ISSUER, client=client), ISSUER),
            (RemoteKeyProvider(ISSUER, jwks_url=JWKS_URL, client=client), ISSUER),
            (RemoteKeyProvider(jwks_url=JWKS_URL, client=client), "keys.example.com"),
        ):
            names: list[str] = []
            provider.observe(lambda change, names=names: names.append(change.name))  # type: ignore[misc]
            await provider.refresh()
            assert names == [name]
