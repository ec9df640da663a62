"""authkit's backends in Redis: shared by all processes of a fleet."""

from __future__ import annotations

from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.audit_streams.reader import AuditReader
from authkit_redis.backends import RedisBackends
from authkit_redis.key_provider import RedisKeyProvider
from authkit_redis.rate_limiter import RedisRateLimiter
from authkit_redis.revocation_store import RedisRevocationStore
from authkit_redis.shared_keys.source import RedisKeySource

__all__ = [
    "AuditReader",
    "RedisAuditSink",
    "RedisBackends",
    "RedisKeyProvider",
    "RedisKeySource",
    "RedisRateLimiter",
    "RedisRevocationStore",
]
