"""The way of a credential to a Principal, or to one error of the closed family."""

from __future__ import annotations

from authkit.verifier.no_revocation import NoRevocation
from authkit.verifier.token_watch import TokenWatch
from authkit.verifier.verifier import Verifier

__all__ = ["NoRevocation", "TokenWatch", "Verifier"]
