"""Slows down whoever keeps sending tokens that nobody could have been given."""

from __future__ import annotations

from asyncio import CancelledError

from authkit.clock import Clock
from authkit.errors import (
    ConfigurationError,
    IssuerNotTrusted,
    RateLimited,
    SignatureInvalid,
    TokenMalformed,
)
from authkit.interfaces import LimitRequest, RateLimit, RateLimiter, RequestContext
from authkit.verifier.backend_errors import BackendErrors
from authkit.verifier.caller_limits import network_of

__all__ = ["FAILED_ATTEMPTS", "FailedAttempts"]

FAILED_ATTEMPTS = RateLimit(
    name="failed_attempts", rate=30, per_seconds=60.0, burst=30, by="address"
)
"""A person with a broken client stays below it; a guesser gets nowhere."""

# What nobody who was given a token sends.
_FAILURES = (TokenMalformed, IssuerNotTrusted, SignatureInvalid)

_MAX_ADDRESSES = 10_000


class FailedAttempts:
    """Charges failed attempts to the address they come from.

    The limiter counts.  An address that it reports at or over the limit stands in a bounded table
    of this process until it may try again, so that refusing it costs neither a call nor a
    signature check.  Without a limiter or an address nobody is slowed down.

    Args:
        limit: by address; None counts nothing.
        limiter: counts, or None.
        clock: tells how long an address has been waiting.
        errors: where the limiter's exceptions are counted.

    Raises:
        ConfigurationError: the limit is not by address.
    """

    __slots__ = ("_errors", "_limit", "_limiter", "_monotonic", "_waiting")

    def __init__(
        self,
        limit: RateLimit | None,
        limiter: RateLimiter | None,
        clock: Clock,
        errors: BackendErrors,
    ) -> None:
        if limit is not None and limit.by != "address":
            raise ConfigurationError("failed_attempts must be a RateLimit with by='address'")
        self._limit = limit
        self._limiter = limiter
        self._monotonic = clock.monotonic
        self._errors = errors
        self._waiting: dict[str, float] = {}

    def check(self, context: RequestContext | None) -> None:
        """Returns if the address may try.

        Raises:
            RateLimited: it has failed too often.
        """
        if not self._waiting or context is None or context.client_address is None:
            return
        network = network_of(context.client_address)
        until = self._waiting.get(network)
        if until is None or self._limit is None:
            return
        left = until - self._monotonic()
        if left > 0:
            raise RateLimited([self._limit.name], left)
        del self._waiting[network]

    async def charge(self, context: RequestContext | None, error: BaseException) -> None:
        """Counts a failed attempt, if `error` is one.

        A limiter that is down is counted and passed over: the attempt is refused all the same,
        and a forged token must not look like an outage.
        """
        limit = self._limit
        if limit is None or self._limiter is None or not isinstance(error, _FAILURES):
            return
        if context is None or context.client_address is None:
            return
        network = network_of(context.client_address)
        request = LimitRequest(limit=limit, key=f"address {network}")
        try:
            decision = await self._limiter.acquire((request,))
            (state,) = decision.states
            # The attempt that used up the last counts as well: the next one is made in its turn.
            has_one_left = decision.allowed is True and state.remaining > 0
            wait = max(state.retry_after_seconds, limit.per_seconds / limit.rate)
        except (Exception, CancelledError) as outage:
            self._errors.pass_over("limiter", outage)
            return
        if not has_one_left:
            while len(self._waiting) >= _MAX_ADDRESSES:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[network] = self._monotonic() + wait
