"""authkit's backends in the memory of one process: for one worker, for development and tests."""

from __future__ import annotations

from authkit_memory.audit_sink import MemoryAuditSink
from authkit_memory.key_provider import MemoryKeyProvider
from authkit_memory.rate_limiter import MemoryRateLimiter
from authkit_memory.revocation_store import MemoryRevocationStore

__all__ = [
    "MemoryAuditSink",
    "MemoryKeyProvider",
    "MemoryRateLimiter",
    "MemoryRevocationStore",
]
