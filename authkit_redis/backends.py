"""RedisBackends: everything that authkit keeps in Redis, opened from one address."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from authkit.clock import Clock
from authkit_redis.link import Client, Link, link_over, open_link
from authkit_redis.revocation_store import RedisRevocationStore

__all__ = ["RedisBackends"]


class RedisBackends:
    """The Redis backends of one app over one link.

        async with RedisBackends.from_url("redis://127.0.0.1", prefix="orders") as redis:
            verifier = Verifier(issuer, revocations=redis.revocations)

    Entering it opens the link, and leaving it closes it; each backend begins its own work when it
    is entered itself, as the Verifier does.  Make it with `from_url` or `from_client`.

    Args:
        link: to the servers.
        prefix: of all keys; the same for all processes that share what is kept.
        secret: keys the hashes that stand for ids, at least 16 bytes.
        max_token_lifetime_seconds: as for `RedisRevocationStore`.
        max_staleness_seconds: as for `RedisRevocationStore`.
        insecure_fail_open: as for `RedisRevocationStore`.
        clock: tells the time.

    Attributes:
        revocations: the RevocationStore.

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
        clock: Clock | None = None,
    ) -> None:
        self._link = link
        self.revocations: RedisRevocationStore = RedisRevocationStore(
            link,
            prefix=prefix,
            secret=secret,
            max_token_lifetime_seconds=max_token_lifetime_seconds,
            max_staleness_seconds=max_staleness_seconds,
            insecure_fail_open=insecure_fail_open,
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
            clock=clock,
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
