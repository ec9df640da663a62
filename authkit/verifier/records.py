"""What the single exit of a verification puts on record."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

from authkit.audit import AuditTrail, ControlFields, RequestRecord
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
    TokenRevoked,
)
from authkit.interfaces import Outcome, RequestContext, Revocation
from authkit.jose.jws import MAX_TOKEN_BYTES
from authkit.token_cache import ProvenToken

__all__ = ["Records", "outcome_of", "revocation_fields"]

_NO_CONTEXT = RequestContext()


def outcome_of(error: BaseException | None) -> Outcome:
    """Which of the outcomes an error is."""
    if error is None:
        return "accepted"
    if isinstance(error, CredentialMissing):
        return "missing"
    if isinstance(error, BackendUnavailable):
        return "unavailable"
    if isinstance(error, AuthkitError):
        return "refused"
    return "cancelled"


class Records:
    """The single exit: each verification is counted and put on record once, both from one place.

    Attributes:
        outcomes: how many verifications ended in each.
    """

    __slots__ = ("_append", "outcomes")

    def __init__(self, trail: AuditTrail) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self._append = trail.append_request

    def add(
        self,
        now: float,
        credential: str | CredentialMalformed | None,
        issuer: str | None,
        proven: ProvenToken | None,
        context: RequestContext | None,
        error: BaseException | None,
    ) -> None:
        """Counts and records one verification; of the token it keeps the hash alone.

        Args:
            now: when it began.
            credential: what was presented.
            issuer: whose token it claims to be, if that one is trusted.
            proven: what was proven of it, or None.
            context: what is known of the request.
            error: what it ended in, or None.
        """
        outcome = outcome_of(error)
        self.outcomes[outcome] += 1
        known = context or _NO_CONTEXT
        code = error.code if isinstance(error, AuthkitError) else None
        data = None if error is None else _data(error)
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
                code,
                issuer,
                subject,
                client_id,
                thumbprint,
                token_hash,
                known.client_address,
                known.request_id,
                known.trace_id,
                data,
            )
        )


def revocation_fields(
    revocation: Revocation, context: RequestContext | None, code: str | None = None
) -> ControlFields:
    """What stands on record of a revocation that was made or lifted."""
    known = context or _NO_CONTEXT
    return ControlFields(
        code=code,
        issuer=revocation.issuer,
        client_address=known.client_address,
        request_id=known.request_id,
        trace_id=known.trace_id,
        data={
            "scope": revocation.scope.value,
            "id": revocation.id,
            "issued_until": revocation.issued_until,
            "minimum_version": revocation.minimum_version,
            "expires_at": revocation.expires_at,
            "reason": revocation.reason,
        },
    )


def _token_hash(credential: object) -> str | None:
    # What is longer was refused unread; hashing it would be work that a stranger can order.
    if isinstance(credential, str) and len(credential) <= MAX_TOKEN_BYTES:
        return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).hexdigest()
    return None


def _data(error: BaseException) -> Mapping[str, str] | None:
    """What is known of a refusal beside its code, none of it a stranger's text."""
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
