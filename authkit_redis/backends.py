"""RedisBackends: everything that authkit keeps in Redis, opened from one address."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from authkit.clock import Clock
from authkit.interfaces import KeySource
from authkit_redis.audit_sink import RedisAuditSink
from authkit_redis.key_provider import RedisKeyProvider
from authkit_redis.link import Client, Link, link_over, open_link
from authkit_redis.rate_limiter import RedisRateLimiter
from authkit_redis.revocation_store import RedisRevocationStore

__all__ = ["RedisBackends"]


class RedisBackends:
    """The Redis backends of one app over one link.

        async with RedisBackends.from_url("redis://127.0.0.1", prefix="orders") as redis:
            verifier = Verifier(
                issuer, revocations=redis.revocations, limiter=redis.limiter, audit=redis.audit
            )

    Entering it opens the link, and leaving it closes it; each backend begins its own work when it
    is entered itself, as the Verifier does.  Make it with `from_url` or `from_client`.

    Args:
        link: to the servers.
        prefix: of all keys; the same for all processes that share what is kept.
        secret: keys the hashes that stand for ids, at least 16 bytes.
        max_token_lifetime_seconds: as for `RedisRevocationStore`.
        max_staleness_seconds: as for `RedisRevocationStore`.
        insecure_fail_open: as for `RedisRevocationStore`.
        fallback_share: as for `RedisRateLimiter`.
        leases: as for `RedisRateLimiter`.
        audit_streams: as `streams` for `RedisAuditSink`.
        max_audit_events: as `max_events` for `RedisAuditSink`.
        audit_retention_seconds: as `retention_seconds` for `RedisAuditSink`.
        clock: tells the time.

    Attributes:
        revocations: the RevocationStore.
        limiter: the RateLimiter.
        audit: the AuditSink.

    Raises:
        ConfigurationError: a value has no sense; the message says which.
    """

    def __init__(
        self,
        link: Link,
        *,
        prefix: str,
        secret: bytes | None = None,
        max_token_lifetime_seconds: float = 86_400.0,
        max_staleness_seconds: float = 5.0,
        insecure_fail_open: bool = False,
        fallback_share: float = 0.1,
        leases: Mapping[str, int] | None = None,
        audit_streams: int = 1,
        max_audit_events: int | None = 1_000_000,
        audit_retention_seconds: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._link = link
        self._prefix = prefix
        self._secret = secret
        self._clock = clock
        self.revocations: RedisRevocationStore = RedisRevocationStore(
            link,
            prefix=prefix,
            secret=secret,
            max_token_lifetime_seconds=max_token_lifetime_seconds,
            max_staleness_seconds=max_staleness_seconds,
            insecure_fail_open=insecure_fail_open,
            clock=clock,
        )
        self.limiter: RedisRateLimiter = RedisRateLimiter(
            link,
            prefix=prefix,
            secret=secret,
            fallback_share=fallback_share,
            leases=leases,
            clock=clock,
        )
        self.audit: RedisAuditSink = RedisAuditSink(
            link,
            prefix=prefix,
            streams=audit_streams,
            max_events=max_audit_events,
            retention_seconds=audit_retention_seconds,
            clock=clock,
        )

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str,
        secret: bytes | None = None,
        max_token_lifetime_seconds: float = 86_400.0,
        max_staleness_seconds: float = 5.0,
        insecure_fail_open: bool = False,
        fallback_share: float = 0.1,
        leases: Mapping[str, int] | None = None,
        audit_streams: int = 1,
        max_audit_events: int | None = 1_000_000,
        audit_retention_seconds: float | None = None,
        clock: Clock | None = None,
        **client_options: Any,
    ) -> Self:
        """The backends at an address; nothing is opened yet.

        Args:
            url: `redis://`, `rediss://` (TLS) or `unix://`; `redis+sentinel://host,host/service`;
                `redis+cluster://host,host`; the last two also as `rediss+...`.
            prefix: of all keys.
            secret: keys the hashes that stand for ids, at least 16 bytes.
            max_token_lifetime_seconds: as for `RedisRevocationStore`.
            max_staleness_seconds: as for `RedisRevocationStore`.
            insecure_fail_open: as for `RedisRevocationStore`.
            fallback_share: as for `RedisRateLimiter`.
            leases: as for `RedisRateLimiter`.
            audit_streams: as `streams` for `RedisAuditSink`.
            max_audit_events: as `max_events` for `RedisAuditSink`.
            audit_retention_seconds: as `retention_seconds` for `RedisAuditSink`.
            clock: tells the time.
            client_options: for redis-py's connections, such as `ssl_ca_certs`.

        Raises:
            ConfigurationError: the address or a value has no sense.
        """
        return cls(
            open_link(url, **client_options),
            prefix=prefix,
            secret=secret,
            max_token_lifetime_seconds=max_token_lifetime_seconds,
            max_staleness_seconds=max_staleness_seconds,
            insecure_fail_open=insecure_fail_open,
            fallback_share=fallback_share,
            leases=leases,
            audit_streams=audit_streams,
            max_audit_events=max_audit_events,
            audit_retention_seconds=audit_retention_seconds,
            clock=clock,
        )

    @classmethod
    def from_client(
        cls,
        client: Client,
        *,
        prefix: str,
        secret: bytes | None = None,
        max_token_lifetime_seconds: float = 86_400.0,
        max_staleness_seconds: float = 5.0,
        insecure_fail_open: bool = False,
        fallback_share: float = 0.1,
        leases: Mapping[str, int] | None = None,
        audit_streams: int = 1,
        max_audit_events: int | None = 1_000_000,
        audit_retention_seconds: float | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """The backends over a `redis.asyncio.Redis` or `RedisCluster` that is there already.

        Every call goes through the client, which is several times slower than a link of our own,
        and obeys its retries and pool limits.  It stays its owner's to close.

        Args:
            client: made with `decode_responses=False` and room for at least two connections.
            prefix: of all keys.
            secret: keys the hashes that stand for ids, at least 16 bytes.
            max_token_lifetime_seconds: as for `RedisRevocationStore`.
            max_staleness_seconds: as for `RedisRevocationStore`.
            insecure_fail_open: as for `RedisRevocationStore`.
            fallback_share: as for `RedisRateLimiter`.
            leases: as for `RedisRateLimiter`.
            audit_streams: as `streams` for `RedisAuditSink`.
            max_audit_events: as `max_events` for `RedisAuditSink`.
            audit_retention_seconds: as `retention_seconds` for `RedisAuditSink`.
            clock: tells the time.

        Raises:
            ConfigurationError: it is no such client, decodes, or has one connection only; or a
                value has no sense.
        """
        return cls(
            link_over(client),
            prefix=prefix,
            secret=secret,
            max_token_lifetime_seconds=max_token_lifetime_seconds,
            max_staleness_seconds=max_staleness_seconds,
            insecure_fail_open=insecure_fail_open,
            fallback_share=fallback_share,
            leases=leases,
            audit_streams=audit_streams,
            max_audit_events=max_audit_events,
            audit_retention_seconds=audit_retention_seconds,
            clock=clock,
        )

    @property
    def link(self) -> Link:
        """What the backends use, for an AuditReader or a backend with settings of its own."""
        return self._link

    def keys(
        self,
        source: KeySource,
        *,
        issuer: str,
        address: str,
        insecure_trust_redis: bool = False,
        timeout_seconds: float = 5.0,
        cooldown_seconds: float = 30.0,
        last_known_good_seconds: float = 3600.0,
        refresh_ahead: float = 0.2,
        min_fresh_seconds: float = 60.0,
        max_fresh_seconds: float = 86400.0,
        max_keys: int = 1000,
    ) -> RedisKeyProvider:
        """The KeyProvider of an issuer, whose keys one process fetches for all of them.

            keys = redis.keys(HttpKeySource(url), issuer="https://login.example.com", address=url)

        Args:
            source: where the keys come from, such as an HttpKeySource.
            issuer: whose keys they are.
            address: where the source has them from; processes share what has the same issuer and
                address.
            insecure_trust_redis: as for `RedisKeyProvider`.
            timeout_seconds: as for `RedisKeyProvider`.
            cooldown_seconds: as for `RedisKeyProvider`.
            last_known_good_seconds: as for `RedisKeyProvider`.
            refresh_ahead: as for `RedisKeyProvider`.
            min_fresh_seconds: as for `RedisKeyProvider`.
            max_fresh_seconds: as for `RedisKeyProvider`.
            max_keys: as for `RedisKeyProvider`.

        Raises:
            ConfigurationError: a value has no sense, or the backends have no secret.
        """
        return RedisKeyProvider(
            self._link,
            source,
            issuer=issuer,
            address=address,
            prefix=self._prefix,
            secret=self._secret,
            insecure_trust_redis=insecure_trust_redis,
            clock=self._clock,
            timeout_seconds=timeout_seconds,
            cooldown_seconds=cooldown_seconds,
            last_known_good_seconds=last_known_good_seconds,
            refresh_ahead=refresh_ahead,
            min_fresh_seconds=min_fresh_seconds,
            max_fresh_seconds=max_fresh_seconds,
            max_keys=max_keys,
        )

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._link.__aexit__(kind, error, traceback)
