"""Reading the log page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from authkit_redis.link import Link
from authkit_redis.revocations.keys import RevocationKeys
from authkit_redis.revocations.scripts import PAGE
from authkit_redis.revocations.timing import Timing

__all__ = ["PAGE_ENTRIES", "Pages"]

PAGE_ENTRIES = 200
"""Entries read at once: what a page takes to take in, the event loop does nothing else."""


class Pages:
    """Reads the log of one prefix.

    Args:
        link: to the servers.
        keys: where the log is.
        timing: its times.
    """

    def __init__(self, link: Link, keys: RevocationKeys, timing: Timing) -> None:
        self._link = link
        self._keys = keys
        self._timing = timing

    async def all(
        self, *, announces: bool
    ) -> AsyncGenerator[tuple[bytes, list[tuple[bytes, bytes]]]]:
        """Of each page its ids and payloads; with the last one where the log ends, else nothing.

        Each page is asked for while the one before it is taken in.

        Args:
            announces: keeps everybody waiting for what will be written back.

        Raises:
            LinkError: the server did not answer.
        """
        coming: asyncio.Future[Any] = self._page(b"-", announces)
        is_bare, start, end = False, b"-", b""
        try:
            while not end:
                reply = await coming
                if not is_bare:
                    end, entries = reply[0], list(zip(reply[1::2], reply[2::2], strict=True))
                else:
                    entries = [(id, fields[1]) for id, fields in reply]
                if entries:
                    start = b"(" + entries[-1][0]
                if not end:
                    # Only the script can tell where the log ends; it costs the server much more.
                    is_bare = not announces and len(entries) == PAGE_ENTRIES
                    coming = self._bare_page(start) if is_bare else self._page(start, announces)
                    await asyncio.sleep(0)  # so that it is sent
                yield end, entries
        finally:
            coming.cancel()

    async def after(self, id: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """The id of the log's end where the page is the last one, and its ids and payloads.

        Raises:
            LinkError: the server did not answer.
        """
        end, *page = await self._page(b"(" + id, announces=False)
        return end, list(zip(page[::2], page[1::2], strict=True))

    def _page(self, start: bytes, announces: bool) -> asyncio.Future[list[bytes]]:
        announced_ms = round(self._timing.repair * 1000) if announces else 0
        return asyncio.ensure_future(
            self._link.run(
                PAGE,
                (self._keys.log, self._keys.repair),
                (start, PAGE_ENTRIES, announced_ms),
                timeout_seconds=self._timing.timeout,
                is_repeatable=True,
            )
        )

    def _bare_page(self, start: bytes) -> asyncio.Future[Any]:
        log = self._keys.log
        return asyncio.ensure_future(
            self._link.call(
                *(b"XRANGE", log, start, b"+", b"COUNT", PAGE_ENTRIES),
                timeout_seconds=self._timing.timeout,
                key=log,
            )
        )
