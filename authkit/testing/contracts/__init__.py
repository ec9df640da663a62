"""The contract suites: prove that a backend of your own keeps every promise of its interface.

Each suite is a class.  Subclass it in a test module and override its fixture: `provider`,
`source`, `store`, `limiter` or `sink`.  What the backend can do, and what its test can do to it, is
declared by class attributes.
"""

from __future__ import annotations

from authkit.testing.contracts.audit_sink import AuditSinkContract, event_fields
from authkit.testing.contracts.key_provider import KeyProviderContract
from authkit.testing.contracts.key_source import KeySourceContract
from authkit.testing.contracts.rate_limiter import RateLimiterContract
from authkit.testing.contracts.revocation_store import RevocationStoreContract

__all__ = [
    "AuditSinkContract",
    "KeyProviderContract",
    "KeySourceContract",
    "RateLimiterContract",
    "RevocationStoreContract",
    "event_fields",
]
