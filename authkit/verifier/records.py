"""What the single exit of a verification puts on record."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import get_args

from authkit.audit import AuditTrail, RequestRecord
from authkit.errors import (
    AuthkitError,
    BackendUnavailable,
    ClaimRejected,
    CredentialMalformed,
    CredentialMissing,
    InsufficientScope,
    KeyNotFound,
    RateLimited,
    RequirementNotMet,
    SignatureInvalid,
    TokenMalformed,
    TokenRevoked,
)
from authkit.interfaces import Outcome, RequestContext
from authkit.jose.jws import MAX_TOKEN_BYTES
from authkit.token_cache import ProvenToken
from authkit.verifier.backend_errors import BackendErrors

__all__ = ["Records"]

_log = logging.getLogger("authkit")

_NO_CONTEXT = RequestContext()


class Records:
    """The single exit: each verification is counted and put on record once, both from one place.

    Args:
        trail: where they are put on record.
        errors: where faults of our own are counted.

    Attributes:
        outcomes: how many verifications ended in each.
    """

    __slots__ = ("_append", "_errors", "outcomes")

    def __init__(self, trail: AuditTrail, errors: BackendErrors) -> None:
        self.outcomes: dict[Outcome, int] = dict.fromkeys(get_args(Outcome), 0)
        self._append = trail.append_request
        self._errors = errors

    def add_accepted(self, now: float, proven: ProvenToken, context: RequestContext | None) -> None:
        """Counts and records a verification that gave a Principal.

        Args:
            now: when it began.
            proven: the token.
            context: what is known of the request.
        """
        self.outcomes["accepted"] += 1
        facts = proven.facts
        context = context or _NO_CONTEXT
        self._append(
            RequestRecord(
                now,
                "accepted",
                None,
                facts.issuer,
                facts.subject,
                facts.client_id,
                facts.key_thumbprint,
                proven.token_hash,
                context.client_address,
                context.request_id,
                context.trace_id,
                None,
            )
        )

    def add_failed(
        self,
        now: float,
        credential: str | CredentialMalformed | None,
        issuer: str | None,
        proven: ProvenToken | None,
        context: RequestContext | None,
        error: BaseException,
    ) -> None:
        """Counts and records any other verification; of the token it keeps the hash alone.

        Args:
            now: when it began.
            credential: what was presented.
            issuer: whose token it claims to be, if that one is trusted.
            proven: what was proven of it, or None.
            context: what is known of the request.
            error: what it ended in.

        Raises:
            BackendUnavailable: `error` is none that may leave a Verifier, but a fault of ours.
        """
        if not isinstance(error, AuthkitError) and isinstance(error, Exception):
            outage = self._fault(error)
            self.add_failed(now, credential, issuer, proven, context, outage)
            raise outage from error
        outcome = _outcome(error)
        self.outcomes[outcome] += 1
        context = context or _NO_CONTEXT
        subject = client_id = thumbprint = None
        if proven is None:
            token_hash = _token_hash(credential)
        else:
            facts = proven.facts
            issuer, subject, client_id = facts.issuer, facts.subject, facts.client_id
            thumbprint, token_hash = facts.key_thumbprint, proven.token_hash
        self._append(
            RequestRecord(
                now,
                outcome,
                error.code if isinstance(error, AuthkitError) else None,
                issuer,
                subject,
                client_id,
                thumbprint,
                token_hash,
                context.client_address,
                context.request_id,
                context.trace_id,
                _data(error),
            )
        )

    def _fault(self, error: Exception) -> BackendUnavailable:
        if not self._errors.counts["verifier"]:
            _log.error("verifying failed with %s; please report it", type(error).__name__)
        return self._errors.outage("verifier", error)


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, CredentialMissing):
        return "missing"
    if isinstance(error, BackendUnavailable):
        return "unavailable"
    if isinstance(error, AuthkitError):
        return "refused"
    return "cancelled"


def _token_hash(credential: object) -> str | None:
    # What is longer was refused unread; hashing it would be work that a stranger can order.
    if isinstance(credential, str) and len(credential) <= MAX_TOKEN_BYTES:
        return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).hexdigest()
    return None


def _data(error: BaseException) -> Mapping[str, str] | None:
    """What is known of a refusal beside its code, none of it a stranger's text."""
    if isinstance(error, (TokenMalformed, SignatureInvalid)):
        return None  # nothing; the cheapest to send is answered first
    if isinstance(error, ClaimRejected):
        return {"claim": error.claim, "reason": error.reason}
    if isinstance(error, TokenRevoked):
        return {"scope": error.scope}
    if isinstance(error, RateLimited):
        return {"limits": " ".join(error.limits)}
    if isinstance(error, InsufficientScope):
        return {"scopes": " ".join(error.scopes)}
    if isinstance(error, RequirementNotMet):
        return {error.requirement: " ".join(error.names)}
    if isinstance(error, BackendUnavailable):
        return {"interface": error.interface}
    if isinstance(error, KeyNotFound) and error.kid_hash is not None:
        return {"kid_hash": error.kid_hash}
    return None
