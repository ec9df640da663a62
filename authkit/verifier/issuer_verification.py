"""One trusted issuer at work: key, signature and claims, with what was proven before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from authkit.errors import KeyNotFound, SignatureInvalid
from authkit.interfaces import KeyProvider
from authkit.jose.jws import SignedPayload, UnverifiedToken, verify_signature
from authkit.policy import TrustedIssuer
from authkit.token_cache import HeaderMemo, ProvenToken, TokenCache
from authkit.verifier.backend_errors import BackendErrors
from authkit.verifier.caller_limits import CallerLimits

__all__ = ["IssuerVerification"]


class IssuerVerification:
    """Steps 4 and 5 for the tokens of one issuer, and its cache.

    Attributes:
        trusted: the policy.
        keys: where its keys come from.
        cache: its proven tokens.
    """

    __slots__ = ("_errors", "_headers", "_limits", "_time", "cache", "keys", "trusted")

    def __init__(
        self,
        trusted: TrustedIssuer,
        keys: KeyProvider,
        cache: TokenCache,
        limits: CallerLimits,
        time: Callable[[], float],
        errors: BackendErrors,
    ) -> None:
        self.trusted = trusted
        self.keys = keys
        self.cache = cache
        self._headers = HeaderMemo()
        self._limits = limits
        self._time = time
        self._errors = errors

    def known_payload(self, token: UnverifiedToken, now: float) -> SignedPayload | None:
        """Step 4 for a header that was seen before: what its keys signed, or None.

        Nothing is awaited here, which most new tokens get by with.
        """
        known = self._headers.find(token.header_segment, now)
        if known is None:
            return None
        try:
            return verify_signature(token, known[0], known[1])
        except SignatureInvalid:
            # A key with the same id may have been published since.
            return None

    async def found_payload(self, token: UnverifiedToken, now: float) -> SignedPayload:
        """Step 4 for any other: what a key of this issuer signed.

        Raises:
            TokenMalformed, AlgorithmNotAllowed, KeyNotFound, SignatureInvalid: none did.
            BackendUnavailable: the keys are not known.
        """
        known = self._headers.find(token.header_segment, now)
        header = token.header()
        self.trusted.check_algorithm(header)
        try:
            keys = await self.keys.find(header.kid, header.alg)
        except Exception as error:
            self._errors.raise_outage("keys", error)
        if not keys:
            raise KeyNotFound(_short_hash(header.kid))
        if known is not None and set(keys) == set(known[1]):
            raise SignatureInvalid()
        payload = verify_signature(token, header, keys)
        # The key that fits goes first, so that the next token of its kind needs one attempt.
        others = tuple(key for key in keys if key is not payload.key)
        self._headers.add(token.header_segment, header, (payload.key, *others))
        return payload

    def proven(self, token: str, payload: SignedPayload) -> ProvenToken:
        """Step 5: the token with its claims accepted, and kept for the next time.

        Raises:
            ClaimRejected: a claim is not acceptable.
        """
        # The time is asked for again: fetching keys may have taken a while.
        principal, facts = self.trusted.accept(payload, self._time())
        proven = ProvenToken(
            principal,
            facts,
            self._limits.of_principal(principal),
            facts.expires_at + self.trusted.leeway_seconds,
            payload.key.lease,
            hashlib.sha256(token.encode()).hexdigest(),
        )
        self.cache.add(token, proven)
        return proven


def _short_hash(kid: str | None) -> str | None:
    return None if kid is None else hashlib.sha256(kid.encode()).hexdigest()[:16]
