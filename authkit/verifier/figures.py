"""The figures of a Verifier and its parts, as an operator reads them."""

from __future__ import annotations

from collections.abc import Sequence

from authkit.token_cache import TokenCache
from authkit.verifier.backend_errors import BackendErrors
from authkit.verifier.live_tokens import LiveTokens
from authkit.verifier.records import Records

__all__ = ["figures"]


def figures(
    records: Records, errors: BackendErrors, caches: Sequence[TokenCache], live: LiveTokens
) -> dict[str, float]:
    """The figures, by name; those that only grow end in `_total`."""
    verifications = {
        f"verifications_{outcome}_total": count for outcome, count in records.outcomes.items()
    }
    outages = {f"{interface}_errors_total": count for interface, count in errors.counts.items()}
    return {
        **verifications,
        **outages,
        "token_cache_entries": sum(map(len, caches)),
        "token_cache_bytes": sum(cache.size_bytes for cache in caches),
        "live_tokens": len(live),
        "live_tokens_revoked_total": live.revoked_total,
    }
