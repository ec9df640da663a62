"""Asks the source that is shared, within bounds, and takes nothing from it that is no key set."""

from __future__ import annotations

import asyncio
import math

from authkit.errors import BackendUnavailable
from authkit.interfaces import KeySetDocument, KeySource
from authkit.jose.encoding import NotStrict
from authkit.key_set.causes import failure
from authkit.key_set.parsing import parse_in_background
from authkit_redis.shared_keys.figures import Figures

__all__ = ["ProviderRequests"]


class ProviderRequests:
    """Requests to the source.

    Args:
        source: is asked.
        figures: count the requests.
        timeout_seconds: for one request.
        max_keys: of a key set.
    """

    __slots__ = ("_figures", "_max_keys", "_parsed", "_source", "_timeout_seconds")

    def __init__(
        self, source: KeySource, figures: Figures, *, timeout_seconds: float, max_keys: int
    ) -> None:
        self._source = source
        self._figures = figures
        self._timeout_seconds = timeout_seconds
        self._max_keys = max_keys
        self._parsed: bytes | None = None

    async def ask(self, previous: KeySetDocument | None) -> KeySetDocument:
        """What the source gives.

        Raises:
            BackendUnavailable: it gave none in time, or something else than a JWK Set.
        """
        self._figures.provider_requests_total += 1
        try:
            async with asyncio.timeout(self._timeout_seconds):
                document = await self._source.fetch(previous)
            if not math.isfinite(document.fetched_at + document.fresh_seconds):
                raise NotStrict
            if not isinstance(document.etag, str | None):
                raise NotStrict
            await self.require_key_set(document.body)
        except BackendUnavailable:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not this request: something inside the source was cancelled.
            raise BackendUnavailable("keys", f"the source failed with {failure(error)}") from error
        except NotStrict as error:
            reason = "what the source gave is not a JWK Set"
            raise BackendUnavailable("keys", reason) from error
        except TimeoutError as error:
            raise BackendUnavailable("keys", "the source did not answer in time") from error
        except Exception as error:
            raise BackendUnavailable("keys", f"the source failed with {failure(error)}") from error
        return document

    async def require_key_set(self, body: bytes) -> None:
        """Does nothing if it is a JWK Set; the last one is remembered.

        Raises:
            NotStrict: it is none.
        """
        if body != self._parsed:
            await parse_in_background(body, max_keys=self._max_keys)
            self._parsed = body
