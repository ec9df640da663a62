"""Finds an issuer's JWKS address in its discovery document, and finds it again when it moves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf
from typing import Final

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.jose.encoding import NotStrict, parse_json_object
from authkit.remote_keys.addresses import AddressRefused, checked_address, host_of
from authkit.remote_keys.http import HttpClient, get

__all__ = ["Discovery"]

_REDISCOVERY_SECONDS: Final = 3600.0
"""How long an address is taken for granted while it serves keys."""

_MAX_DEPTH: Final = 64


class Discovery:
    """The JWKS address of one issuer (OpenID Connect Discovery 1.0, RFC 8414).

    Args:
        issuer: what the document must say that it is for, exactly.
        addresses: where the document may be, in order; the next is tried where one is not found.
        insecure_loopback_http: whether keys may come over http from this machine.
        clock: tells the time.
        max_bytes: how large the document may be.
    """

    def __init__(
        self,
        issuer: str,
        addresses: tuple[str, ...],
        *,
        insecure_loopback_http: bool,
        clock: Clock,
        max_bytes: int,
    ) -> None:
        self._issuer = issuer
        self._addresses = addresses
        self._insecure_loopback_http = insecure_loopback_http
        self._clock = clock
        self._max_bytes = max_bytes
        self._found: str | None = None
        self._found_at = -inf
        self._is_confirmed = False

    def confirm(self) -> None:
        """Says that the address served keys; without that it is looked up again next time."""
        self._is_confirmed = True

    async def jwks_address(self, client: HttpClient, ends_at: float) -> str:
        """The address; a known one is kept where it cannot be looked up again in half the time.

        Raises:
            BackendUnavailable: there is no document, or not one that is good for this issuer.
            Exception: whatever the client raises.
        """
        now = self._clock.monotonic()
        if self._found is None:
            self._found = await self._discover(client, ends_at)
            self._found_at = now
        elif not self._is_confirmed or now - self._found_at >= _REDISCOVERY_SECONDS:
            # That the document is out of order is no reason to do without keys that are still
            # served.  Where they are not, that is the failure to report.
            with suppress(Exception):
                # The other half of the time is for the keys at the known address.
                half = (asyncio.get_running_loop().time() + ends_at) / 2
                async with asyncio.timeout_at(half):
                    self._found = await self._discover(client, half)
                self._found_at = now
        self._is_confirmed = False
        return self._found

    async def _discover(self, client: HttpClient, ends_at: float) -> str:
        host, status = host_of(self._addresses[0]), 404
        for address in self._addresses:
            reply = await get(client, address, max_bytes=self._max_bytes, ends_at=ends_at)
            status = reply.status
            if status == 200:
                return self._jwks_uri(reply.body, host)
            if status != 404:
                break
        raise BackendUnavailable("keys", f"{host} answered discovery with status {status}")

    def _jwks_uri(self, body: bytes, host: str) -> str:
        try:
            document = parse_json_object(body, max_depth=_MAX_DEPTH)
        except NotStrict as error:
            raise BackendUnavailable(
                "keys", f"{host} answered discovery with something else than a JSON object"
            ) from error
        if document.get("issuer") != self._issuer:
            raise BackendUnavailable(
                "keys", f"the discovery document of {host} is another issuer's"
            )
        try:
            return checked_address(
                document.get("jwks_uri"), insecure_loopback_http=self._insecure_loopback_http
            )
        except AddressRefused as error:
            raise BackendUnavailable(
                "keys", f"the jwks_uri in the discovery document of {host} {error}"
            ) from error
