"""What a process grants alone while Redis does not answer: a share of every limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from authkit.gcra import GcraTable
from authkit.interfaces import LimitDecision, LimitRequest, LimitState, RateLimit
from authkit.limit_decisions import limit_decision, limit_state

__all__ = ["StandIn"]

_MAX_LIMITS = 1_000


class StandIn:
    """Counts in this process: at most `share` of the rate, and of the burst but at least one call.

    Its buckets outlive an outage, so that one that comes and goes grants no burst each time.

    Args:
        share: of each limit, above 0 and at most 1.
        max_keys: how many callers it knows at a time.

    Attributes:
        decisions_total: how often it decided.
    """

    def __init__(self, share: float, max_keys: int) -> None:
        self._share = share
        self._table = GcraTable(max_keys)
        self._shares: dict[int, tuple[RateLimit, RateLimit]] = {}
        self.decisions_total: int = 0

    def __len__(self) -> int:
        return len(self._table)

    def acquire(self, requests: Sequence[LimitRequest], now: float) -> LimitDecision:
        """Decides as a limiter does, within the share.

        Raises:
            BackendUnavailable: there is no room for another caller.
            ConfigurationError: a limit whose burst takes centuries to come back.
        """
        self.decisions_total += 1
        shared = [
            LimitRequest(limit=self._share_of(each.limit), key=each.key, cost=each.cost)
            for each in requests
        ]
        too_large = [each.cost > each.limit.burst for each in shared]
        if not any(too_large):
            decision = self._table.acquire(shared, now)
            return limit_decision(decision.allowed, decision.states, is_degraded=True)
        asked = self._table.acquire([replace(each, cost=0) for each in shared], now)
        states = [
            _beyond(each, state) if is_too_large else state
            for each, state, is_too_large in zip(shared, asked.states, too_large, strict=True)
        ]
        return limit_decision(False, tuple(states), is_degraded=True)

    def _share_of(self, limit: RateLimit) -> RateLimit:
        known = self._shares.get(id(limit))
        if known is None:
            per_seconds = limit.per_seconds / self._share
            burst = max(1, int(limit.burst * self._share))
            if len(self._shares) >= _MAX_LIMITS:
                self._shares.clear()
            known = self._shares[id(limit)] = (
                limit,
                replace(limit, per_seconds=per_seconds, burst=burst),
            )
        return known[1]


def _beyond(request: LimitRequest, state: LimitState) -> LimitState:
    """The state of a bucket that is smaller than the cost, for as long as it stands in."""
    limit = request.limit
    seconds = request.cost * limit.per_seconds / limit.rate
    return limit_state(state.name, state.remaining, seconds, state.reset_after_seconds)
