"""A RateLimit in the whole numbers that the scripts count with, and its buckets' keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from fractions import Fraction
from hashlib import blake2b
from math import ceil
from typing import Any

from authkit.errors import ConfigurationError
from authkit.interfaces import LimitDecision, LimitState, RateLimit
from authkit.jose.encoding import encode_base64url
from authkit.limit_decisions import limit_state, one_granted
from authkit_redis.arguments import checked_prefix, derived_key

__all__ = ["Keys", "Plan", "Plans"]

_LARGEST = 2**52  # with as much again, whole numbers are still exact in a double
_MAX_PLANS = 1_000
_MAX_KEYS = 4_096
_MAX_COSTS = 64
_DIGEST_BYTES = 15
_TAG_BYTES = 6


class Plan:
    """A RateLimit in whole numbers of units, of which a microsecond has `scale`.

    It holds its limit, so that the limit's identity stays taken.

    Args:
        limit: what it counts.
        keys: names its buckets.
        lease: how many calls a process takes at once; 0 takes each by itself.

    Attributes:
        interval: what one call costs.
        capacity: what the burst costs.
        keys: those of its buckets that are known, by the text of the request.
        asks: what takes one call from a bucket, by its key.
        one: what a script is given for a call of cost 1.

    Raises:
        ConfigurationError: the burst takes centuries to come back, is beyond counting, or is
            smaller than the lease.
    """

    __slots__ = (
        "_arguments",
        "_names",
        "_per_second",
        "asks",
        "burst",
        "capacity",
        "interval",
        "keys",
        "lease",
        "limit",
        "name",
        "one",
        "scale",
    )

    def __init__(self, limit: RateLimit, keys: Keys, lease: int) -> None:
        # The shortest text of a float is what was meant: 0.1 is a tenth, not 2**-56 more.
        exact = Fraction(repr(float(limit.per_seconds))) * 1_000_000 / int(limit.rate)
        self.limit: RateLimit = limit
        self.lease: int = lease
        self.name: str = limit.name
        self.burst: int = int(limit.burst)
        if lease > self.burst:
            raise ConfigurationError(
                f"RateLimit {limit.name}: a lease of {lease} calls is more than its "
                f"burst, {self.burst}"
            )
        interval, scale = exact.numerator, exact.denominator
        if self.burst * interval > _LARGEST or scale > _LARGEST:
            # Too fine to be counted exactly: coarser, and rounded against the caller.
            scale = min(int(_LARGEST // (self.burst * exact)), _LARGEST)
            interval = ceil(exact * scale)
        if scale < 1 or self.burst >= _LARGEST:
            raise ConfigurationError(
                f"RateLimit {limit.name}: its burst takes centuries to come back, or is beyond "
                "counting; raise rate or lower burst"
            )
        self.interval: int = interval
        self.scale: int = scale
        self._per_second = scale * 1e6
        self.capacity: int = self.burst * interval
        self._names = keys
        self.keys: dict[str, bytes] = {}
        self.asks: dict[bytes, Callable[[], Awaitable[Any]]] = {}
        self._arguments: dict[tuple[int, int], tuple[bytes, ...]] = {}
        self.one: tuple[bytes, ...] = self.arguments(1, 1)

    def key(self, text: str) -> bytes:
        """The key of the bucket of a caller."""
        key = self.keys.get(text)
        if key is None:
            if len(self.keys) >= _MAX_KEYS:
                self.keys.clear()
                self.asks.clear()
            key = self.keys[text] = self._names.of(self.name, text)
        return key

    def arguments(self, cost: int, most: int) -> tuple[bytes, ...]:
        """What a script is given of one bucket."""
        arguments = self._arguments.get((cost, most))
        if arguments is None:
            numbers = (self.interval, self.capacity, self.scale, cost, most)
            arguments = tuple([b"%d" % number for number in numbers])
            if len(self._arguments) < _MAX_COSTS:
                self._arguments[cost, most] = arguments
        return arguments

    def check(self, cost: int) -> None:
        """Returns if a cost can be granted at all.

        Raises:
            ConfigurationError: it is below 0, or above the burst.
        """
        if type(cost) is not int or not 0 <= cost <= self.burst:
            raise ConfigurationError(
                f"RateLimit {self.name}: a cost is a whole number, at least 0 and at most the "
                f"burst, {self.burst}; {cost!r} could never be granted"
            )

    def granted(self, used: int) -> LimitDecision:
        """The decision that grants one call, after which so much is used up."""
        return one_granted(
            self.name, (self.capacity - used) // self.interval, used / self._per_second
        )

    def state(self, used: int, lacking: int) -> LimitState:
        """The state of a bucket of which so much is used up, and so much lacks."""
        remaining = (self.capacity - used) // self.interval
        return limit_state(
            self.name,
            remaining if remaining > 0 else 0,
            # A microsecond more than the division may have lost: after the wait it is there.
            ceil(lacking / self.scale) / 1e6 if lacking > 0 else 0.0,
            used / self._per_second if used > 0 else 0.0,
        )


class Keys:
    """The keys of all buckets under one prefix.

    Buckets whose texts begin with the same word, as the Verifier's do with the issuer, are in one
    slot of a cluster.  Ids stand in no key: a hash does, keyed with what is derived from the
    secret.

    Raises:
        ConfigurationError: the prefix or the secret cannot be used.
    """

    def __init__(self, prefix: str, secret: bytes | None) -> None:
        self._prefix = checked_prefix(prefix)
        key = b"" if secret is None else derived_key(secret, b"authkit-limits")
        self._hash = blake2b(digest_size=_DIGEST_BYTES, key=key)
        self._tag = blake2b(digest_size=_TAG_BYTES, key=key)

    def of(self, name: str, text: str) -> bytes:
        """The key of one bucket."""
        tag, bucket = self._tag.copy(), self._hash.copy()
        tag.update(text.partition(" ")[0].encode("utf-8", "surrogatepass"))
        named = name.encode("utf-8", "surrogatepass")
        bucket.update(b"%d:%b" % (len(named), named) + text.encode("utf-8", "surrogatepass"))
        tagged, digest = encode_base64url(tag.digest()), encode_base64url(bucket.digest())
        return b"{%b:lim:%b}:%b" % (self._prefix, tagged.encode(), digest.encode())


class Plans:
    """The plans of the limits in use, by the limit's identity, which costs least to find.

    Args:
        prefix: of all keys.
        secret: keys the hashes that stand for callers.
        leases: how many calls a process takes at once, by the name of the limit.

    Attributes:
        known: the plans that were made before.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    def __init__(
        self, prefix: str, secret: bytes | None, leases: Mapping[str, int] | None = None
    ) -> None:
        self._keys = Keys(prefix, secret)
        self._leases = _checked_leases({} if leases is None else leases)
        self.known: dict[int, Plan] = {}

    def of(self, limit: RateLimit) -> Plan:
        """The plan of a limit.

        Raises:
            ConfigurationError: its burst takes centuries to come back, or is smaller than its
                lease.
        """
        plan = self.known.get(id(limit))
        if plan is None:
            plan = Plan(limit, self._keys, self._leases.get(limit.name, 0))
            if len(self.known) >= _MAX_PLANS:
                self.known.clear()  # somebody makes limits by the call
            self.known[id(limit)] = plan
        return plan


def _checked_leases(leases: Mapping[str, int]) -> dict[str, int]:
    if not isinstance(leases, Mapping):
        raise ConfigurationError("leases must be a dict: the size of each by the limit's name")
    for name, size in leases.items():
        if not isinstance(name, str) or type(size) is not int or size < 1:
            raise ConfigurationError(
                f"the lease of {name} must be a whole number of calls, at least 1"
            )
    return dict(leases)
