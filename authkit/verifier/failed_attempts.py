"""Slows down whoever keeps sending tokens that nobody could have been given."""

from __future__ import annotations

from typing import cast

from authkit.clock import Clock
from authkit.errors import (
    ConfigurationError,
    IssuerNotTrusted,
    RateLimited,
    SignatureInvalid,
    TokenMalformed,
)
from authkit.interfaces import LimitDecision, LimitRequest, RateLimit, RateLimiter, RequestContext
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
        self._waiting: dict[str, tuple[float, RateLimited]] = {}

    def check(self, context: RequestContext | None) -> None:
        """Returns if the address may try.

        Raises:
            RateLimited: it has failed too often.
        """
        if not self._waiting or context is None or context.client_address is None:
            return
        network = network_of(context.client_address)
        entry = self._waiting.get(network)
        if entry is None:
            return
        left = entry[0] - self._monotonic()
        if left > 0:
            raise RateLimited(entry[1].limits, left)
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
        except Exception:
            self._errors.counts["limiter"] += 1
            return
        if not decision.allowed or decision.states[0].remaining == 0:
            over = RateLimited([limit.name], self._wait_seconds(decision))
            while len(self._waiting) >= _MAX_ADDRESSES:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[network] = (self._monotonic() + over.retry_after_seconds, over)

    def _wait_seconds(self, decision: LimitDecision) -> float:
        """Until the address has an attempt again; the one that used up the last counts as well."""
        limit = cast(RateLimit, self._limit)
        waits = (state.retry_after_seconds for state in decision.states)
        return max(*waits, limit.per_seconds / limit.rate)
