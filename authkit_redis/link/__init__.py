"""Calls to Redis over few connections: deadlines, and an error that says what is known."""

from __future__ import annotations

try:
    import hiredis as _hiredis  # noqa: F401 (only whether it is there)
    import redis as _redis  # noqa: F401 (the same)
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"{_error.name} is not installed: pip install 'pyauthkit[redis]'", name=_error.name
    ) from _error

from authkit_redis.link.errors import (
    AccessRefused,
    LinkError,
    NotSent,
    OutcomeUnknown,
    ReplyError,
    Saturated,
)
from authkit_redis.link.interface import Link, Script, Tail
from authkit_redis.link.opening import open_link
from authkit_redis.link.over_client import Client, link_over

__all__ = [
    "AccessRefused",
    "Client",
    "Link",
    "LinkError",
    "NotSent",
    "OutcomeUnknown",
    "ReplyError",
    "Saturated",
    "Script",
    "Tail",
    "link_over",
    "open_link",
]
