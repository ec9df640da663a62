"""Calls to Redis over few connections: deadlines, and an error that says what is known."""

from __future__ import annotations

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
from authkit_redis.link.over_client import link_over

__all__ = [
    "AccessRefused",
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
