"""What every RevocationStore needs: the meaning of a revocation, its end, and who is told of it."""

from __future__ import annotations

from authkit.revocations.earliest_time import EarliestTime
from authkit.revocations.feed import Feed, Subscription
from authkit.revocations.terms import (
    answered_until,
    covers,
    filled_in,
    longest_seconds,
    merged,
    require_within_horizon,
)

__all__ = [
    "EarliestTime",
    "Feed",
    "Subscription",
    "answered_until",
    "covers",
    "filled_in",
    "longest_seconds",
    "merged",
    "require_within_horizon",
]
