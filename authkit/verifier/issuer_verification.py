"""One trusted issuer at work: key, signature and claims, with what was proven before."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from hashlib import sha256

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
        self.trusted: TrustedIssuer = trusted
        self.keys: KeyProvider = keys
        self.cache: TokenCache = cache
        self._headers = HeaderMemo()
        self._limits = limits
        self._time = time
        self._errors = errors

    def proven_at_once(self, token: UnverifiedToken, now: float) -> ProvenToken | None:
        """The token, if a header and a key that were seen before prove it; else None.

        Nothing is awaited here, which most new tokens get by with.

        Raises:
            ClaimRejected: a claim is not acceptable.
        """
        known = self._headers.find(token.header_segment, now)
        if known is None:
            return None
        try:
            payload = verify_signature(token, known[0], known[1])
        except SignatureInvalid:
            # A key with the same id may have been published since.
            return None
        return self._accepted(token, payload, now)

    async def proven_by_search(self, token: UnverifiedToken, now: float) -> ProvenToken:
        """The token, proven by a key that is asked for.

        Raises:
            TokenMalformed, AlgorithmNotAllowed, KeyNotFound, SignatureInvalid: no key proves it.
            ClaimRejected: a claim is not acceptable.
            BackendUnavailable: the keys are not known.
        """
        known = self._headers.find(token.header_segment, now)
        header = token.header()
        self.trusted.check_algorithm(header)
        try:
            keys = await self.keys.find(header.kid, header.alg)
            if type(keys) is not tuple:
                raise TypeError("a KeyProvider gives a tuple")
        except (Exception, CancelledError) as error:
            self._errors.raise_outage("keys", error)
        if not keys:
            raise KeyNotFound(_short_hash(header.kid))
        if known is not None and set(keys) == set(known[1]):
            raise SignatureInvalid()
        payload = verify_signature(token, header, keys)
        # The key that fits goes first, so that the next token of its kind needs one attempt.
        others = tuple(key for key in keys if key is not payload.key)
        self._headers.add(token.header_segment, header, (payload.key, *others))
        # The time is asked for again: fetching keys may have taken a while.
        return self._accepted(token, payload, self._time())

    def _accepted(self, token: UnverifiedToken, payload: SignedPayload, now: float) -> ProvenToken:
        """Step 5: the token with its claims accepted, and kept for the next time."""
        principal, facts = self.trusted.accept(payload, now)
        proven = ProvenToken(
            principal,
            facts,
            self._limits.of_principal(principal),
            facts.expires_at + self.trusted.leeway_seconds,
            payload.key.lease,
            sha256(token.text.encode()).hexdigest(),
        )
        self.cache.add(token.text, proven)
        return proven


def _short_hash(kid: str | None) -> str | None:
    return None if kid is None else sha256(kid.encode()).hexdigest()[:16]
