"""When the trail tells of what it dropped."""

from __future__ import annotations

import asyncio

import pytest

from authkit.audit.drops import Drops
from authkit.audit.log_lines import log_lines


def test_there_is_nothing_to_tell_where_nothing_was_dropped() -> None:
    """A quiet trail writes no reports."""
    assert Drops().report(0.0, is_last=True) is None


def test_a_report_counts_what_no_report_has_told_of() -> None:
    """Each dropped event is told of once; the totals go on."""
    drops = Drops()
    drops.add_request(10.0)
    drops.add_request(11.0)
    drops.add_control(12.0)
    first = {"count": 2, "control_count": 1, "since": 10.0}
    assert drops.report(0.0, is_last=False) == {"data": first}
    drops.add_control(13.0)
    drops.add_request(14.0)
    assert drops.report(5.0, is_last=False) == {
        "data": {"count": 1, "control_count": 1, "since": 13.0}
    }
    assert (drops.requests_total, drops.controls_total) == (3, 2)
    assert drops.report(9.0, is_last=True) is None


def test_a_flood_is_reported_once_a_second() -> None:
    """While the queue stays full, a report with every batch would only add to the flood."""
    drops = Drops()
    drops.add_request(1.0)
    assert drops.report(0.0, is_last=False) is not None
    drops.add_request(2.0)
    assert drops.report(0.99, is_last=False) is None
    drops.add_request(3.0)
    told = drops.report(1.0, is_last=False)
    assert told is not None
    assert told["data"] == {"count": 2, "control_count": 0, "since": 2.0}


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines so far."""
    asyncio.run(log_lines.drain(5))
    return caplog.messages


def test_the_log_tells_when_dropping_begins_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    """One line at once, whatever becomes of the sink, and one with the count when it is over."""
    drops = Drops()
    drops.end()
    for number in range(3):
        drops.add_request(float(number))
    assert logged(caplog) == ["audit: events are being dropped: the queue is full"]
    drops.report(0.0, is_last=False)
    drops.add_control(4.0)
    drops.report(1.0, is_last=False)
    assert len(logged(caplog)) == 1
    drops.report(1.5, is_last=False)
    assert len(logged(caplog)) == 1
    assert drops.report(2.0, is_last=False) is None
    assert logged(caplog)[1:] == ["audit: no more events are dropped; 4 were"]
    drops.add_request(5.0)
    assert drops.report(2.1, is_last=True) is not None
    assert logged(caplog)[2:] == [
        "audit: events are being dropped: the queue is full",
        "audit: no more events are dropped; 1 were",
    ]
    drops.add_request(6.0)
    drops.end()
    assert len(logged(caplog)) == 6


def test_the_last_report_does_not_wait() -> None:
    """When the queue has emptied there may be no later batch to tell it with."""
    drops = Drops()
    drops.add_request(1.0)
    drops.report(0.0, is_last=False)
    drops.add_request(2.0)
    assert drops.report(0.0, is_last=True) is not None
