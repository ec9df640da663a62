"""How the parts of a Verifier are checked, entered and observed together."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

from authkit.audit import AuditTrail
from authkit.clock import Clock
from authkit.errors import ConfigurationError
from authkit.interfaces import (
    KeyProvider,
    LimitRequest,
    Observable,
    RateLimit,
    RateLimiter,
    RevocationStore,
    StateChange,
)
from authkit.key_set import KEYS_ROTATED
from authkit.policy import TrustedIssuer
from authkit.token_cache import TokenCache
from authkit.verifier.backend_errors import BackendErrors
from authkit.verifier.caller_limits import CallerLimits
from authkit.verifier.issuer_verification import IssuerVerification

__all__ = [
    "LimitTrial",
    "check_parts",
    "enter_all",
    "issuers_at_work",
    "observe",
    "unique",
    "whereabouts",
]


def check_parts(
    issuers: Sequence[TrustedIssuer],
    revocations: RevocationStore,
    limiter: RateLimiter | None,
    limits: Sequence[RateLimit],
) -> None:
    """Returns if the parts fit together.

    Raises:
        ConfigurationError: they do not; the message says what to do.
    """
    if not issuers or not all(isinstance(issuer, TrustedIssuer) for issuer in issuers):
        raise ConfigurationError(
            "a Verifier needs at least one TrustedIssuer, each an argument of its own: "
            "Verifier(TrustedIssuer(...), revocations=...)"
        )
    names = [issuer.issuer for issuer in issuers]
    if len(set(names)) != len(names):
        raise ConfigurationError("the same issuer is trusted twice: give it one TrustedIssuer")
    if not _is_backend(revocations, "find", "revoke"):
        if _is_backend(getattr(revocations, "revocations", None), "find", "revoke"):
            raise ConfigurationError(
                "revocations must be the RevocationStore of these backends: give "
                "backends.revocations"
            )
        raise ConfigurationError(
            "revocations must be a RevocationStore, such as MemoryRevocationStore(); to do without "
            "on purpose, give NoRevocation()"
        )
    if limiter is not None and not _is_backend(limiter, "acquire"):
        raise ConfigurationError("limiter must be a RateLimiter, such as MemoryRateLimiter()")
    if isinstance(limits, RateLimit) or not all(isinstance(one, RateLimit) for one in limits):
        raise ConfigurationError("limits must be a list of RateLimit")
    for issuer in issuers:
        _check_keys(issuer)
        if revocations.max_token_lifetime_seconds < issuer.max_token_lifetime_seconds:
            raise ConfigurationError(
                f"tokens of {issuer.issuer} may live {issuer.max_token_lifetime_seconds:g} s, but "
                f"the store keeps revocations for {revocations.max_token_lifetime_seconds:g} s: "
                "raise max_token_lifetime_seconds of the store, or lower it for the issuer"
            )
    if limits and limiter is None:
        raise ConfigurationError("limits need a limiter=, such as MemoryRateLimiter()")


def _check_keys(issuer: TrustedIssuer) -> None:
    keys = issuer.keys
    if keys is None:
        return
    if isinstance(keys, str) or not _is_backend(keys, "find"):  # a str has a method find
        hint = " around it" if callable(getattr(keys, "fetch", None)) else ""
        raise ConfigurationError(
            f"keys of {issuer.issuer} must be a KeyProvider, such as RemoteKeyProvider(issuer)"
            f"{hint and ', or a KeySetProvider'}{hint}"
        )
    # A provider may know whose keys it has; with those of another issuer that one could sign.
    whose = getattr(keys, "issuer", None)
    if isinstance(whose, str) and whose != issuer.issuer:
        raise ConfigurationError(f"keys of {issuer.issuer} were made for another issuer, {whose}")


def _is_backend(part: object, *methods: str) -> bool:
    """Whether it is an object with these methods; a class of such objects is a slip of the pen."""
    return not isinstance(part, type) and all(
        callable(getattr(part, method, None)) for method in methods
    )


def issuers_at_work(
    issuers: Sequence[TrustedIssuer],
    make_cache: Callable[[], TokenCache],
    limits: CallerLimits,
    clock: Clock,
    errors: BackendErrors,
) -> dict[str | None, IssuerVerification]:
    """Each issuer by its name, with keys and a cache of its own."""
    return {
        trusted.issuer: IssuerVerification(
            trusted, _keys_of(trusted, clock), make_cache(), limits, clock.time, errors
        )
        for trusted in issuers
    }


def _keys_of(issuer: TrustedIssuer, clock: Clock) -> KeyProvider:
    """The issuer's KeyProvider; one that fetches from its address, where it names none."""
    if issuer.keys is not None:
        return issuer.keys
    # Loaded on first use: those who bring their own keys need no HTTP client.
    from authkit.remote_keys import RemoteKeyProvider

    return RemoteKeyProvider(
        issuer.issuer,
        discovery_url=issuer.discovery_url,
        jwks_url=issuer.jwks_url,
        clock=clock,
    )


def unique(parts: Iterable[Any]) -> list[Any]:
    """Each object once, in order of first appearance."""
    return list({id(part): part for part in parts if part is not None}.values())


async def enter_all(parts: Iterable[Any]) -> AsyncExitStack:
    """Enters each part that is an async context manager; closing the stack leaves them in reverse.

    If one cannot be entered, those before it are left again, and its exception passes.
    """
    async with AsyncExitStack() as stack:
        for part in parts:
            if hasattr(type(part), "__aenter__"):
                await stack.enter_async_context(part)
        return stack.pop_all()


class LimitTrial:
    """Asks a limiter, once it is entered, about each limit: one that cannot be counted is refused.

    Entering it raises ConfigurationError where there is such a limit.
    """

    def __init__(self, limiter: RateLimiter | None, limits: Sequence[RateLimit]) -> None:
        # Without a limiter there are no limits.
        self._asked = [] if limiter is None else [_asking(limiter, limit) for limit in limits]

    async def __aenter__(self) -> Self:
        outcomes = await asyncio.gather(*(ask() for ask in self._asked), return_exceptions=True)
        # An outage is mended by waiting.
        refusals = [outcome for outcome in outcomes if isinstance(outcome, ConfigurationError)]
        if refusals:
            raise refusals[0]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leaves nothing."""


def _asking(limiter: RateLimiter, limit: RateLimit) -> Callable[[], Coroutine[Any, Any, None]]:
    async def ask() -> None:
        await limiter.acquire((LimitRequest(limit=limit, key="start", cost=0),))

    return ask


def observe(parts: Iterable[Any], trail: AuditTrail) -> None:
    """Has every change of a backend written as a control event.

    It is `keys.rotated` where the keys themselves changed, else `backend.state_changed`, with the
    outcome `unavailable` where there is a code that says what is wrong.
    """

    def write(change: StateChange) -> None:
        is_rotation = change.code == KEYS_ROTATED
        trail.append_control_nowait(
            "keys.rotated" if is_rotation else "backend.state_changed",
            "accepted" if is_rotation or change.code is None else "unavailable",
            code=None if is_rotation else change.code,
            data={
                "interface": change.interface,
                "name": change.name,
                "old": change.old,
                "new": change.new,
            },
        )

    for part in parts:
        if isinstance(part, Observable):
            part.observe(write)


def whereabouts() -> dict[str, str | int]:
    """What ties the trail's producer, a random name, to the process that it is in."""
    return {"host": socket.gethostname(), "pid": os.getpid()}
