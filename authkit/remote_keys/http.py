"""One bounded GET with any client that has httpx's interface."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from authkit.errors import BackendUnavailable
from authkit.remote_keys.addresses import host_of

__all__ = ["HttpClient", "HttpResponse", "Reply", "get"]

_GZIP: Final = zlib.MAX_WBITS | 16

# What one step may take of the time that is left: connecting, reading, writing, and waiting for a
# connection of the pool.  The client thus gives up before it is cancelled, since httpcore leaves a
# socket open that is cancelled in the TLS handshake, for which the first holds a second time.
_STEPS: Final = (0.45, 0.9, 0.9, 0.9)


class HttpResponse(Protocol):
    """What is used of `httpx.Response`."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def is_stream_consumed(self) -> bool: ...
    def aiter_bytes(self) -> AsyncIterator[bytes]: ...
    def aiter_raw(self) -> AsyncIterator[bytes]: ...


class HttpClient(Protocol):
    """What is used of `httpx.AsyncClient`."""

    def stream(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        follow_redirects: bool,
        timeout: tuple[float, float, float, float],
    ) -> AbstractAsyncContextManager[HttpResponse]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, with its body if the status is 200.

    Attributes:
        status: of HTTP.
        headers: by lower-case name.
        body: decoded.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


async def get(
    client: HttpClient, address: str, *, max_bytes: int, ends_at: float, etag: str | None = None
) -> Reply:
    """Asks once, without following a redirect.

    Args:
        client: asks.
        address: is asked.
        max_bytes: of the decoded body.
        ends_at: when the caller's deadline for all of it is, by the event loop's time.
        etag: of what is known already.

    Raises:
        BackendUnavailable: the decoded body is larger than `max_bytes` or incomplete.
        Exception: whatever the client raises.
    """
    # Compression is not asked for: a key set is small, and a bomb needs it.
    headers = {
        "accept": "application/jwk-set+json, application/json",
        "accept-encoding": "identity",
    }
    if etag is not None:
        headers["if-none-match"] = etag
    left = max(ends_at - asyncio.get_running_loop().time(), 0.001)
    connect, read, write, pool = (share * left for share in _STEPS)
    async with client.stream(
        "GET",
        address,
        headers=headers,
        follow_redirects=False,
        timeout=(connect, read, write, pool),
    ) as response:
        known = {name.lower(): value for name, value in response.headers.items()}
        body = b""
        if response.status_code == 200:
            body = await _body(response, known, address, max_bytes)
        return Reply(status=response.status_code, headers=known, body=body)


async def _body(
    response: HttpResponse, headers: Mapping[str, str], address: str, max_bytes: int
) -> bytes:
    """The body, never holding more than `max_bytes` and one chunk.

    The client's own decoders are not used: they unpack a chunk as a whole, one into
    thousands, and any number of codings one after another.
    """
    coding = headers.get("content-encoding", "").strip().lower()
    if response.is_stream_consumed:  # A transport without a network brings it whole and decoded.
        chunks, coding = response.aiter_bytes(), ""
    else:
        chunks = response.aiter_raw()
    if coding not in ("", "identity", "gzip", "x-gzip"):
        raise BackendUnavailable("keys", f"{host_of(address)} answered in an unknown coding")
    unpacker = zlib.decompressobj(_GZIP) if coding.endswith("gzip") else None
    body = bytearray()
    async for chunk in chunks:
        if unpacker is None:
            body += chunk
        else:
            body += unpacker.decompress(chunk, max_bytes + 1 - len(body))
        if len(body) > max_bytes:
            raise BackendUnavailable(
                "keys", f"{host_of(address)} answered with more than {max_bytes} bytes"
            )
    if unpacker is not None and (not unpacker.eof or unpacker.unused_data):
        raise BackendUnavailable("keys", f"{host_of(address)} answered with broken gzip")
    return bytes(body)
