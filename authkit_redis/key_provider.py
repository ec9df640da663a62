"""The KeyProvider of a fleet: one process asks the provider, and all have its keys."""

from __future__ import annotations

from collections.abc import Mapping

from authkit.clock import Clock, SystemClock
from authkit.interfaces import KeySource
from authkit.key_set import KeySetProvider
from authkit_redis.link import Link
from authkit_redis.shared_keys.source import RedisKeySource

__all__ = ["RedisKeyProvider"]


class RedisKeyProvider(KeySetProvider):
    """A KeySetProvider over a RedisKeySource; both explain the arguments.

    Args:
        link: to the servers.
        source: where the keys come from, such as an HttpKeySource.
        issuer: whose keys they are.
        address: where the source has them from; processes share what has the same issuer and
            address.
        prefix: of all keys.
        secret: of the fleet, at least 16 bytes.
        insecure_trust_redis: takes keys from Redis without a MAC.
        clock: tells the time; None is the machine's.
        timeout_seconds: for one request to the source, at most 60, and for how long a request
            waits for a fetch.
        cooldown_seconds: the least time from the start of one fetch to that of the next, in this
            process, and of one request to the source to that of the next, in the fleet.
        last_known_good_seconds: how long keys stay in use while fetching fails, also where a
            process begins meanwhile.
        refresh_ahead: the share of its freshness by which a set is fetched ahead.  With more than
            a half, processes share less.
        min_fresh_seconds: a document that says less is taken to say this.
        max_fresh_seconds: a document that says more is taken to say this.
        max_keys: a set of more keys is refused as a whole.
        redis_timeout_seconds: for one call to Redis.

    Attributes:
        issuer: whose keys they are; a TrustedIssuer of another name refuses them.

    Raises:
        ConfigurationError: a value has no sense, or there is neither a secret nor
            `insecure_trust_redis=True`.
    """

    def __init__(
        self,
        link: Link,
        source: KeySource,
        *,
        issuer: str,
        address: str,
        prefix: str = "authkit",
        secret: bytes | None = None,
        insecure_trust_redis: bool = False,
        clock: Clock | None = None,
        timeout_seconds: float = 5.0,
        cooldown_seconds: float = 30.0,
        last_known_good_seconds: float = 3600.0,
        refresh_ahead: float = 0.2,
        min_fresh_seconds: float = 60.0,
        max_fresh_seconds: float = 86400.0,
        max_keys: int = 1000,
        redis_timeout_seconds: float = 0.25,
    ) -> None:
        clock = SystemClock() if clock is None else clock
        self.issuer: str = issuer
        self._shared = RedisKeySource(
            link,
            source,
            issuer=issuer,
            address=address,
            prefix=prefix,
            secret=secret,
            insecure_trust_redis=insecure_trust_redis,
            fetch_timeout_seconds=timeout_seconds,
            cooldown_seconds=cooldown_seconds,
            stale_if_error_seconds=last_known_good_seconds,
            max_fresh_seconds=max_fresh_seconds,
            max_keys=max_keys,
            timeout_seconds=redis_timeout_seconds,
            clock=clock,
        )
        super().__init__(
            self._shared,
            name=issuer,
            clock=clock,
            timeout_seconds=timeout_seconds,
            cooldown_seconds=cooldown_seconds,
            last_known_good_seconds=last_known_good_seconds,
            refresh_ahead=refresh_ahead,
            min_fresh_seconds=min_fresh_seconds,
            max_fresh_seconds=max_fresh_seconds,
            max_keys=max_keys,
            # Where it has waited for another process in vain, there is time left to ask by itself.
            longest_fetch_seconds=self._shared.longest_seconds,
        )

    def stats(self) -> Mapping[str, float]:
        """Those of a KeySetProvider, and under `shared_` those of the RedisKeySource."""
        shared = {f"shared_{name}": value for name, value in self._shared.stats().items()}
        return {**super().stats(), **shared}
