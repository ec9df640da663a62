"""Which issuers are trusted with what, and what a route asks of a caller."""

from __future__ import annotations

from authkit.policy.claim_mapping import ClaimMapping
from authkit.policy.requirement import Requirement
from authkit.policy.trusted_issuer import TrustedIssuer

__all__ = ["ClaimMapping", "Requirement", "TrustedIssuer"]
