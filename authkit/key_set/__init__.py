"""A published key set, kept up to date: what is known of it, when to ask again, whom to tell."""

from __future__ import annotations

from authkit.key_set.index import MAX_CANDIDATES, KeySet
from authkit.key_set.provider import KeySetProvider
from authkit.key_set.report import KEYS_ROTATED, KeySetState

__all__ = ["KEYS_ROTATED", "MAX_CANDIDATES", "KeySet", "KeySetProvider", "KeySetState"]
