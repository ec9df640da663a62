"""Every way of tampering with a trail is found, and an honest trail passes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authkit.audit import chain_event
from authkit.audit.findings import AuditFault
from authkit.audit.verification import ChainVerification, read_anchors
from authkit.event_lines import event_of_line
from tests.unit.audit.sinks import request
from tests.unit.audit.trails import KEY, anchor, chained, line, lines_of, verify


def changed(line: bytes, **members: Any) -> bytes:
    return json.dumps(json.loads(line) | members).encode() + b"\n"


def test_an_honest_trail_passes() -> None:
    """Of several producers, with lines repeated."""
    a, b = lines_of("a"), lines_of("b", 3)
    report = verify([*a[:2], b[0], *a[1:4], *b[1:], *a[4:]])
    first, second = report.producers
    assert (first.producer, first.first, first.last, first.events) == ("a", 1, 6, 6)
    assert (first.repeated, first.unproven, first.is_ended) == (1, 0, True)
    assert (second.events, report.lines, report.absent) == (3, 10, ())


L = lines_of()
TAMPERED = {
    "edited": [*L[:2], changed(L[2], subject="mallory"), *L[3:]],
    "gap": [*L[:2], *L[4:]],
    "reordered": [*L[:2], L[3], L[2], *L[4:]],
    "begins_late": L[1:],
    "contradicted": [*L[:3], changed(L[1], subject="mallory"), *L[3:]],
    "no_chain": [*L[:2], changed(L[2], chain=None), *L[3:]],
    "not_an_event": [*L[:2], L[2][:50], *L[3:]],
    "wrong_key": [changed(L[0], subject="mallory"), *L[1:]],
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_each_kind_of_tampering_is_told_apart(kind: str) -> None:
    """By its kind, with the line in the message."""
    with pytest.raises(AuditFault, match=r"line [0-9]") as raised:
        verify(TAMPERED[kind])
    assert raised.value.kind == kind
    assert raised.value.line is not None


def test_the_wrong_key_is_said_to_be_one() -> None:
    """Nothing fits, and the message asks for the key."""
    with pytest.raises(AuditFault, match="is this the right key"):
        verify(L, bytes(32))
    with pytest.raises(AuditFault, match="not the right key"):
        read_anchors(L, bytes(32))
    with pytest.raises(ValueError, match="32 to 64"):
        ChainVerification(b"short")


def test_a_cut_tail_is_found_with_an_anchor_and_not_without() -> None:
    """The chain cannot tell where it should end; what was kept elsewhere can."""
    anchors = read_anchors(L, KEY)
    assert not verify(L[:4]).producers[0].is_ended
    with pytest.raises(AuditFault) as raised:
        verify(L[:4], anchors=anchors)
    assert (raised.value.kind, raised.value.sequence) == ("cut_tail", 6)
    with pytest.raises(AuditFault, match="none of its events"):
        verify(lines_of("other"), anchors=anchors)
    assert verify(L, anchors=anchors).producers[0].is_ended


def test_a_trail_that_was_written_anew_is_found() -> None:
    """Whoever has the key can make another trail, but not one that meets the anchors."""
    other = lines_of("p", 7)
    with pytest.raises(AuditFault) as raised:
        verify(other, anchors=read_anchors(L, KEY))
    assert raised.value.kind == "rewritten"


def test_a_trimmed_trail_passes_if_that_is_said() -> None:
    """Only the first event left is not proven, and an anchor is."""
    anchors = read_anchors([*L, *lines_of("gone")], KEY)
    report = verify(L[2:], anchors=anchors, is_trimmed=True)
    assert (report.producers[0].unproven, report.absent) == (1, ("gone",))
    assert verify(L[5:], is_trimmed=True).producers[0].unproven == 0
    with pytest.raises(AuditFault) as raised:
        verify([changed(L[5], type="test.event")], anchors=anchors, is_trimmed=True)
    assert raised.value.kind == "edited"
    with pytest.raises(AuditFault) as raised:
        verify([L[2], changed(L[3], subject="x"), *L[4:]], anchors=anchors, is_trimmed=True)
    assert raised.value.kind == "edited"


@given(st.data())
def test_any_one_change_of_a_trail_is_found(data: st.DataObject) -> None:
    """Of two producers: a byte, a line left out, two lines exchanged."""
    lines = [line for pair in zip(lines_of("a"), lines_of("b"), strict=True) for line in pair]
    anchors = read_anchors(lines, KEY)
    before = [json.loads(line) for line in lines]
    at = data.draw(st.integers(0, len(lines) - 1))
    match data.draw(st.sampled_from(["byte", "drop", "swap", "cut"])):
        case "byte":
            place = data.draw(st.integers(0, len(lines[at]) - 2))
            flipped = lines[at][place] ^ data.draw(st.integers(1, 127))
            lines[at] = lines[at][:place] + bytes([flipped]) + lines[at][place + 1 :]
            try:
                if [json.loads(line) for line in lines] == before:
                    return
            except ValueError:
                pass
        case "drop":
            del lines[at]
        case "swap":
            other = (at + 2) % len(lines)
            lines[at], lines[other] = lines[other], lines[at]
        case "cut":
            del lines[at:]
    with pytest.raises(AuditFault):
        verify(lines, anchors=anchors)


def found(lines: list[bytes], **options: Any) -> str:
    with pytest.raises(AuditFault) as raised:
        verify(lines, **options)
    return raised.value.kind


def test_anchors_that_are_no_events_or_contradict_each_other_are_refused() -> None:
    """Before a line of the trail is read."""
    with pytest.raises(AuditFault) as raised:
        read_anchors([b"nonsense\n"], KEY)
    assert raised.value.kind == "not_an_event"
    both = [chained("p", [anchor(is_last=is_last)])[0] for is_last in (True, False)]
    for anchors in (read_anchors(both, KEY), [event_of_line(changed(L[-1], subject="x"))]):
        assert found(L, anchors=anchors) == "bad_anchor"


def test_an_anchor_that_names_another_place_is_found() -> None:
    """Only whoever has the key could have made it."""
    record = anchor()
    lines = chained("p", [request(1), record])
    lying = replace(record.event("p", 2), data={"previous": "0" * 64, "is_last": True})
    first = event_of_line(lines[0]).chain or ""
    lines[1] = line(replace(lying, chain=chain_event(KEY, first, lying)))
    assert found(lines) == "bad_anchor"


def test_what_is_missing_is_told_whatever_comes_behind_it() -> None:
    """Also where the next line is no event."""
    assert found([L[0], L[2], b"nonsense\n"]) == "gap"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repetition from long ago is out of order, and one does not wait for ever for a line."""
    monkeypatch.setattr("authkit.audit.verification._WINDOW", 3)
    long = lines_of("p", 12)
    assert verify([*long, long[-3]]).producers[0].repeated == 1
    assert found([*long, long[-4]]) == "reordered"
    assert found([*long[:2], *long[3:5], long[2]]) == "reordered"
    with pytest.raises(AuditFault, match="line 3: event 4") as raised:
        verify([*long[:2], *long[3:], b"nonsense\n"])
    assert raised.value.kind == "gap"
    assert found([*long[:2], *long[3:], long[2]]) == "gap", "it came too late to be told apart"
