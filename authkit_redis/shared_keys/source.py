"""A KeySource that shares another one among the processes of a fleet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from authkit.clock import Clock, SystemClock
from authkit.errors import ConfigurationError
from authkit.interfaces import KeySetDocument, KeySource
from authkit.key_set.arguments import check_number
from authkit_redis.link import Link
from authkit_redis.shared_keys.exchange import Exchange
from authkit_redis.shared_keys.fetching import Fetching
from authkit_redis.shared_keys.figures import Figures, Said
from authkit_redis.shared_keys.fleet import Fleet
from authkit_redis.shared_keys.provider_requests import ProviderRequests
from authkit_redis.shared_keys.seal import Seal
from authkit_redis.shared_keys.terms import Terms, key_of

__all__ = ["RedisKeySource"]

_log: Final = logging.getLogger("authkit")


class RedisKeySource:
    """Shares a KeySource: one process of the fleet asks the provider, the others take its answer.

    What stands in Redis has a MAC that needs the `secret`, which is bound to issuer and address:
    whoever can write to Redis can neither add a key nor bring an old set back to a process that
    has seen a newer one.  A record that does not fit is passed over and written anew.

    Ages are by the clock of the Redis server, so that those of the fleet may be minutes apart.
    What is an hour older by these, or comes when the server's clock is behind what it was, is not
    taken: so nobody gives an old answer of the server for a new one.
    While Redis gives nothing, each process asks the source by itself, within the cooldown of the
    KeySetProvider above.

    Args:
        link: to the servers.
        source: is shared; entered and left with this one if it can be.
        issuer: whose keys they are.
        address: where they come from; processes share what has the same issuer and address.
        prefix: of all keys.
        secret: of the fleet, at least 16 bytes.
        insecure_trust_redis: takes keys from Redis without a MAC: whoever can write to it, can
            sign tokens that are accepted.
        fetch_timeout_seconds: for one request to the source, at most 60.
        cooldown_seconds: the least time between two requests of the whole fleet, but for those
            that are made without Redis.
        stale_if_error_seconds: for how long after its freshness a set is given to a process that
            has none, where no newer one is to be had.
        max_fresh_seconds: a document that says more is taken to say this.
        max_keys: a set of more keys is refused as a whole.
        timeout_seconds: for one call to Redis.
        clock: tells the time; None is the machine's.

    Raises:
        ConfigurationError: a value has no sense, or there is neither a secret nor
            `insecure_trust_redis=True`.
    """

    def __init__(
        self,
        link: Link,
        source: KeySource,
        *,
        issuer: str,
        address: str,
        prefix: str = "authkit",
        secret: bytes | None = None,
        insecure_trust_redis: bool = False,
        fetch_timeout_seconds: float = 5.0,
        cooldown_seconds: float = 30.0,
        stale_if_error_seconds: float = 3600.0,
        max_fresh_seconds: float = 86400.0,
        max_keys: int = 1000,
        timeout_seconds: float = 0.25,
        clock: Clock | None = None,
    ) -> None:
        if not callable(getattr(source, "fetch", None)):
            raise ConfigurationError("source must be a KeySource: an object with a method fetch")
        check_number("max_keys", max_keys, at_least=1)
        _require_trust(secret, insecure_trust_redis)
        terms = Terms(
            fetch_timeout_seconds=fetch_timeout_seconds,
            cooldown_seconds=cooldown_seconds,
            stale_if_error_seconds=stale_if_error_seconds,
            max_fresh_seconds=max_fresh_seconds,
            timeout_seconds=timeout_seconds,
        )
        self._link = link
        self._source = source
        self._issuer = issuer
        self._is_trusting = secret is None
        self._exchange = Exchange(link, key_of(prefix, issuer, address), terms)
        self._figures = Figures()
        self._fleet = Fleet(
            self._exchange,
            Seal(secret, issuer, address),
            terms,
            ProviderRequests(
                source, self._figures, timeout_seconds=fetch_timeout_seconds, max_keys=max_keys
            ),
            self._figures,
            Said(issuer),
            SystemClock() if clock is None else clock,
        )
        self._entered = 0
        self._opening = asyncio.Lock()
        self._opened: AsyncExitStack | None = None

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        """The current document; see `KeySource.fetch`.

        A process that has none (`previous` is None) is given one that is not fresh any more where
        the provider fails, or another process is asking it; its `fetched_at` says how old it is.

        Raises:
            BackendUnavailable: the provider failed, now or for another process within the
                cooldown.
        """
        return await Fetching(self._fleet, previous).document()

    @property
    def longest_seconds(self) -> float:
        """How long a fetch takes at most, where each wait in it is in vain.

        Who gives up sooner may do so before the source was asked.
        """
        return self._fleet.terms.longest_seconds

    def stats(self) -> Mapping[str, float]:
        """Totals of what became of the fetches."""
        return self._figures.by_name()

    async def __aenter__(self) -> Self:
        """Opens the link and the source, and tries what Redis allows; waits for neither for long.

        Raises:
            ConfigurationError: Redis does not let this user in, or not do what is needed.
        """
        if not self._entered and not self._opening.locked():
            # A lock belongs to the event loop in which it was first waited for.
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._opened is None:
                await self._open()
            self._entered += 1
        return self

    async def _open(self) -> None:
        if self._is_trusting:
            _log.warning(
                "insecure_trust_redis: whoever can write to Redis can add keys of %s", self._issuer
            )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._link)
            if isinstance(self._source, AbstractAsyncContextManager):
                await stack.enter_async_context(self._source)
            await self._exchange.begin()
            self._opened = stack.pop_all()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered -= 1
        async with self._opening:
            opened = self._opened
            if self._entered or opened is None:
                return
            self._opened = None
            try:
                await self._fleet.wait_until_let_go()
            finally:
                # Not told what its owner ended with: that is no matter of the source.
                await opened.aclose()


def _require_trust(secret: bytes | None, insecure_trust_redis: bool) -> None:
    if not isinstance(insecure_trust_redis, bool):
        raise ConfigurationError("insecure_trust_redis must be True or False")
    if secret is None and not insecure_trust_redis:
        raise ConfigurationError(
            "keys from Redis need a secret, for example secrets.token_bytes(32), the same for "
            "every process; or insecure_trust_redis=True, with which whoever can write to Redis "
            "can sign tokens that are accepted"
        )


if TYPE_CHECKING:

    def _conforms(source: RedisKeySource) -> KeySource:
        return source
