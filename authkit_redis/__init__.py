"""authkit's backends in Redis: shared by all processes of a fleet."""

from __future__ import annotations

from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.backends import RedisBackends
from authkit_redis.key_provider import RedisKeyProvider
from authkit_redis.rate_limiter import RedisRateLimiter
from authkit_redis.revocation_store import RedisRevocationStore

__all__ = [
    "RedisAuditSink",
    "RedisBackends",
    "RedisKeyProvider",
    "RedisRateLimiter",
    "RedisRevocationStore",
]
