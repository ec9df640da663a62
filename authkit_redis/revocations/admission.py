"""Whether the server lets this user do all that the revocations need, and is set up for it."""

from __future__ import annotations

import secrets

from authkit_redis import server_policy
from authkit_redis.link import Link
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.scripts import CHECK
from authkit_redis.revocations.timing import Timing

__all__ = ["admission"]

_WORDS = {
    "SECRET": "another secret is in use under this prefix; processes with different "
    "secrets would not see each other's revocations",
}


async def admission(link: Link, keys: RevocationKeys, check: bytes, timing: Timing) -> bool:
    """Tries all that is needed; whether the server drops keys when its memory is full.

    Raises:
        ConfigurationError: the user is not let in, or lacks a command; another secret is in use
            under this prefix; or another program's data stand there.
        LinkError: the server did not answer, or cannot answer now.
    """
    return await server_policy.admission(
        link,
        "revocations",
        CHECK,
        (keys.log, keys.head, keys.issuers, keys.repair, keys.point(secrets.token_bytes(15))),
        (check,),
        timeout_seconds=timing.timeout,
        words=_WORDS,
    )
