"""What becomes of a reply that is not of the form that the script gives."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from authkit_redis.link import ReplyError

__all__ = ["well_formed"]


@contextmanager
def well_formed() -> Iterator[None]:
    """Reads a reply in its block.

    Raises:
        ReplyError: with the code UNREADABLE, where the block stumbles over the reply.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error):
        is_readable = False
    else:
        is_readable = True
    if not is_readable:
        raise ReplyError("UNREADABLE")
