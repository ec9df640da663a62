"""How the times of a replica follow from the one that is configured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from authkit.errors import ConfigurationError

__all__ = ["Timing", "is_number"]


def is_number(value: object) -> bool:
    """Whether it can be a time: text from the environment, or a bool, is a mistake."""
    return isinstance(value, int | float) and not isinstance(value, bool)


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
        if not (is_number(self.timeout) and 0 < self.timeout < math.inf):
            raise ConfigurationError("timeout_seconds must be positive and finite")

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
