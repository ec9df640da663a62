"""The issuers by the tags that the log has of them."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain
from typing import Any

from authkit_redis.link import Link
from authkit_redis.revocations.digests import issuer_tag
from authkit_redis.revocations.forms import well_formed
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.scripts import NAMES
from authkit_redis.revocations.timing import Timing

__all__ = ["IssuerNames"]

_MAX_NAMES = 1_000
_LONGEST_NAME = 4_096


class IssuerNames:
    """Remembers which issuer a tag stands for.

    Args:
        link: to the servers.
        keys: where the names are kept for all processes.
        timing: how long a call may take.
    """

    def __init__(self, link: Link, keys: RevocationKeys, timing: Timing) -> None:
        self._link = link
        self._keys = keys
        self._timing = timing
        self._names: dict[bytes, str] = {}

    def add(self, issuer: str) -> None:
        """Learns of an issuer."""
        if len(self._names) < _MAX_NAMES and len(issuer) <= _LONGEST_NAME:
            self._names.setdefault(issuer_tag(issuer), issuer)

    def get(self, tag: bytes) -> str | None:
        """The issuer, where it is known here."""
        return self._names.get(tag)

    async def restore(self) -> None:
        """Learns what others know of, and has them learn what is known here.

        Raises:
            LinkError: the server did not answer.
        """
        known = [(tag, name.encode("utf-8", "surrogatepass")) for tag, name in self._names.items()]
        names: Any = await self._link.run(
            NAMES,
            (self._keys.issuers,),
            tuple(chain.from_iterable(known)),
            timeout_seconds=self._timing.timeout,
            is_repeatable=True,
        )
        with well_formed():
            for tag, name in zip(names[::2], names[1::2], strict=True):
                with suppress(UnicodeDecodeError):
                    issuer = name.decode("utf-8", "surrogatepass")
                    if issuer_tag(issuer) == tag:  # else it is another program's
                        self.add(issuer)
