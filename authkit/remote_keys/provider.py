"""The KeyProvider for an issuer that publishes its keys over HTTPS."""

from __future__ import annotations

from authkit.clock import Clock, SystemClock
from authkit.key_set import KeySetProvider
from authkit.remote_keys.addresses import host_of
from authkit.remote_keys.http import HttpClient
from authkit.remote_keys.source import HttpKeySource

__all__ = ["RemoteKeyProvider"]


class RemoteKeyProvider(KeySetProvider):
    """A KeySetProvider over an HttpKeySource; both explain the arguments.

        keys = RemoteKeyProvider("https://login.example.com")

    Args:
        issuer: whose keys they are, found by discovery unless a `jwks_url` is given.
        jwks_url: the address of the key set.
        discovery_url: where the discovery document is, if not at the well-known addresses.
        client: an `httpx.AsyncClient`, or one with the same interface; stays its owner's.
        clock: tells the time; None is the machine's.
        timeout_seconds: for a whole fetch, and for how long a request waits for it.
        cooldown_seconds: the least time from the start of one fetch to that of the next.
        last_known_good_seconds: how long keys stay in use while fetching fails.
        refresh_ahead: the share of its freshness by which a set is fetched ahead.
        fresh_seconds: how long a set is fresh whose server says nothing of it.
        min_fresh_seconds: less than this is taken to be this.
        max_fresh_seconds: more than this is taken to be this.
        max_bytes: of a decoded document.
        max_keys: a set of more keys is refused as a whole.
        insecure_loopback_http: allows plain http to this very machine, for tests.

    Raises:
        ConfigurationError: something that cannot be meant; the message says what to do.
    """

    def __init__(
        self,
        issuer: str | None = None,
        *,
        jwks_url: str | None = None,
        discovery_url: str | None = None,
        client: HttpClient | None = None,
        clock: Clock | None = None,
        timeout_seconds: float = 5.0,
        cooldown_seconds: float = 30.0,
        last_known_good_seconds: float = 3600.0,
        refresh_ahead: float = 0.2,
        fresh_seconds: float = 600.0,
        min_fresh_seconds: float = 60.0,
        max_fresh_seconds: float = 86400.0,
        max_bytes: int = 1024 * 1024,
        max_keys: int = 1000,
        insecure_loopback_http: bool = False,
    ) -> None:
        clock = SystemClock() if clock is None else clock
        source = HttpKeySource(
            jwks_url,
            issuer=issuer,
            discovery_url=discovery_url,
            client=client,
            clock=clock,
            timeout_seconds=timeout_seconds,
            max_bytes=max_bytes,
            max_keys=max_keys,
            fresh_seconds=fresh_seconds,
            min_fresh_seconds=min_fresh_seconds,
            max_fresh_seconds=max_fresh_seconds,
            insecure_loopback_http=insecure_loopback_http,
        )
        super().__init__(
            source,
            name=issuer or host_of(jwks_url or ""),
            clock=clock,
            timeout_seconds=timeout_seconds,
            cooldown_seconds=cooldown_seconds,
            last_known_good_seconds=last_known_good_seconds,
            refresh_ahead=refresh_ahead,
            min_fresh_seconds=min_fresh_seconds,
            max_fresh_seconds=max_fresh_seconds,
            max_keys=max_keys,
        )
