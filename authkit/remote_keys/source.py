"""A KeySource over HTTP: where the key set is, and one bounded fetch of it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import httpx

from authkit.clock import Clock, SystemClock
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import KeySetDocument
from authkit.jose.encoding import NotStrict
from authkit.key_set.arguments import check_number
from authkit.key_set.causes import failure
from authkit.key_set.parsing import parse_in_background
from authkit.remote_keys.addresses import (
    AddressRefused,
    checked_address,
    discovery_addresses,
    host_of,
)
from authkit.remote_keys.discovery import Discovery
from authkit.remote_keys.freshness import fresh_seconds
from authkit.remote_keys.http import HttpClient, Reply, get

if TYPE_CHECKING:
    from authkit.interfaces import KeySource

__all__ = ["HttpKeySource"]

_log = logging.getLogger("authkit")

_ETAG: Final = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,256}"')
"""RFC 9110 section 8.8.3, in ASCII and of a length to send back."""


class HttpKeySource:
    """Fetches a key set from `jwks_url`, or from where the issuer's discovery document says.

    Over https only, without following redirects; `timeout_seconds` and `max_bytes` bound all
    of a fetch, discovery included.  An issuer's document must name exactly that issuer.  It is
    read again every hour and whenever its address served no keys, so that keys which move are
    found without a restart.

    A client that is given stays its owner's: it is never closed, and its settings (proxies,
    certificates) hold.  Without one, a client is made for each fetch and closed after it, and
    follows the environment's proxy and certificate settings (`HTTPS_PROXY`, `SSL_CERT_FILE`)
    as any program of the machine does, but not with `insecure_loopback_http`.

    Args:
        jwks_url: the address of the key set; None finds it by discovery.
        issuer: whose keys they are; needed for discovery.
        discovery_url: where the discovery document is, if not at the well-known addresses.
        client: an `httpx.AsyncClient`, or one with the same interface.
        clock: tells the time; None is the machine's.
        timeout_seconds: for a whole fetch, from looking up the host to the last byte.
        max_bytes: of a decoded document.
        max_keys: a set of more keys is refused as a whole.
        fresh_seconds: how long a set is fresh whose server says nothing of it.
        min_fresh_seconds: less than this is taken to be this.
        max_fresh_seconds: more than this is taken to be this.
        insecure_loopback_http: allows plain http to this very machine, for tests.

    Raises:
        ConfigurationError: the addresses are not ones that keys may come from.
    """

    def __init__(
        self,
        jwks_url: str | None = None,
        *,
        issuer: str | None = None,
        discovery_url: str | None = None,
        client: HttpClient | None = None,
        clock: Clock | None = None,
        timeout_seconds: float = 5.0,
        max_bytes: int = 1024 * 1024,
        max_keys: int = 1000,
        fresh_seconds: float = 600.0,
        min_fresh_seconds: float = 60.0,
        max_fresh_seconds: float = 86400.0,
        insecure_loopback_http: bool = False,
    ) -> None:
        check_number("timeout_seconds", timeout_seconds, above=0)
        check_number("max_bytes", max_bytes, at_least=1)
        check_number("max_keys", max_keys, at_least=1)
        check_number("fresh_seconds", fresh_seconds)
        check_number("min_fresh_seconds", min_fresh_seconds)
        check_number("max_fresh_seconds", max_fresh_seconds, at_least=min_fresh_seconds)
        if not isinstance(insecure_loopback_http, bool):
            raise ConfigurationError("insecure_loopback_http must be True or False")
        _check_client(client)
        self._clock = SystemClock() if clock is None else clock
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._max_keys = max_keys
        self._fresh_seconds = fresh_seconds
        self._min_fresh_seconds = min_fresh_seconds
        self._max_fresh_seconds = max_fresh_seconds
        self._insecure_loopback_http = insecure_loopback_http
        self._is_announced = not insecure_loopback_http
        self._tls: ssl.SSLContext | None = None
        addresses = self._addresses(jwks_url, issuer, discovery_url)
        self._address, self._host = addresses[0], host_of(addresses[0])
        self._discovery: Discovery | None = None
        if jwks_url is None and issuer is not None:
            self._discovery = Discovery(
                issuer,
                addresses,
                insecure_loopback_http=insecure_loopback_http,
                clock=self._clock,
                max_bytes=max_bytes,
            )
        self._etag_of: tuple[str, str | None] | None = None

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        """The current document; `previous` with a later time where the server says so (304).

        Raises:
            BackendUnavailable: no key set was had in time, for whatever reason; the message
                names the host, the cause is chained.
        """
        self._announce()
        try:
            ends_at = asyncio.get_running_loop().time() + self._timeout_seconds
            async with asyncio.timeout_at(ends_at), self._session() as client:
                return await self._fetch(client, previous, ends_at)
        except BackendUnavailable:
            raise
        except TimeoutError as error:
            raise BackendUnavailable(
                "keys", f"{self._host} did not answer within {self._timeout_seconds:g} s"
            ) from error
        except Exception as error:
            raise BackendUnavailable(
                "keys", f"{self._host} could not be asked: {failure(error)}"
            ) from error

    async def _fetch(
        self, client: HttpClient, previous: KeySetDocument | None, ends_at: float
    ) -> KeySetDocument:
        if self._discovery is None:
            return await self._key_set(client, self._address, previous, ends_at)
        address = await self._discovery.jwks_address(client, ends_at)
        document = await self._key_set(client, address, previous, ends_at)
        self._discovery.confirm()
        return document

    async def _key_set(
        self, client: HttpClient, address: str, previous: KeySetDocument | None, ends_at: float
    ) -> KeySetDocument:
        etag = None
        if previous is not None and self._etag_of == (address, previous.etag):
            etag = previous.etag  # Only where it came from: keys that moved are fetched in full.
        asked_at = self._clock.time()
        reply = await get(client, address, max_bytes=self._max_bytes, ends_at=ends_at, etag=etag)
        if reply.status == 304 and previous is not None and etag is not None:
            fresh = self._fresh(reply)
            return dataclasses.replace(previous, fetched_at=asked_at, fresh_seconds=fresh)
        if reply.status != 200:
            raise BackendUnavailable(
                "keys", f"{host_of(address)} answered with status {reply.status}"
            )
        if previous is None or reply.body != previous.body:
            await self._check_body(reply.body, address)
        etag = _entity_tag(reply)
        self._etag_of = (address, etag)
        return KeySetDocument(
            body=reply.body, etag=etag, fetched_at=asked_at, fresh_seconds=self._fresh(reply)
        )

    async def _check_body(self, body: bytes, address: str) -> None:
        try:
            await parse_in_background(body, max_keys=self._max_keys)
        except NotStrict as error:
            raise BackendUnavailable(
                "keys", f"{host_of(address)} answered with something else than a JWK Set"
            ) from error

    def _fresh(self, reply: Reply) -> float:
        seconds = fresh_seconds(reply.headers, default=self._fresh_seconds)
        return min(max(seconds, self._min_fresh_seconds), self._max_fresh_seconds)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[HttpClient]:
        """A client for one fetch: they are minutes apart, so there is no connection to keep."""
        if self._client is not None:
            yield self._client
            return
        trust_env = not self._insecure_loopback_http  # A proxy is no way to this very machine.
        if self._tls is None:
            # Reading the certificate authorities takes some 40 ms.
            self._tls = await asyncio.to_thread(httpx.create_ssl_context, trust_env=trust_env)
        async with httpx.AsyncClient(verify=self._tls, trust_env=trust_env) as client:
            yield client

    def _announce(self) -> None:
        if not self._is_announced:
            self._is_announced = True
            _log.warning(
                "keys from %s: insecure_loopback_http allows http to this machine", self._host
            )

    def _addresses(
        self, jwks_url: str | None, issuer: str | None, discovery_url: str | None
    ) -> tuple[str, ...]:
        """Where to ask first, checked: for the key set, or else for the discovery document."""
        if jwks_url is not None:
            if discovery_url is not None:
                raise ConfigurationError("give a jwks_url or a discovery_url, not both")
            return (self._checked("jwks_url", jwks_url),)
        if issuer is None:
            raise ConfigurationError(
                "give the issuer, whose keys are found by discovery, or a jwks_url; "
                "a discovery_url needs the issuer too, which its document must name"
            )
        if discovery_url is not None:
            return (self._checked("discovery_url", discovery_url),)
        try:
            return discovery_addresses(self._checked("issuer", issuer))
        except AddressRefused as error:
            raise ConfigurationError(f"issuer {error}; or give a discovery_url") from None

    def _checked(self, name: str, address: str) -> str:
        try:
            return checked_address(address, insecure_loopback_http=self._insecure_loopback_http)
        except AddressRefused as error:
            hint = "; or give a jwks_url or a discovery_url" if name == "issuer" else ""
            raise ConfigurationError(f"{name} {error}{hint}") from None


def _check_client(client: object) -> None:
    if client is None:
        return
    is_synchronous = hasattr(client, "close") and not hasattr(client, "aclose")
    is_class = isinstance(client, type)
    if is_class or is_synchronous or not callable(getattr(client, "stream", None)):
        raise ConfigurationError(
            "client must be an asynchronous HTTP client, such as httpx.AsyncClient()"
        )


def _entity_tag(reply: Reply) -> str | None:
    etag = reply.headers.get("etag", "")
    return etag if _ETAG.fullmatch(etag) else None


if TYPE_CHECKING:

    def _conforms(source: HttpKeySource, client: httpx.AsyncClient) -> tuple[KeySource, HttpClient]:
        return source, client
