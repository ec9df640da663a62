"""Whatever one change is made to an audit trail, its verification finds it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from authkit.audit.findings import AuditFault
from authkit.audit.records import ControlRecord, RequestRecord
from authkit.audit.verification import read_anchors
from authkit.event_lines import NotAnEvent, event_of_line
from authkit.interfaces import AuditEvent
from tests.unit.audit.sinks import request
from tests.unit.audit.trails import KEY, anchor, chained, verify

texts = st.text(max_size=12) | st.sampled_from(["\u2028", "\ud800", "\x7f\x00", '"}', "\U0001f511"])
values = st.none() | st.booleans() | st.integers() | st.floats() | texts
requests = st.builds(request, texts, st.floats(0, 2e9))
controls = st.builds(
    lambda subject, data: ControlRecord(
        1.0, "test.event", "accepted", {"subject": subject, "data": data}
    ),
    texts,
    st.dictionaries(texts, values, max_size=3),
)
# Made anew for each trail: what stands before an anchor is written into it.
anchors = st.builds(anchor)
records = st.lists(requests | controls | anchors, min_size=1, max_size=8)


class Trail(NamedTuple):
    """The lines of several producers, as they came to the sink.

    Attributes:
        lines: in order.
        kept: the last anchor of each producer, as it was kept elsewhere.
    """

    lines: list[bytes]
    kept: list[AuditEvent]


@st.composite
def trails(draw: st.DrawFn) -> Trail:
    """Of one to four producers, each with an anchor as its last event, interleaved at random."""
    runs = []
    for name in draw(
        st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4, unique=True)
    ):
        of_one: list[RequestRecord] = [*draw(records), anchor(is_last=draw(st.booleans()))]
        runs.append(chained(name.encode("utf-8", "backslashreplace").decode(), of_one))
    turns = draw(st.permutations([n for n, run in enumerate(runs) for _ in run]))
    left = [iter(run) for run in runs]
    return Trail(
        [next(left[n]) for n in turns], [one for run in runs for one in read_anchors(run, KEY)]
    )


def is_same(one: bytes, other: bytes) -> bool:
    """Whether a changed line still says the same."""
    try:
        return event_of_line(one) == event_of_line(other)
    except NotAnEvent:
        return False


def flipped(draw: st.DrawFn, lines: list[bytes], at: int) -> list[bytes]:
    """Another byte in place of one."""
    line = lines[at]
    place = draw(st.integers(0, len(line) - 2))
    changed = line[:place] + bytes([line[place] ^ draw(st.integers(1, 255))]) + line[place + 1 :]
    # Also a line break would do: then the line is two.
    parts = changed.splitlines(keepends=True)
    assume(len(parts) > 1 or not is_same(changed, line))
    return [*lines[:at], *parts, *lines[at + 1 :]]


def another_value(draw: st.DrawFn, line: bytes) -> bytes:
    """The line with one member changed to something that an event may have there."""
    members = json.loads(line)
    name = draw(st.sampled_from(sorted(members.keys() - {"schema"})))
    match name:
        case "sequence":
            members[name] += draw(st.integers(1, 3))
        case "time":
            members[name] = draw(st.floats(0, 2e9))
        case "data":
            members[name][draw(texts.filter(str.isprintable))] = draw(st.booleans())
        case "outcome":
            members[name] = draw(st.sampled_from(["accepted", "refused", "missing"]))
        case "chain":
            members[name] = draw(st.none() | st.sampled_from(["", "0" * 64]))
        case _:
            members[name] = draw(st.text("abc", min_size=1, max_size=3))
    changed = f"{json.dumps(members)}\n".encode()
    assume(not is_same(changed, line))
    return changed


def edited(draw: st.DrawFn, lines: list[bytes], at: int) -> list[bytes]:
    """A line that is still an event."""
    return [*lines[:at], another_value(draw, lines[at]), *lines[at + 1 :]]


def dropped(draw: st.DrawFn, lines: list[bytes], at: int) -> list[bytes]:
    """A line left out."""
    return lines[:at] + lines[at + 1 :]


def swapped(draw: st.DrawFn, lines: list[bytes], at: int) -> list[bytes]:
    """Two lines of one producer in each other's place."""
    name = event_of_line(lines[at]).producer
    others = [n for n, one in enumerate(lines) if event_of_line(one).producer == name and n != at]
    other = draw(st.sampled_from(others))
    swapped = list(lines)
    swapped[at], swapped[other] = swapped[other], swapped[at]
    return swapped


def contradicted(draw: st.DrawFn, lines: list[bytes], at: int) -> list[bytes]:
    """A line once more, further down, with something else in it."""
    place = draw(st.integers(at + 1, len(lines)))
    return [*lines[:place], another_value(draw, lines[at]), *lines[place:]]


def beheaded(draw: st.DrawFn, lines: list[bytes], at: int) -> list[bytes]:
    """The first lines left out."""
    return lines[at + 1 :]


def curtailed(draw: st.DrawFn, lines: list[bytes], at: int) -> list[bytes]:
    """The last lines left out."""
    return lines[:at]


Tampering = Callable[[st.DrawFn, list[bytes], int], list[bytes]]
TAMPERINGS: list[Tampering] = [
    flipped,
    edited,
    dropped,
    swapped,
    contradicted,
    beheaded,
    curtailed,
]


@given(trails(), st.data())
def test_an_honest_trail_passes(trail: Trail, data: st.DataObject) -> None:
    """Also with a line repeated, as by a sink that is given a batch again."""
    at = data.draw(st.integers(0, len(trail.lines) - 1))
    place = data.draw(st.integers(at + 1, len(trail.lines)))
    lines = [*trail.lines[:place], trail.lines[at], *trail.lines[place:]]
    report = verify(lines, anchors=trail.kept)
    assert sum(one.events for one in report.producers) == len(trail.lines)
    assert sum(one.repeated for one in report.producers) == 1
    assert not any(one.unproven for one in report.producers)


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda one: one.__name__)
@given(trail=trails(), data=st.data())
def test_any_one_change_is_found(tampering: Tampering, trail: Trail, data: st.DataObject) -> None:
    """Wherever it is made, and whatever it is."""
    at = data.draw(st.integers(0, len(trail.lines) - 1))
    lines = tampering(data.draw, trail.lines, at)
    with pytest.raises(AuditFault):
        verify(lines, anchors=trail.kept)


@given(trail=trails(), data=st.data())
def test_no_single_event_stands_in_for_what_was_removed(trail: Trail, data: st.DataObject) -> None:
    """Whatever it says, where older events may have been removed on purpose."""
    at = data.draw(st.integers(0, len(trail.lines) - 1))
    event = event_of_line(trail.lines[at])
    others = [one for one in trail.lines if event_of_line(one).producer != event.producer]
    invented = another_value(data.draw, trail.lines[at])
    assume(event_of_line(invented).producer == event.producer)
    place = data.draw(st.integers(0, len(others)))
    with pytest.raises(AuditFault):
        verify([*others[:place], invented, *others[place:]], anchors=trail.kept, is_trimmed=True)


@given(trail=trails(), data=st.data())
def test_what_is_left_of_a_trimmed_trail_is_found_to_be_edited_too(
    trail: Trail, data: st.DataObject
) -> None:
    """All but the first event left of each producer: what stood before it is gone."""
    start = data.draw(st.integers(0, len(trail.lines) - 1))
    lines = trail.lines[start:]
    verify(lines, anchors=trail.kept, is_trimmed=True)
    at = data.draw(st.integers(0, len(lines) - 1))
    event = event_of_line(lines[at])
    mine = [n for n, line in enumerate(lines) if event_of_line(line).producer == event.producer]
    assume(at != mine[0] or event.sequence == 1)
    with pytest.raises(AuditFault):
        verify(edited(data.draw, lines, at), anchors=trail.kept, is_trimmed=True)
