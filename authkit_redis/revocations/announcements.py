"""Tells the subscribers of this process what the log says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from authkit.interfaces import Revocation, RevocationScope
from authkit.jose.encoding import encode_base64url
from authkit.revocations import Feed, Subscription
from authkit_redis.link import LinkError
from authkit_redis.revocations.entries import TAG, Entry, scope_of
from authkit_redis.revocations.issuer_names import IssuerNames

__all__ = ["Announcements"]

_UNKNOWN_ISSUER = "unknown"


class Announcements:
    """Makes revocations of the log's entries, as far as entries tell, and publishes them.

    Args:
        names: the issuers by their tags.
    """

    def __init__(self, names: IssuerNames) -> None:
        self._names = names
        self._feed = Feed()
        self._unnamed: list[Entry] = []
        self._naming: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._feed)

    @property
    def overflow_total(self) -> int:
        """Subscribers that fell too far behind."""
        return self._feed.overflow_total

    def subscribe(self) -> Subscription:
        """A subscription that hears of everything from now on."""
        return self._feed.subscribe()

    def made_here(self, revocation: Revocation) -> None:
        """Publishes a revocation that this process has made."""
        self._names.add(revocation.issuer)
        self._feed.publish(revocation)

    def learnt(self, entries: Sequence[Entry]) -> None:
        """Publishes what the log has told, the liftings left out."""
        if not len(self._feed):
            return
        for entry in entries:
            if entry.is_lifted:
                continue
            if self._unnamed or self._names.get(entry.what[TAG:]) is None:
                self._unnamed.append(entry)
            else:
                self._publish(entry)
        if self._unnamed and (self._naming is None or self._naming.done()):
            self._naming = asyncio.create_task(self._name())

    async def _name(self) -> None:
        """Publishes revocations by issuers that this process has not heard of before."""
        with suppress(LinkError):
            await self._names.restore()
        unnamed, self._unnamed = self._unnamed, []
        for entry in unnamed:
            self._publish(entry)

    def _publish(self, entry: Entry) -> None:
        issuer = self._names.get(entry.what[TAG:]) or _UNKNOWN_ISSUER
        is_issuer = scope_of(entry.what) is RevocationScope.ISSUER
        self._feed.publish(
            entry.revocation(issuer, "" if is_issuer else encode_base64url(entry.digest))
        )
