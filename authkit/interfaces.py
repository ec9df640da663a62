"""The interfaces that a backend implements, and every value that crosses them.

This is the one file a backend author reads.  What holds for all of them:

* Times are seconds since the epoch unless named otherwise; durations end in `_seconds`.
* No base class and no registration: a class with these methods is a backend.
* An outage is `BackendUnavailable`.  The verifier treats any other `Exception` of a
  backend as one too, and counts it; none reaches the caller as itself.
* Every call ends within a deadline of the backend's own, by default a few seconds: the
  Verifier sets none, except for the audit trail.  Cancelling one call harms no other
  call, at whatever await it is cancelled; nor does a backend raise a CancelledError of its own.
* Methods may be called concurrently by many tasks of one event loop.
* A backend may be an async context manager.  The Verifier enters each distinct one
  once and leaves in reverse order.  Entering may be repeated and nested: the backend
  counts, and closes at the last exit.  A client object given to a backend stays its
  owner's to close.  Entering never waits for, nor fails because of, an unreachable key
  server; wrong credentials of a store do fail it.  Whether a store that cannot be reached
  fails it is the store's choice.
* `RevocationLifting`, `RevocationFeed`, `Refreshable` and `Observable` are further
  abilities: implement those you can, they are found by their methods.

The contract suites in `authkit.testing.contracts` check all of this on your backend.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol, cast, runtime_checkable

from authkit.clock import Clock
from authkit.errors import ConfigurationError
from authkit.jose.jwk import KeyLease, VerificationKey

if TYPE_CHECKING:
    from authkit.principal import Principal

__all__ = [
    "AuditEvent",
    "AuditSink",
    "Clock",
    "KeyLease",
    "KeyProvider",
    "KeySetDocument",
    "KeySource",
    "LimitDecision",
    "LimitRequest",
    "LimitState",
    "Observable",
    "Outcome",
    "RateLimit",
    "RateLimiter",
    "Refreshable",
    "RequestContext",
    "Revocation",
    "RevocationFeed",
    "RevocationLifting",
    "RevocationReceipt",
    "RevocationScope",
    "RevocationStore",
    "StateChange",
    "TokenFacts",
    "VerificationKey",
]


# Keys ---------------------------------------------------------------------------------------------


class KeyProvider(Protocol):
    """Finds the verification keys of one issuer.

    Most need not be written: a KeySource, wrapped in `authkit.key_set.KeySetProvider`, is enough.
    Who writes one makes keys with `authkit.jose.jwk.parse_jwk_set` and `JWK.verification_key`,
    and keeps their leases, which are read on every use of a key, also of a token cached long
    ago: one KeyLease for a key, the same object in every answer; `trusted_until` moved forward
    by each successful refresh, to the moment until which the key may be used without another;
    `withdrawn` set, for good, when the issuer publishes the key no more.
    """

    async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        """The keys that may have made a signature.

        Args:
            kid: the key id that an unverified token names, or None.  Compare it byte for
                byte; never build a path, a query or an address from it.
            alg: the algorithm that the token names, already allowed by configuration.

        Returns:
            At most 4 candidates whose `kid` (if given), `alg`, `use`, `key_ops`, `kty`
            and curve fit (RFC 7517 section 4).  `()`: there is no such key, by the last
            look at what the issuer publishes, which succeeded.

        Raises:
            BackendUnavailable: the keys are not known, or whether there is such a key
                cannot be confirmed (code `key_unknown_unconfirmed`).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySetDocument:
    """A published key set as it was fetched.

    Attributes:
        body: the JWK Set (RFC 7517 section 5) as bytes, not yet parsed.
        etag: the entity tag to ask with next time, or None.
        fetched_at: when it was last known to be what the issuer publishes.
        fresh_seconds: how long it may be used without asking again.
    """

    body: bytes
    etag: str | None
    fetched_at: float
    fresh_seconds: float


class KeySource(Protocol):
    """Where a key set comes from.  `authkit.key_set.KeySetProvider` makes a KeyProvider of it."""

    async def fetch(self, previous: KeySetDocument | None) -> KeySetDocument:
        """The current document; `previous` with a later `fetched_at` where it has not changed.

        `fetched_at` is when the provider was asked for it.  Where nothing newer is to be had, a
        document that is older than its `fresh_seconds` may be given: its keys are used for as
        long as last known good ones are, and a key that it lacks counts as not asked for.

        Raises:
            BackendUnavailable: the source did not answer, or not with a key set.
        """
        ...


@runtime_checkable
class Refreshable(Protocol):
    """A KeyProvider that can be told to look again."""

    async def refresh(self) -> None:
        """Fetches now, unless the cooldown forbids it; concurrent calls share one fetch.

        Raises:
            BackendUnavailable: the fetch failed.  The known keys stay in use.
        """
        ...


# Revocations --------------------------------------------------------------------------------------


class RevocationScope(StrEnum):
    """What a revocation covers."""

    TOKEN = "token"
    """One token, by its id."""
    SESSION = "session"
    """Every token of a session, by its `sid`.

    Remembered for the longest life of a token: end the session at the issuer too.
    """
    SUBJECT = "subject"
    """Every token of a subject issued until a moment."""
    CLIENT = "client"
    """Every token of an OAuth client issued until a moment."""
    ISSUER = "issuer"
    """Every token of the issuer issued until a moment; the id is empty."""
    VERSION = "version"
    """Every token of a subject whose version is below a minimum."""
    KEY = "key"
    """Every token signed by a key, by its RFC 7638 thumbprint.

    Remembered for the longest life of a token like any other: have the issuer withdraw the key too.
    """


def _is_finite(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(cast(float, value))


def _is_version(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


_UNTIL = frozenset({RevocationScope.SUBJECT, RevocationScope.CLIENT, RevocationScope.ISSUER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """Takes back tokens that were issued before.

    Attributes:
        scope: what `id` names.
        issuer: whose tokens.
        id: of the token, session, subject or client; a key's thumbprint; empty for ISSUER.
        issued_until: SUBJECT, CLIENT and ISSUER only: tokens issued until then; None is the
            store's now.  An issuer whose clock is ahead dates its tokens ahead too: to be sure of
            these, add the leeway, which takes back what is issued in these seconds as well.
        minimum_version: VERSION only, and needed there: tokens of a lower version.
        expires_at: until when it must be remembered; None is now + `max_token_lifetime_seconds`.
        reason: free text for the audit trail.

    Raises:
        ConfigurationError: the fields contradict each other.
    """

    scope: RevocationScope
    issuer: str
    id: str
    issued_until: float | None = None
    minimum_version: int | None = None
    expires_at: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.scope, RevocationScope):
            raise ConfigurationError(
                f"scope must be a RevocationScope, not {type(self.scope).__name__}"
            )
        if not isinstance(self.issuer, str) or not self.issuer:
            raise ConfigurationError("a revocation needs the issuer whose tokens it takes back")
        if not isinstance(self.id, str):
            raise ConfigurationError(f"id must be a string, not {type(self.id).__name__}")
        if (self.id == "") != (self.scope is RevocationScope.ISSUER):
            raise ConfigurationError(
                "id must be empty for the scope issuer, and only there; "
                f"here the scope is {self.scope.value}"
            )
        if self.issued_until is not None and self.scope not in _UNTIL:
            raise ConfigurationError(
                f"issued_until has no meaning for the scope {self.scope.value}"
            )
        if (self.minimum_version is not None) != (self.scope is RevocationScope.VERSION):
            raise ConfigurationError(
                "minimum_version must be given for the scope version, and only there"
            )
        if self.minimum_version is not None and not _is_version(self.minimum_version):
            raise ConfigurationError("minimum_version must be a whole number of 64 bits")
        for name, value in (("issued_until", self.issued_until), ("expires_at", self.expires_at)):
            if value is not None and not _is_finite(value):
                raise ConfigurationError(f"{name} must be a finite number of seconds")

    @classmethod
    def of(
        cls,
        principal: Principal,
        scope: RevocationScope = RevocationScope.TOKEN,
        *,
        reason: str = "",
    ) -> Revocation:
        """The revocation of the one token that `principal` came with, or of more of its kind.

        Args:
            principal: the caller.
            scope: TOKEN, SESSION, SUBJECT or CLIENT: what all is taken back with it.
            reason: free text for the audit trail.

        Raises:
            ConfigurationError: the token names no such thing, or the scope is another one.
        """
        id = {
            RevocationScope.TOKEN: principal.token_id,
            RevocationScope.SESSION: principal.session_id,
            RevocationScope.SUBJECT: principal.subject,
            RevocationScope.CLIENT: principal.client_id,
        }.get(scope)
        if id is None:
            raise ConfigurationError(f"the token of this principal names no {scope.value}")
        expires_at = principal.expires_at if scope is RevocationScope.TOKEN else None
        return cls(
            scope=scope, issuer=principal.issuer, id=id, expires_at=expires_at, reason=reason
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """What a RevocationStore may know of a token; from verified claims only.

    Attributes:
        issuer: `iss`.
        token_id: the mapped claim (`jti`), else the SHA-256 of the signing input in hex.
        subject: `sub`, or None.
        client_id: the OAuth client, or None.
        session_id: `sid`, or None.
        issued_at: `iat`, or None.
        expires_at: `exp`.
        token_version: the mapped version claim, or None.
        key_thumbprint: RFC 7638 thumbprint of the key that signed it, SHA-256 in base64url.
    """

    issuer: str
    token_id: str
    subject: str | None
    client_id: str | None
    session_id: str | None
    issued_at: float | None
    expires_at: float
    token_version: int | None
    key_thumbprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationReceipt:
    """The proof that a revocation is kept.

    Attributes:
        revocation: as stored, with every None that applies filled in.
        effective_at: from then on every process refuses what it covers, or answers
            that it cannot know.  In memory: now.  Shared stores: now + their staleness bound.
    """

    revocation: Revocation
    effective_at: float


class RevocationStore(Protocol):
    """Remembers what was revoked, for as long as a token that it covers could live.

    Attributes:
        max_token_lifetime_seconds: the longest-lived token that the store vouches for.
    """

    @property
    def max_token_lifetime_seconds(self) -> float: ...

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        """Keeps a revocation: idempotent, monotone, durable before it returns.

        Monotone: of two live ones with the same scope, issuer and id the later `issued_until`,
        the higher `minimum_version` and the later `expires_at` hold.  Live is a revocation
        until `expires_at` + 120 s.  For SUBJECT, CLIENT and
        ISSUER `expires_at` is raised to at least `issued_until` +
        `max_token_lifetime_seconds`.  A live revocation is never evicted.

        Raises:
            ConfigurationError: `expires_at` or `issued_until` lies beyond what the store can
                promise; `issued_until` may lie at least 60 s, the largest leeway, ahead.
            BackendUnavailable: the revocation may or may not have been kept (a full store
                has not kept it); doing it again is safe.
        """
        ...

    async def find(self, token: TokenFacts) -> Revocation | None:
        """A live revocation that covers the token, or None.

        SUBJECT, CLIENT, ISSUER cover it when `token.issued_at` is None or at most
        `issued_until`; VERSION when `token.token_version` is None or less than
        `minimum_version`; the others when the ids are equal.  Ids are compared exactly,
        and only within the same issuer.  A revocation is answered until `expires_at` +
        120 s, which covers the largest leeway twice.

        Raises:
            BackendUnavailable: the store cannot tell.
        """
        ...


@runtime_checkable
class RevocationLifting(Protocol):
    """A RevocationStore that can take a mistaken revocation back."""

    async def lift(self, revocation: Revocation) -> RevocationReceipt:
        """Forgets the revocation with this scope, issuer and id.

        Idempotent; a later `revoke` counts again.

        Returns:
            What is forgotten, as it was given, and from when on nobody refuses for it.

        Raises:
            BackendUnavailable: it may or may not have been lifted; doing it again is safe.
        """
        ...


@runtime_checkable
class RevocationFeed(Protocol):
    """A RevocationStore that tells of each revocation as this process learns of it."""

    def subscribe(self) -> AsyncIterator[Revocation]:
        """The revocations from this call on.

        It ends with `aclose` of the iterator, or when nobody holds it any more.

        Each is only a sign to ask `find` again for the tokens at hand: its id may be the
        store's hash, and it may be repeated.  Overflow of the bounded queue raises
        BackendUnavailable: subscribe again and check every token.
        """
        ...


# Rate limits --------------------------------------------------------------------------------------

LimitedBy = Literal["subject", "client", "issuer", "address"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How often one caller may call.

    Its name is what a limiter counts by: limits of one name share their buckets, also where
    their numbers differ, as during a deployment that changes them.

    Attributes:
        name: stands in errors, metrics and audit.
        rate: calls allowed in `per_seconds`, in the long run.
        per_seconds: the period of `rate`.
        burst: calls allowed at once after a pause; 1 is strictly evenly spaced.
        by: whose calls are counted together: `subject` (else the client, else the token),
            `client` (else the subject, else the token), `issuer` or `address`.  The key always
            holds the issuer too.

    Raises:
        ConfigurationError: a number that allows nothing, or an unknown `by`.
    """

    name: str
    rate: int
    per_seconds: float
    burst: int
    by: LimitedBy

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigurationError("a RateLimit needs a name")
        if self.by not in ("subject", "client", "issuer", "address"):
            raise ConfigurationError(
                f"RateLimit {self.name}: by must be subject, client, issuer or address"
            )
        for label, value in (
            ("rate", self.rate),
            ("per_seconds", self.per_seconds),
            ("burst", self.burst),
        ):
            if not _is_finite(value) or value <= 0:
                raise ConfigurationError(
                    f"RateLimit {self.name}: {label} must be a positive number"
                )
        if self.rate != int(self.rate) or self.burst != int(self.burst):
            raise ConfigurationError(f"RateLimit {self.name}: rate and burst must be whole numbers")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRequest:
    """One limit to be charged for one caller.

    Attributes:
        limit: which limit.
        key: whose bucket; any text, compared exactly within the limit's name.
        cost: how many calls it counts for, a whole number.  0 only asks: it is always allowed
            and charges nothing.
    """

    limit: RateLimit
    key: str
    cost: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """A limit after the decision.

    Attributes:
        name: the limit's.
        remaining: calls that would be allowed right now.
        retry_after_seconds: until the refused cost fits; 0 where this limit did not refuse.
        reset_after_seconds: until the whole burst is there again.
    """

    name: str
    remaining: int
    retry_after_seconds: float
    reset_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitDecision:
    """The answer of a RateLimiter.

    Attributes:
        allowed: whether all of them were within their limits.
        states: one for each request, in order.
        is_degraded: answered by a local stand-in while the shared store was down.
    """

    allowed: bool
    states: tuple[LimitState, ...]
    is_degraded: bool


class RateLimiter(Protocol):
    """Counts calls, exactly, under any concurrency."""

    async def acquire(self, requests: Sequence[LimitRequest]) -> LimitDecision:
        """Charges all of the requests, or none of them.

        A refused call changes nothing.  Costs of the same key add up.  In any interval of t
        seconds a key is granted at most `burst + rate * t / per_seconds`.

        Raises:
            ConfigurationError: a cost below 0, or above its limit's burst, which could never
                be granted.
            BackendUnavailable: whether anything was charged is not known, so do not repeat it
                blindly; or there is no room for a new key without forgetting a live one.
        """
        ...


# Audit --------------------------------------------------------------------------------------------

Outcome = Literal["missing", "accepted", "refused", "unavailable", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """What happened, without a credential and without unverified text.

    Attributes:
        schema: version of this record, 1.
        producer: the trail that made it, unique to one run of one process.
        sequence: 1, 2, 3 ... for each producer; a gap is what was admitted and lost.
        time: when it happened.
        type: dotted: `token.verified`, `token.revoked`, `keys.rotated` ...
        outcome: missing, accepted, refused, unavailable or cancelled.
        code: the error's code in snake_case, or None.
        issuer: a configured issuer, or None where the token named none.
        subject: `sub` of a verified token, or None.
        client_id: the client of a verified token, or None.
        token_hash: hex SHA-256 of the whole token, or None.
        key_thumbprint: of the key that verified it, or None.
        client_address: the caller's address where it can be trusted, or None.
        request_id: given by the caller of `verify`, or None.
        trace_id: given by the caller of `verify`, or None.
        data: further facts of this type of event.
        chain: keyed hash over the previous event's chain and this event; None without a key.
    """

    schema: int
    producer: str
    sequence: int
    time: float
    type: str
    outcome: Outcome
    code: str | None
    issuer: str | None
    subject: str | None
    client_id: str | None
    token_hash: str | None
    key_thumbprint: str | None
    client_address: str | None
    request_id: str | None
    trace_id: str | None
    data: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    chain: str | None = None


class AuditSink(Protocol):
    """Where audit events go.  A sink has no queue of its own: the trail queues and batches."""

    async def write(self, events: Sequence[AuditEvent]) -> None:
        """Writes the whole batch, in order, or raises.

        The same batch may be given again after a raise; (producer, sequence) tells what
        was written already.

        Raises:
            BackendUnavailable: nothing, or not everything, is known to be written.
        """
        ...


# The request, and abilities of any backend --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What the edge knows of a request, for limits and audit.

    Attributes:
        client_address: the caller's IP address where it can be trusted, else None.
        request_id: names the request in the audit trail, or None.
        trace_id: the trace that the request belongs to, or None.
    """

    client_address: str | None = None
    request_id: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A backend went from one state to another.

    A change of the keys themselves has the code `keys_rotated`, and digests of the two key sets
    as `old` and `new`.

    Attributes:
        interface: `keys`, `revocations`, `limiter` or `audit`.
        name: which one, e.g. the issuer whose keys they are.
        old: the state it left.
        new: the state it is in.
        code: why, or None.
        time: when.
    """

    interface: str
    name: str
    old: str
    new: str
    code: str | None
    time: float


@runtime_checkable
class Observable(Protocol):
    """A backend that tells of its state."""

    def observe(self, listener: Callable[[StateChange], None]) -> None:
        """Calls `listener` on each change from now on, in the event loop.

        A listener neither blocks nor raises; an Exception of one is counted and goes no further.
        """
        ...

    def stats(self) -> Mapping[str, float]:
        """Figures by snake_case name; cumulative ones end in `_total`."""
        ...
