"""The Verifier: from a credential to a Principal, one step after the other."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import NoReturn, Self

from authkit.audit import AuditTrail, LoggingAuditSink
from authkit.clock import Clock, SystemClock
from authkit.errors import (
    BackendUnavailable,
    ConfigurationError,
    CredentialMalformed,
    CredentialMissing,
    IssuerNotTrusted,
    TokenMalformed,
    TokenRevoked,
)
from authkit.interfaces import (
    AuditSink,
    RateLimit,
    RateLimiter,
    RequestContext,
    Revocation,
    RevocationReceipt,
    RevocationStore,
)
from authkit.jose.jws import UnverifiedToken
from authkit.policy import Requirement, TrustedIssuer
from authkit.principal import Principal
from authkit.token_cache import ProvenToken, TokenCache
from authkit.verifier.backend_errors import BackendErrors
from authkit.verifier.caller_limits import CallerLimits, refusal
from authkit.verifier.composition import (
    LimitTrial,
    check_parts,
    enter_all,
    issuers_at_work,
    observe,
    unique,
    whereabouts,
)
from authkit.verifier.failed_attempts import FAILED_ATTEMPTS, FailedAttempts
from authkit.verifier.figures import figures
from authkit.verifier.issuer_verification import IssuerVerification
from authkit.verifier.live_tokens import LiveTokens
from authkit.verifier.no_revocation import NoRevocation
from authkit.verifier.records import Records
from authkit.verifier.revocation_changes import RevocationChanges
from authkit.verifier.token_watch import TokenWatch

__all__ = ["Verifier"]

_log = logging.getLogger("authkit")

_NOT_ENTERED = "enter the Verifier before using it: async with verifier: ..."


class Verifier:
    """Proves who calls, by bearer tokens of trusted issuers.

    It is an async context manager: entering it enters its backends, leaving it drains the
    audit trail and closes what it opened.

    Args:
        issuers: at least one, no two with the same `issuer`.
        revocations: the store that is asked for every token, or `NoRevocation()`.
        limiter: counts the limits; needed when there are any.
        limits: what each caller is charged per request, all or nothing.
        audit: a sink, or an AuditTrail around one; JSON lines on the logger `authkit_audit`
            unless given.
        failed_attempts: how often an address may present tokens that are malformed, of unknown
            issuers or wrongly signed; None counts nothing.
        token_cache_entries: proven tokens kept for each issuer; 0 verifies every token anew.
        token_cache_bytes: memory for them, likewise for each issuer.
        hashes_cached_tokens: keeps the SHA-256 of a proven token instead of its text.
        clock: tells the time.

    Attributes:
        clock: as given, or the machine's.
        limits_addresses: whether a limit counts by address, so that the edge must know it.

    Raises:
        ConfigurationError: the parts do not fit together; the message says what to do.
    """

    def __init__(
        self,
        *issuers: TrustedIssuer,
        revocations: RevocationStore,
        limiter: RateLimiter | None = None,
        limits: Sequence[RateLimit] = (),
        audit: AuditSink | AuditTrail | None = None,
        failed_attempts: RateLimit | None = FAILED_ATTEMPTS,
        token_cache_entries: int = 10_000,
        token_cache_bytes: int = 64 * 2**20,
        hashes_cached_tokens: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self._time = self.clock.time
        self._errors = BackendErrors()
        check_parts(issuers, revocations, limiter, limits)
        self._limits = CallerLimits(limits)
        self.limits_addresses: bool = bool(self._limits.by_address)
        self._revocations = revocations
        self._limiter = limiter
        self._attempts = FailedAttempts(failed_attempts, limiter, self.clock, self._errors)
        if isinstance(audit, AuditTrail):
            self._trail = audit
        else:
            self._trail = AuditTrail(audit or LoggingAuditSink(), clock=self.clock)
        make_cache = partial(
            TokenCache,
            max_entries=token_cache_entries,
            max_bytes=token_cache_bytes,
            hashes_tokens=hashes_cached_tokens,
        )
        self._issuers = issuers_at_work(issuers, make_cache, self._limits, self.clock, self._errors)
        names = [issuer.issuer for issuer in issuers]
        # Where nothing is kept nothing is looked up, which would hash each token.
        caches = [one.cache for one in self._issuers.values()]
        self._caches = tuple(caches if token_cache_entries else ())
        keys = [one.keys for one in self._issuers.values()]
        trial = LimitTrial(limiter, limits)
        self._parts = unique([self._trail, *keys, revocations, limiter, trial])
        observe(self._parts, self._trail)
        self._records = Records(self._trail, self._errors)
        self._changes = RevocationChanges(revocations, names, self._trail, self._errors)
        self._live = LiveTokens(revocations, self.clock, self._errors)
        # Where the stack is used up there is no room left to make an error in.
        self._exhausted = BackendUnavailable("verifier", "the stack is used up")
        self._entered = 0
        self._stack: AsyncExitStack | None = None

    async def __aenter__(self) -> Self:
        if self._entered == 0:
            self._stack = await enter_all([*self._parts, self._live])
            if isinstance(self._revocations, NoRevocation):
                _log.warning("tokens cannot be revoked: the Verifier was given NoRevocation()")
            self._trail.append_control_nowait("verifier.started", "accepted", data=whereabouts())
        self._entered += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered -= 1
        if self._entered == 0 and self._stack is not None:
            self._trail.append_control_nowait("verifier.stopped", "accepted")
            stack, self._stack = self._stack, None
            await stack.aclose()

    async def verify(
        self,
        credential: str | CredentialMalformed | None,
        *,
        require: Requirement | None = None,
        context: RequestContext | None = None,
    ) -> Principal:
        """Proves who presents a credential, and that the caller meets what the route asks.

        Args:
            credential: the bare token without its scheme; None where there was none; the error
                where there was a malformed one, which is raised after it is on record.
            require: what the route asks for.
            context: what is known of the request, for limits and audit.

        Returns:
            The caller.  Its object is shared by all requests with the same token.

        Raises:
            CredentialMissing: `credential` is None.
            CredentialMalformed: `credential` is one.
            TokenRefused: the token is bad; the subclass says why.
            InsufficientScope, RequirementNotMet, StepUpRequired: `require` is not met.
            RateLimited: the caller or its address is over a limit.
            BackendUnavailable: the question cannot be answered now.
            ConfigurationError: the Verifier has not been entered.
        """
        if not self._entered:
            raise ConfigurationError(_NOT_ENTERED)
        issuer: IssuerVerification | None = None
        proven: ProvenToken | None = None
        try:
            now = self._time()
            try:
                token = credential if type(credential) is str else _no_token(credential)
                proven = self._recalled(token, now)
                if proven is None:
                    self._attempts.check(context)
                    unverified = UnverifiedToken.parse(token)
                    issuer = self._trusted(unverified)
                    proven = issuer.proven_at_once(unverified, now)
                    if proven is None:
                        proven = await issuer.proven_by_search(unverified, now)
                # Both of these stand here and not in coroutines of their own, which would cost
                # a cached token a tenth of its time.
                try:
                    revocation = await self._revocations.find(proven.facts)
                except (Exception, CancelledError) as error:
                    self._errors.raise_outage("revocations", error)
                if revocation is not None:
                    raise TokenRevoked(revocation.scope.value)
                requests = self._limits.of_request(proven, context)
                if requests and self._limiter is not None:
                    try:
                        decision = await self._limiter.acquire(requests)
                    except (Exception, CancelledError) as error:
                        self._errors.raise_outage("limiter", error)
                    if decision.allowed is not True:
                        raise refusal(decision)
                if require is not None:
                    require.check(proven.principal, now)
            except BaseException as error:
                named = None if issuer is None else issuer.trusted.issuer
                self._records.add_failed(now, credential, named, proven, context, error)
                if context is not None:
                    await self._attempts.charge(context, error)
                raise
            self._records.add_accepted(now, proven, context)
        except RecursionError:
            self._exhausted.__traceback__ = None
            raise self._exhausted from None
        return proven.principal

    async def revoke(
        self, revocation: Revocation, *, context: RequestContext | None = None
    ) -> RevocationReceipt:
        """Takes tokens back, and puts it on record.

        Returns:
            What was stored, and from when on it holds everywhere.

        Raises:
            ConfigurationError: no token of this issuer is accepted; there is no store, or it cannot
                keep it for so long; the Verifier has not been entered.
            BackendUnavailable: `revocations`: it may or may not be kept; `audit`: it is kept, but
                not on record.  Doing it again is safe.
        """
        if not self._entered:
            raise ConfigurationError(_NOT_ENTERED)
        return await self._changes.revoke(revocation, context)

    async def lift(
        self, revocation: Revocation, *, context: RequestContext | None = None
    ) -> RevocationReceipt:
        """Takes a mistaken revocation back, and puts it on record.

        Raises:
            ConfigurationError: the store cannot lift, or the Verifier has not been entered.
            BackendUnavailable: as `revoke`.
        """
        if not self._entered:
            raise ConfigurationError(_NOT_ENTERED)
        return await self._changes.lift(revocation, context)

    def watch(self, principal: Principal) -> TokenWatch:
        """Watches the token of a connection that stays open: `async with verifier.watch(caller)`.

        Raises:
            ConfigurationError: the Verifier has not been entered.
        """
        if not self._entered:
            raise ConfigurationError(_NOT_ENTERED)
        return self._live.watch(principal)

    def stats(self) -> Mapping[str, float]:
        """Figures since the Verifier was made; those that only grow end in `_total`."""
        return figures(self._records, self._errors, self._caches, self._live)

    def _recalled(self, token: str, now: float) -> ProvenToken | None:
        for cache in self._caches:
            proven = cache.find(token, now)
            if proven is not None:
                return proven
        return None

    def _trusted(self, token: UnverifiedToken) -> IssuerVerification:
        issuer = self._issuers.get(token.issuer)
        if issuer is None:
            raise IssuerNotTrusted()
        return issuer


def _no_token(credential: object) -> NoReturn:
    """Step 0, where what was presented is no text."""
    if credential is None:
        raise CredentialMissing()
    if isinstance(credential, CredentialMalformed):
        raise credential
    raise TokenMalformed("a token must be a str")
