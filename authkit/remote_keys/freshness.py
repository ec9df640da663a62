"""How long an HTTP answer may be used without asking again (RFC 9111 section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["fresh_seconds"]

_FOREVER: Final = 2**31
"""What a number that is too large counts as (RFC 9111 section 1.2.2)."""


def fresh_seconds(headers: Mapping[str, str], *, default: float) -> float:
    """The remaining freshness by `Cache-Control` and `Age`; not below zero.

    Args:
        headers: by lower-case name.
        default: for an answer that says nothing.

    `no-store`, `no-cache` and a `max-age` that is no number count as zero.  `s-maxage` is not
    for us: this is a private cache.
    """
    lifetimes: list[int] = []
    for directive in headers.get("cache-control", "").split(","):
        name, _, value = directive.partition("=")
        match name.strip().lower():
            case "no-store" | "no-cache":
                lifetimes.append(0)
            case "max-age":
                lifetimes.append(_seconds(value.strip().strip('"')))
    if not lifetimes:
        return default
    return float(max(0, min(lifetimes) - _seconds(headers.get("age", "").strip())))


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        return 0
    return int(text) if len(text) < len(str(_FOREVER)) else _FOREVER
