"""Async, pluggable-backend authentication for FastAPI: the paved path.

Errors are in `authkit.errors`, what a backend implements in `authkit.interfaces`, the FastAPI
edge in `authkit.fastapi`, the test kit in `authkit.testing`, and the backends in
`authkit_memory` and `authkit_redis`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authkit.audit import AuditTrail, FanOutAuditSink, FileAuditSink, LoggingAuditSink
from authkit.interfaces import (
    RateLimit,
    RequestContext,
    Revocation,
    RevocationReceipt,
    RevocationScope,
)
from authkit.policy import ClaimMapping, Requirement, TrustedIssuer
from authkit.principal import Principal
from authkit.verifier import NoRevocation, Verifier

if TYPE_CHECKING:
    from authkit.remote_keys import RemoteKeyProvider

__all__ = [
    "AuditTrail",
    "ClaimMapping",
    "FanOutAuditSink",
    "FileAuditSink",
    "LoggingAuditSink",
    "NoRevocation",
    "Principal",
    "RateLimit",
    "RemoteKeyProvider",
    "RequestContext",
    "Requirement",
    "Revocation",
    "RevocationReceipt",
    "RevocationScope",
    "TrustedIssuer",
    "Verifier",
]


def __getattr__(name: str) -> Any:
    if name == "RemoteKeyProvider":
        # Loaded on first use: it brings the HTTP client along.
        from authkit.remote_keys import RemoteKeyProvider

        return RemoteKeyProvider
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
