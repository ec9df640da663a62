"""Counts what becomes of the fetches of a shared key set, and says in the log what changes."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Final

__all__ = ["Figures", "Said"]

_log: Final = logging.getLogger("authkit")


@dataclass(slots=True)
class Figures:
    """Counts since the source was made.

    Attributes:
        provider_requests_total: how often this process asked the provider.
        shared_total: answers that another process had fetched.
        waited_total: fetches that waited for another process to end its own.
        stale_total: answers that were not fresh any more, given because there was no other.
        direct_total: how often the provider was asked without Redis having been of use.
        refused_total: records and notes that were not ours, or older than the server says.
        rolled_back_total: records that were older than one known here, and answers that came after
            later ones by the server's clock.
        lease_lapsed_total: how often another process was waited for in vain.
        unshared_total: documents that could not be published, or came too late.
    """

    provider_requests_total: int = 0
    shared_total: int = 0
    waited_total: int = 0
    stale_total: int = 0
    direct_total: int = 0
    refused_total: int = 0
    rolled_back_total: int = 0
    lease_lapsed_total: int = 0
    unshared_total: int = 0

    def by_name(self) -> dict[str, float]:
        """All of them."""
        return asdict(self)


class Said:
    """One line in the log for each change of how the sharing goes.

    Args:
        issuer: whose keys they are.
    """

    __slots__ = ("_fault", "_issuer")

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._fault = ""

    def well(self) -> None:
        """A record was taken from Redis, or published there."""
        if self._fault:
            self._fault = ""
            _log.warning("keys of %s in redis: shared again", self._issuer)

    def amiss(self, why: str) -> None:
        """Something is wrong with what Redis gives, or it gives nothing."""
        if why != self._fault:
            self._fault = why
            _log.warning("keys of %s in redis: %s", self._issuer, why)
