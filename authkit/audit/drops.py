"""What was refused for want of room, and what of it the trail itself does not tell of yet."""

from __future__ import annotations

import math

from authkit.audit.log_lines import log_lines
from authkit.audit.records import ControlFields

__all__ = ["Drops"]

# A flood that never ends is reported once a second, not once a batch.
_REPORT_SECONDS = 1.0


class Drops:
    """Counts refused events, and makes the fields of `audit.dropped`, which tells of them.

    The log has one line when dropping begins and one when it ends.

    Attributes:
        requests_total: request events that were dropped.
        controls_total: control events that were refused.
    """

    __slots__ = (
        "_before",
        "_is_dropping",
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
        self._is_dropping = False
        self._before = 0
        self._told_at = -math.inf

    def add_request(self, time: float) -> None:
        """Counts a request event that happened at `time`."""
        self.requests_total += 1
        if self._since is None:
            self._begin(time)

    def add_control(self, time: float) -> None:
        """Counts a control event that happened at `time`."""
        self.controls_total += 1
        if self._since is None:
            self._begin(time)

    def report(self, monotonic: float, *, is_last: bool) -> ControlFields | None:
        """What to tell now, and as told from now on; None if there is nothing, or it can wait.

        Args:
            monotonic: the clock's.
            is_last: there may be no later moment to tell it.
        """
        if not self._is_dropping or not (is_last or monotonic - self._told_at >= _REPORT_SECONDS):
            return None
        if is_last or self._since is None:
            self.end()
        if self._since is None:
            return None
        requests = self.requests_total - self._told_requests
        controls = self.controls_total - self._told_controls
        since, self._since = self._since, None
        self._told_at = monotonic
        self._told_requests, self._told_controls = self.requests_total, self.controls_total
        return {"data": {"count": requests, "control_count": controls, "since": since}}

    def end(self) -> None:
        """Logs how many were dropped, if the log was told that it began."""
        if self._is_dropping:
            self._is_dropping = False
            count = self.requests_total + self.controls_total - self._before
            log_lines.warning("audit: no more events are dropped; %d were", count)

    def _begin(self, time: float) -> None:
        """Notes when the first event happened that no report has told of."""
        self._since = time
        if not self._is_dropping:
            self._is_dropping = True
            # Without the one that is being counted.
            self._before = self.requests_total + self.controls_total - 1
            log_lines.warning("audit: events are being dropped: the queue is full")
