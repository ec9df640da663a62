"""The times by which a key set is shared, and where it stands."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from authkit.errors import ConfigurationError
from authkit.jose.encoding import encode_base64url
from authkit.key_set.arguments import check_number
from authkit_redis.arguments import checked_prefix, require_seconds

__all__ = ["FUTURE_MS", "SKEW_MS", "Terms", "key_of"]

FUTURE_MS: Final = 60_000
"""By how much the clocks of servers that follow each other may differ."""

SKEW_MS: Final = 3_600_000
"""By how much the clocks of the fleet's processes may differ."""

_MARGIN_SECONDS: Final = 1.0
_LONGEST_FETCH_SECONDS: Final = 60.0
_LONGEST_LIFE_MS: Final = 366 * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """As `RedisKeySource` has them.

    Raises:
        ConfigurationError: a number that cannot be meant.
    """

    fetch_timeout_seconds: float
    cooldown_seconds: float
    stale_if_error_seconds: float
    max_fresh_seconds: float
    timeout_seconds: float

    def __post_init__(self) -> None:
        require_seconds(timeout_seconds=self.timeout_seconds)
        check_number(
            "fetch_timeout_seconds",
            self.fetch_timeout_seconds,
            above=0,
            at_most=_LONGEST_FETCH_SECONDS,
        )
        check_number("cooldown_seconds", self.cooldown_seconds, above=0)
        check_number("stale_if_error_seconds", self.stale_if_error_seconds)
        check_number("max_fresh_seconds", self.max_fresh_seconds, above=0)

    @property
    def lease_seconds(self) -> float:
        """How long an attempt may take until another process makes one."""
        return self.fetch_timeout_seconds + _MARGIN_SECONDS

    @property
    def lease_ms(self) -> int:
        """The same, as a script has it."""
        return round(self.lease_seconds * 1000)

    @property
    def longest_lease_ms(self) -> int:
        """No process holds one for longer; who says so is not of this fleet."""
        return round((_LONGEST_FETCH_SECONDS + _MARGIN_SECONDS) * 1000)

    @property
    def patience_seconds(self) -> float:
        """How long others are waited for: while one dies and the next fetches."""
        return 2 * self.lease_seconds

    @property
    def longest_seconds(self) -> float:
        """How long a fetch takes at most: others are waited for in vain, and then it is made."""
        calls = 2 * self.timeout_seconds
        return self.patience_seconds + self.fetch_timeout_seconds + calls + _MARGIN_SECONDS

    @property
    def cooldown_ms(self) -> int:
        """The cooldown less the time of a call.

        Who has waited for its own cooldown has begun it a moment before the server did, and would
        come a moment early else, and wait for a whole cooldown more.
        """
        seconds = self.cooldown_seconds
        return max(1, round(max(seconds / 2, seconds - self.timeout_seconds) * 1000))

    def enough_ms(self, fresh_seconds: float) -> int:
        """How old a set of this freshness may be for others to take it instead of asking."""
        return round(max(self.cooldown_seconds * 1000, self.fresh_ms(fresh_seconds) / 2))

    def fresh_ms(self, fresh_seconds: float) -> int:
        """How long a set of this freshness counts as fresh."""
        return round(min(fresh_seconds, self.max_fresh_seconds) * 1000)

    def usable_ms(self, fresh_seconds: float) -> int:
        """How old a set of this freshness may be where no newer one is to be had."""
        usable_ms = self.fresh_ms(fresh_seconds) + self.stale_if_error_seconds * 1000
        return round(min(usable_ms, _LONGEST_LIFE_MS))

    @property
    def attempt_life_ms(self) -> int:
        """How long it is remembered that an attempt was begun, or failed."""
        return self.lease_ms + round(self.cooldown_seconds * 1000) + FUTURE_MS


def key_of(prefix: object, issuer: object, address: object) -> bytes:
    """The Redis key of the key set of an issuer at an address.

    Raises:
        ConfigurationError: the prefix is none, or the others are not text.
    """
    start = checked_prefix(prefix)
    digest = blake2b(digest_size=16, person=b"authkit-keys-at")
    for name, value in (("issuer", issuer), ("address", address)):
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{name} must be a text that is not empty")
        data = value.encode("utf-8", "surrogatepass")
        digest.update(struct.pack(">I", len(data)) + data)
    return b"{%s:keys:%s}" % (start, encode_base64url(digest.digest()).encode())
