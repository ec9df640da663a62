"""The key set is found where the issuer says, and found again when it moves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from authkit.errors import BackendUnavailable
from authkit.remote_keys import HttpKeySource
from authkit.testing import ManualClock
from tests.unit.remote_keys.web import (
    BAD_ADDRESSES,
    ISSUER,
    JWKS,
    JWKS_URL,
    OAUTH,
    OIDC,
    OTHER_JWKS,
    Web,
    metadata,
)

pytestmark = pytest.mark.anyio


async def test_a_key_set_is_found_by_discovery(web: Web, by_issuer: HttpKeySource) -> None:
    """The document is asked for once, not with each refresh."""
    await by_issuer.fetch(None)
    await by_issuer.fetch(None)

    assert web.urls == [ISSUER + OIDC, JWKS_URL, JWKS_URL]


async def test_an_authorization_server_without_openid_is_found_too(
    web: Web, by_issuer: HttpKeySource
) -> None:
    """RFC 8414, where there is no OpenID Connect document."""
    web.pages[ISSUER + OIDC] = 404
    web.pages[ISSUER + OAUTH] = metadata()
    await by_issuer.fetch(None)

    assert web.urls == [ISSUER + OIDC, ISSUER + OAUTH, JWKS_URL]


async def test_a_failing_server_is_not_asked_elsewhere(web: Web, by_issuer: HttpKeySource) -> None:
    """Only a document that is not there is looked for at the other address."""
    web.pages[ISSUER + OIDC] = 500
    with pytest.raises(BackendUnavailable, match="discovery with status 500"):
        await by_issuer.fetch(None)
    assert web.urls == [ISSUER + OIDC]


async def test_a_given_discovery_address_is_the_only_one(web: Web, clock: ManualClock) -> None:
    """For an issuer that is no address, too; its name is still compared."""
    address = "https://meta.example.com/config"
    web.pages |= {address: metadata("my-issuer"), JWKS_URL: JWKS}
    async with web.client() as client:
        source = HttpKeySource(issuer="my-issuer", discovery_url=address, client=client)
        assert (await source.fetch(None)).body == JWKS
        with pytest.raises(BackendUnavailable, match="another issuer"):
            await HttpKeySource(issuer="me", discovery_url=address, client=client).fetch(None)


@pytest.mark.parametrize(
    "issuer",
    [ISSUER + "/", ISSUER.upper(), "https://evil.example", "", None, 7, [ISSUER]],
    ids=repr,
)
async def test_a_document_for_another_issuer_is_refused(
    web: Web, by_issuer: HttpKeySource, issuer: object
) -> None:
    """Compared exactly (OpenID Connect Discovery 1.0 section 4.3), and not shown."""
    web.pages[ISSUER + OIDC] = metadata(issuer)
    with pytest.raises(BackendUnavailable, match="another issuer") as refused:
        await by_issuer.fetch(None)
    assert "evil" not in str(refused.value)
    assert JWKS_URL not in web.urls


@pytest.mark.parametrize("jwks_uri", BAD_ADDRESSES, ids=repr)
async def test_a_jwks_uri_that_is_no_https_address_is_never_asked(
    web: Web, by_issuer: HttpKeySource, jwks_uri: object
) -> None:
    """An issuer's document is no way to make us ask anything else (RFC 8414 section 2)."""
    web.pages[ISSUER + OIDC] = json.dumps({"issuer": ISSUER, "jwks_uri": jwks_uri}).encode()
    with pytest.raises(BackendUnavailable, match="jwks_uri"):
        await by_issuer.fetch(None)
    assert web.urls == [ISSUER + OIDC]


@pytest.mark.parametrize(
    "document",
    [b"", b"<html>", b"[]", b"null", b"\xff", b'{"issuer": NaN}', b'{"a": 1, "a": 2}', b"[" * 900],
)
async def test_a_document_that_is_no_strict_json_is_refused(
    web: Web, by_issuer: HttpKeySource, document: bytes
) -> None:
    """It could be read in two ways."""
    web.pages[ISSUER + OIDC] = document
    with pytest.raises(BackendUnavailable, match="JSON object"):
        await by_issuer.fetch(None)


async def test_the_discovery_document_has_the_same_limit(web: Web) -> None:
    """Nothing that is fetched is without one."""
    web.publish()
    async with web.client() as client:
        with pytest.raises(BackendUnavailable, match="more than 20 bytes"):
            await HttpKeySource(issuer=ISSUER, client=client, max_bytes=20).fetch(None)


async def test_an_entity_tag_is_sent_only_to_where_it_came_from(
    web: Web, by_issuer: HttpKeySource, clock: ManualClock
) -> None:
    """Another address may give the same tag to other keys."""
    web.pages[JWKS_URL] = (200, {"etag": '"v1"'}, JWKS)
    document = await by_issuer.fetch(None)
    moved = "https://new.example.com/jwks"
    web.pages[moved] = (200, {"etag": '"v1"'}, OTHER_JWKS)
    web.pages[ISSUER + OIDC] = metadata(jwks_uri=moved)
    clock.advance(3600)
    second = await by_issuer.fetch(document)

    assert web.urls[-1] == moved
    assert "if-none-match" not in web.asked[-1].headers
    assert second.body == OTHER_JWKS


async def test_keys_that_moved_are_found_within_the_hour(
    web: Web, by_issuer: HttpKeySource, clock: ManualClock
) -> None:
    """Even where the old address still answers."""
    await by_issuer.fetch(None)
    moved = "https://new.example.com/jwks"
    web.pages |= {moved: OTHER_JWKS, ISSUER + OIDC: metadata(jwks_uri=moved)}
    clock.advance(3599)
    assert (await by_issuer.fetch(None)).body == JWKS
    clock.advance(1)
    assert (await by_issuer.fetch(None)).body == OTHER_JWKS


@pytest.mark.parametrize("gone", [404, 500, b"<html>", httpx.ConnectError("refused")], ids=repr)
async def test_keys_that_moved_are_found_after_one_failure(
    web: Web, by_issuer: HttpKeySource, gone: object
) -> None:
    """An address that serves no keys is looked up again."""
    document = await by_issuer.fetch(None)
    moved = "https://new.example.com/jwks"
    web.pages |= {moved: OTHER_JWKS, ISSUER + OIDC: metadata(jwks_uri=moved), JWKS_URL: gone}
    with pytest.raises(BackendUnavailable):
        await by_issuer.fetch(document)
    assert (await by_issuer.fetch(document)).body == OTHER_JWKS


async def test_a_known_address_is_kept_while_discovery_is_out_of_order(
    web: Web, clock: ManualClock
) -> None:
    """Keys that are served are used, however the other document fails, or hangs."""

    async def hang(request: object) -> int:
        await asyncio.sleep(60)
        return 500

    web.publish()
    async with web.client() as client:
        source = HttpKeySource(issuer=ISSUER, client=client, clock=clock, timeout_seconds=1)
        await source.fetch(None)
        for trouble in (500, b"<html>", metadata("https://evil.example"), OSError("gone"), hang):
            web.pages[ISSUER + OIDC] = trouble
            clock.advance(3600)
            assert (await source.fetch(None)).body == JWKS
    assert web.urls.count(ISSUER + OIDC) == 6


async def test_a_fetch_has_one_deadline_for_all_of_it(web: Web) -> None:
    """Two slow answers do not get twice the time."""

    async def slow(request: Any) -> bytes:
        await asyncio.sleep(0.6)
        return metadata() if "well-known" in str(request.url) else JWKS

    web.pages = {ISSUER + OIDC: slow, JWKS_URL: slow}
    async with web.client() as client:
        source = HttpKeySource(issuer=ISSUER, client=client, timeout_seconds=1)
        with pytest.raises(BackendUnavailable, match="did not answer within 1 s"):
            await source.fetch(None)
