"""What was refused for want of room, and what of it the trail itself does not tell of yet."""

from __future__ import annotations

import logging
import math

from authkit.audit.records import ControlFields

__all__ = ["Drops"]

_log = logging.getLogger("authkit")

# A flood that never ends is reported once a second, not once a batch.
_REPORT_SECONDS = 1.0


class Drops:
    """Counts refused events, and makes the fields of `audit.dropped`, which tells of them.

    Attributes:
        requests_total: request events that were dropped.
        controls_total: control events that were refused.
    """

    __slots__ = (
        "_since",
        "_told_at",
        "_told_controls",
        "_told_requests",
        "controls_total",
        "requests_total",
    )

    def __init__(self) -> None:
        self.requests_total: int = 0
        self.controls_total: int = 0
        self._told_requests = 0
        self._told_controls = 0
        self._since: float | None = None
        self._told_at = -math.inf

    def add_request(self, time: float) -> None:
        """Counts a request event that happened at `time`."""
        self.requests_total += 1
        if self._since is None:
            self._since = time

    def add_control(self, time: float) -> None:
        """Counts a control event that happened at `time`."""
        self.controls_total += 1
        if self._since is None:
            self._since = time

    def report(self, monotonic: float, *, is_last: bool) -> ControlFields | None:
        """What to tell now, and as told from now on; None if there is nothing, or it can wait.

        Args:
            monotonic: the clock's.
            is_last: there may be no later moment to tell it.
        """
        if self._since is None or not (is_last or monotonic - self._told_at >= _REPORT_SECONDS):
            return None
        requests = self.requests_total - self._told_requests
        controls = self.controls_total - self._told_controls
        since, self._since = self._since, None
        self._told_at = monotonic
        self._told_requests, self._told_controls = self.requests_total, self.controls_total
        _log.warning("audit: %d request and %d control events were dropped", requests, controls)
        return {"data": {"count": requests, "control_count": controls, "since": since}}
