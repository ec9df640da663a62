"""How the times of a replica follow from the one that is configured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from authkit.errors import ConfigurationError
from authkit_redis.arguments import is_number, require_seconds

__all__ = ["Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of a replica, in seconds.

    Attributes:
        max_staleness: a replica whose last proof is older does not answer that nothing is revoked.
        timeout: within which every call ends.

    Raises:
        ConfigurationError: a time is not positive and finite, or the staleness below 0.2 s.
    """

    max_staleness: float
    timeout: float

    def __post_init__(self) -> None:
        if not (is_number(self.max_staleness) and 0.2 <= self.max_staleness < math.inf):
            raise ConfigurationError("max_staleness_seconds must be at least 0.2, and finite")
        require_seconds(timeout_seconds=self.timeout)

    @property
    def heartbeat(self) -> float:
        """Between two proofs."""
        return self.max_staleness / 20

    @property
    def settle(self) -> float:
        """For how long a server that is new proves nothing: it may lack what others write back."""
        return self.max_staleness / 5

    @property
    def repair(self) -> float:
        """For how long others wait for what is being written back, after each sign of it."""
        return 2 * self.settle

    @property
    def answer(self) -> float:
        """What a heartbeat, or a direct question of a request, waits for its answer."""
        return min(self.timeout, max(self.max_staleness / 20, 0.1))

    @property
    def recent(self) -> float:
        """What was learnt within this time is written back first, and by all who know it."""
        return 4 * self.max_staleness
