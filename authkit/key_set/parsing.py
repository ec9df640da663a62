"""Parses a published key set without holding up the event loop."""

from __future__ import annotations

import asyncio
from typing import Final

from authkit.jose.jwk import JWK, parse_jwk_set

__all__ = ["parse_in_background"]

_LARGE_BYTES: Final = 32 * 1024
"""From here on, some 0.5 ms, parsing is worth the way to a thread and back."""


async def parse_in_background(body: bytes, *, max_keys: int) -> tuple[JWK, ...]:
    """`parse_jwk_set`, in a thread if the set is large.

    Raises:
        NotStrict: not a JWK Set, or one of more than `max_keys` entries.
    """
    if len(body) < _LARGE_BYTES:
        return parse_jwk_set(body, max_keys=max_keys)
    return await asyncio.to_thread(parse_jwk_set, body, max_keys=max_keys)
