"""One fetch is bounded in time and size, follows nothing, and fails in one way only."""

from __future__ import annotations

import asyncio
import json
import ssl

import httpx
import httpx2
import pytest

from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument
from authkit.remote_keys import HttpKeySource, RemoteKeyProvider
from authkit.testing import ManualClock
from tests.unit.remote_keys.web import (
    ISSUER,
    JWKS,
    JWKS_URL,
    KEY,
    Web,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [("max-age=1", 60.0), ("max-age=120", 120.0), ("max-age=31536000", 86400.0), ("", 600.0)],
)
async def test_freshness_is_kept_within_bounds(
    web: Web, by_address: HttpKeySource, cache_control: str, seconds: float
) -> None:
    """A minute at least, a day at most, ten minutes where nothing is said."""
    web.pages[JWKS_URL] = (200, {"cache-control": cache_control}, JWKS)
    assert (await by_address.fetch(None)).fresh_seconds == seconds


async def test_a_key_set_is_fetched_from_its_address(
    web: Web, by_address: HttpKeySource, clock: ManualClock
) -> None:
    """In one request, which asks for no compression."""
    document = await by_address.fetch(None)

    assert document == KeySetDocument(
        body=JWKS, etag=None, fetched_at=clock.time(), fresh_seconds=600
    )
    assert web.urls == [JWKS_URL]
    assert web.asked[0].headers["accept-encoding"] == "identity"
    assert "if-none-match" not in web.asked[0].headers


@pytest.mark.parametrize("document", [b"", b"<html>", b"{}", b'{"keys": 1}', b'{"keys": [NaN]}'])
async def test_a_key_set_that_is_none_is_refused(
    web: Web, by_address: HttpKeySource, document: bytes
) -> None:
    """By the source already, so that nobody shares it with a fleet."""
    web.pages[JWKS_URL] = document
    with pytest.raises(BackendUnavailable, match="JWK Set"):
        await by_address.fetch(None)


async def test_a_set_of_too_many_keys_is_refused(web: Web) -> None:
    """As a whole: which of them would be left out nobody could say."""
    web.pages[JWKS_URL] = json.dumps({"keys": [KEY.public_jwk()] * 3}).encode()
    async with web.client() as client:
        assert await HttpKeySource(JWKS_URL, client=client, max_keys=3).fetch(None)
        with pytest.raises(BackendUnavailable, match="JWK Set"):
            await HttpKeySource(JWKS_URL, client=client, max_keys=2).fetch(None)


@pytest.mark.parametrize(
    "status", [201, 204, 206, 301, 302, 303, 304, 307, 308, 401, 404, 500, 503]
)
async def test_only_200_brings_keys(web: Web, by_address: HttpKeySource, status: int) -> None:
    """Redirects are not followed, and a 304 is an answer only to a question."""
    elsewhere = "https://evil.example/jwks"
    web.pages[elsewhere] = JWKS
    web.pages[JWKS_URL] = (status, {"location": elsewhere}, JWKS)
    with pytest.raises(BackendUnavailable, match=f"keys.example.com answered with status {status}"):
        await by_address.fetch(None)
    assert web.urls == [JWKS_URL]


async def test_a_client_that_follows_redirects_does_not_here(web: Web) -> None:
    """Its owner's setting is for its owner's requests."""
    web.pages = {
        JWKS_URL: (302, {"location": "https://x.example/"}, b""),
        "https://x.example/": JWKS,
    }
    async with web.http.AsyncClient(
        transport=web.http.MockTransport(web.answer), follow_redirects=True
    ) as client:
        with pytest.raises(BackendUnavailable, match="302"):
            await HttpKeySource(JWKS_URL, client=client).fetch(None)
    assert web.urls == [JWKS_URL]


async def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(web: Web) -> None:
    """The limit is on what is left after decoding."""
    web.pages[JWKS_URL] = JWKS
    async with web.client() as client:
        assert await HttpKeySource(JWKS_URL, client=client, max_bytes=len(JWKS)).fetch(None)
        with pytest.raises(BackendUnavailable, match=f"more than {len(JWKS) - 1} bytes"):
            await HttpKeySource(JWKS_URL, client=client, max_bytes=len(JWKS) - 1).fetch(None)


async def test_a_set_that_has_not_changed_is_not_sent_again(
    web: Web, by_address: HttpKeySource, clock: ManualClock
) -> None:
    """The entity tag is asked with, and 304 prolongs what is known by what the server now says."""
    web.pages[JWKS_URL] = (200, {"etag": 'W/"v1"', "cache-control": "max-age=100"}, JWKS)
    first = await by_address.fetch(None)
    assert first.etag == 'W/"v1"'
    clock.advance(50)
    web.pages[JWKS_URL] = (304, {"cache-control": "max-age=200"}, b"")
    second = await by_address.fetch(first)

    assert web.asked[1].headers["if-none-match"] == 'W/"v1"'
    assert second.body is first.body
    assert second.etag == first.etag
    assert second.fetched_at == first.fetched_at + 50
    assert second.fresh_seconds == 200


@pytest.mark.parametrize(
    "etag", ["v1", '"a"b"', '"\x7f"', '"é"', f'"{"x" * 300}"', 'w/"v1"', '"a", "b"', ""]
)
async def test_an_entity_tag_that_is_none_is_not_sent_back(
    web: Web, by_address: HttpKeySource, etag: str
) -> None:
    """What a server puts into a header is not put into ours unread."""
    web.pages[JWKS_URL] = (200, {"etag": etag.encode("latin-1")}, JWKS)
    document = await by_address.fetch(None)
    assert document.etag is None
    await by_address.fetch(document)
    assert "if-none-match" not in web.asked[1].headers


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.InvalidURL("odd"),
        httpx2.ReadError("reset"),
        ssl.SSLError("no certificate"),
        UnicodeError("odd"),
        ValueError("odd"),
        RecursionError(),
        ExceptionGroup("several", [OSError("one"), OSError("two")]),
    ],
    ids=repr,
)
async def test_whatever_a_client_raises_is_an_outage(
    web: Web, by_address: HttpKeySource, error: Exception
) -> None:
    """With the cause chained, and its type in the message."""
    web.pages[JWKS_URL] = error
    with pytest.raises(BackendUnavailable, match=type(error).__name__) as refused:
        await by_address.fetch(None)
    assert refused.value.interface == "keys"
    assert refused.value.__cause__ is error


async def test_a_message_holds_no_secret_of_the_address(web: Web) -> None:
    """Some put a key into a path or a query."""
    address = "https://keys.example.com/hidden-path?key=hidden-key"
    async with web.client() as client:
        source = HttpKeySource(address, client=client)
        for page in (404, b"<html>", OSError("x")):
            web.pages[address] = page
            with pytest.raises(BackendUnavailable, match=r"keys\.example\.com") as refused:
                await source.fetch(None)
            assert "hidden" not in str(refused.value)


async def test_cancelling_a_fetch_cancels_it(web: Web, by_address: HttpKeySource) -> None:
    """It is not turned into an outage."""

    async def hang(request: object) -> bytes:
        await asyncio.sleep(60)
        return JWKS

    web.pages[JWKS_URL] = hang
    fetch = asyncio.create_task(by_address.fetch(None))
    await asyncio.sleep(0.01)
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch


async def test_a_client_that_is_given_stays_open_and_one_that_is_closed_is_an_outage(
    web: Web,
) -> None:
    """It is its owner's to close."""
    web.publish()
    client = web.client()
    async with RemoteKeyProvider(ISSUER, client=client, cooldown_seconds=0) as provider:
        assert await provider.find("a", "ES256")
    assert not client.is_closed
    await client.aclose()
    with pytest.raises(BackendUnavailable):
        await HttpKeySource(JWKS_URL, client=client).fetch(None)
