"""Audit trails rewritten by somebody without their key (CWE-345, CWE-353, CWE-117).

The attacker may read and write all that the sink keeps, knows how everything is computed, and can
try keys; only the key itself, and the anchors that are kept elsewhere, are out of reach.
"""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from authkit.audit import AuditTrail
from authkit.audit.findings import AuditFault, FaultKind
from authkit.audit.verification import ChainVerification, read_anchors
from authkit.event_lines import event_of_line
from authkit.interfaces import AuditEvent
from authkit.testing import ManualClock
from tests.unit.audit.sinks import ControlledSink, request, until
from tests.unit.audit.trails import KEY, anchor, chained, line, lines_of, rechained, verify

GUESSED = [bytes(32), b"0" * 32, b"authkit".ljust(32, b"\0"), KEY[::-1] + b"k", KEY.upper()]


def changed(one: bytes, **members: Any) -> bytes:
    return json.dumps(json.loads(one) | members).encode() + b"\n"


def fault(lines: list[bytes], **options: Any) -> FaultKind:
    """What the verification finds."""
    with pytest.raises(AuditFault) as raised:
        verify(lines, **options)
    return raised.value.kind


def kept(lines: list[bytes]) -> list[AuditEvent]:
    return read_anchors(lines, KEY)


@pytest.mark.parametrize("guessed", GUESSED)
def test_a_trail_made_anew_with_another_key_is_found(guessed: bytes) -> None:
    """The whole of it, beside an honest one, and where the anchors are at hand."""
    forged = rechained([changed(one, subject="mallory") for one in lines_of()], guessed)
    assert verify(forged, guessed).producers, "it is a flawless trail, of that key"
    assert fault(forged) == "wrong_key"
    assert fault([*lines_of("honest"), *forged]) == "edited"
    assert fault(forged, anchors=kept(lines_of())) == "edited"
    assert fault([*lines_of()[:3], *forged[3:]]) == "edited"
    with pytest.raises(AuditFault) as raised:
        read_anchors(forged, KEY)
    assert raised.value.kind == "bad_anchor"


def test_a_chain_without_a_key_is_found() -> None:
    """Plain BLAKE2b, which everybody can compute, is no chain of this key."""
    assert fault(rechained(lines_of(), b"")) == "wrong_key"


def test_another_producers_events_under_this_name_are_found() -> None:
    """The name is part of what is hashed, at the start, in the middle and in an anchor."""
    mine, theirs = lines_of("mine"), [changed(one, producer="mine") for one in lines_of("theirs")]
    assert fault(theirs) == "wrong_key"
    for at in range(len(mine)):
        assert fault([*lines_of("x"), *mine[:at], *theirs[at:]]) == "edited"
        assert fault([*lines_of("x"), *mine[:at], theirs[at], *mine[at + 1 :]]) == "edited"


def test_two_runs_of_one_name_cannot_be_spliced() -> None:
    """What one run said is not what the other one did, though every line is genuine."""
    one = chained("p", [request(n) for n in range(6)])
    other = chained("p", [request(n) for n in range(100, 106)])
    for at in range(1, 6):
        assert fault([*one[:at], *other[at:]]) == "edited"
        assert fault([*one[:at], other[at], *one[at + 1 :]]) == "edited"
    assert fault([*one, *other]) == "contradicted"
    assert fault(other, anchors=kept(chained("p", [anchor()]))) == "rewritten"


def test_an_anchor_cannot_be_moved() -> None:
    """Neither to another place of its trail, nor into another trail."""
    records = [request(1), anchor(), request(2), request(3), anchor(is_last=True)]
    mine, theirs = chained("mine", records), chained("theirs", records)
    early, late = mine[1], mine[4]
    assert fault([mine[0], changed(late, sequence=2), *mine[2:]]) == "edited"
    assert fault([*mine[:4], changed(early, sequence=5)]) == "edited"
    assert fault([*mine[:4], theirs[4]]) == "begins_late"
    assert fault([*mine[:4], changed(theirs[4], producer="mine")]) == "edited"
    assert fault([*mine[:3], changed(late, sequence=4)]) == "edited"
    for moved in (changed(early, sequence=5), changed(theirs[4], producer="mine")):
        with pytest.raises(AuditFault) as raised:
            read_anchors([moved], KEY)
        assert raised.value.kind == "bad_anchor"


def test_a_clean_end_cannot_be_feigned() -> None:
    """That a trail was left cleanly is part of what is hashed."""
    lines = chained("p", [request(1), anchor()])
    event = event_of_line(lines[1])
    feigned = line(replace(event, data={**event.data, "is_last": True}))
    assert fault([lines[0], feigned]) == "edited"


@pytest.mark.parametrize("chain", [None, "", "0" * 64, "upper", "short", "long"])
def test_chain_values_can_be_neither_left_out_nor_made_up(chain: str | None) -> None:
    """Of one event or of all of them: there is no trail that needs no proof."""

    def stripped(one: bytes) -> bytes:
        value = str(json.loads(one)["chain"])
        odd = {"upper": value.upper(), "short": value[:32], "long": value + "0"}
        return changed(one, chain=odd.get(chain or "", chain))

    lines = lines_of()
    expected = {"no_chain"} if chain is None else {"edited", "wrong_key"}
    assert fault([stripped(one) for one in lines]) in expected
    for at in range(len(lines)):
        assert (
            fault([*lines_of("x"), *lines[:at], stripped(lines[at]), *lines[at + 1 :]]) in expected
        )


@pytest.mark.parametrize("schema", [0, 2, -1, True, 1.0, "1", None, [1]])
def test_a_schema_cannot_be_downgraded(schema: object) -> None:
    """A line of a schema without a chain, or of one yet to come, is not passed over."""
    lines = lines_of()
    for at in range(len(lines)):
        spoilt = [*lines[:at], changed(lines[at], schema=schema), *lines[at + 1 :]]
        assert fault(spoilt) == "not_an_event"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"subject":"3"', b'"subject":"mallory","subject":"3"'),
        (b'"subject":"3"', b'"subject":"3","subject":"mallory"'),
        (b'"subject":"3"', b'"subject":"3","Subject":"mallory"'),
        (b'"subject":"3"', b'"subject":"3","\\u0073ubject":"mallory"'),
        (b'"data":{}', b'"data":{"a":1,"a":2}'),
        (b'"data":{}', b'"data":{}} {"schema":1'),
        (b'"sequence":3', b'"sequence":3.0'),
        (b'"sequence":3', b'"sequence":18446744073709551619'),
        (b'"time":1.0', b'"time":NaN'),
        (b'{"schema"', b'\xef\xbb\xbf{"schema"'),
        (b'{"schema"', b'[{"schema"'),
        (b"{", b""),
    ],
)
def test_a_line_that_readers_may_read_differently_is_no_event(old: bytes, new: bytes) -> None:
    """The verifier and whoever searches the trail must see the same."""
    lines = chained("p", [request(n) for n in range(1, 6)])
    lines[2] = lines[2].replace(old, new, 1)
    assert fault(lines) == "not_an_event"


def test_lines_that_are_no_events_cannot_be_slipped_in() -> None:
    """Not even empty ones, behind which a tool might hide something."""
    lines = lines_of()
    for odd in (b"\n", b" \n", b"# a comment\n", b"{}\n", b"null\n", b"\0\n", b"\xff\n"):
        for at in (0, 3, 6):
            assert fault([*lines[:at], odd, *lines[at:]]) == "not_an_event"


def test_a_producer_that_never_was_cannot_be_added() -> None:
    """Alibis are forged as easily as deeds are hidden."""
    ghost = rechained(lines_of("ghost"), bytes(32))
    assert fault([*lines_of(), *ghost]) == "edited"
    assert fault([*lines_of(), *ghost[1:]]) == "begins_late"
    # Where older events were removed, a first event may be anything, and is said to be unproven.
    assert fault([*lines_of(), *ghost[2:]], is_trimmed=True) == "edited"
    report = verify([*lines_of(), ghost[2]], is_trimmed=True)
    assert [one.unproven for one in report.producers] == [0, 1]


def test_a_whole_producer_is_missed_by_its_anchor() -> None:
    """Without the anchors that were kept elsewhere nothing tells of it."""
    anchors = kept([*lines_of("one"), *lines_of("two")])
    assert verify(lines_of("one")).producers
    assert fault(lines_of("one"), anchors=anchors) == "cut_tail"
    report = verify(lines_of("one"), anchors=anchors, is_trimmed=True)
    assert report.absent == ("two",), "also where it may have been removed on purpose"


@pytest.mark.parametrize("sequence", [2, 6, 7, 10**6])
def test_one_invented_event_cannot_stand_in_for_a_trail(sequence: int) -> None:
    """An anchor asks for events that are proven, however far the unproven one reaches."""
    lines = lines_of()
    invented = changed(lines[2], sequence=sequence, subject="mallory was never here")
    assert fault([invented], anchors=kept(lines), is_trimmed=True) in ("cut_tail", "edited")
    assert fault([*lines_of("q"), invented], is_trimmed=True, anchors=kept(lines)) in (
        "cut_tail",
        "edited",
    )
    assert fault([changed(invented, chain="00")], is_trimmed=True) == "edited"


def test_what_nothing_proves_is_named() -> None:
    """Producers that never were can be told from others, and are not the trail's."""
    ghosts = [changed(lines_of()[2], producer=f"ghost-{n}", sequence=2 + n) for n in range(3)]
    report = verify([*ghosts, *lines_of(), ghosts[1]], is_trimmed=True)
    assert report.unproven == ("ghost-0", "ghost-1", "ghost-2")
    assert [one.repeated for one in report.producers] == [0, 1, 0, 0]
    assert verify(lines_of()[2:4], is_trimmed=True).unproven == (), "the second one proves it"


def test_made_up_producers_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by their number, nor by what is in their lines (CWE-770)."""
    monkeypatch.setattr("authkit.audit.verification._MAX_UNPROVEN", 20)

    def ghost(number: int) -> bytes:
        long = chr(96 + number) * 200_000
        return changed(lines_of()[2], producer=long, subject=long, data={"more": long})

    ghosts = [ghost(number) for number in range(1, 22)]
    verification = ChainVerification(KEY, is_trimmed=True)
    tracemalloc.start()
    try:
        for one in ghosts[:20]:
            verification.feed(one)
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 200_000
    assert len(verification.finish().unproven) == 20
    assert fault(ghosts, is_trimmed=True) == "unproven"
    runs = [line for n in range(30) for line in lines_of(f"honest-{n}")[2:]]
    assert not verify(runs, is_trimmed=True).unproven, "those that are proven in time do not count"


@pytest.mark.anyio
async def test_a_process_that_is_killed_young_cannot_vanish() -> None:
    """Its first batch has an anchor behind it, so that there is something to miss it by."""
    clock, sink, elsewhere = ManualClock(), ControlledSink(), ControlledSink()
    async with AuditTrail(sink, chain_key=KEY, anchor_sink=elsewhere, clock=clock) as trail:
        trail.append_request(request())
        await until(lambda: elsewhere.events)
        anchors = list(elsewhere.events)
    assert fault(lines_of("another"), anchors=anchors) == "cut_tail"


def test_the_words_of_a_fault_forge_no_line_on_a_terminal() -> None:
    """The name of a producer is whatever the attacker wrote there."""
    name = "p\x1b[2J\nline 9: all is well\u202e" + "x" * 5000
    contradicting = [
        *kept(lines_of(name)),
        event_of_line(rechained(lines_of(name), GUESSED[0])[-1]),
    ]
    for lines, anchors in (
        (rechained(lines_of(name), bytes(32)), []),
        (lines_of(name)[1:], []),
        (lines_of(name)[:3], kept(lines_of(name))),
        (lines_of(name), contradicting),
    ):
        with pytest.raises(AuditFault) as raised:
            verify(lines, anchors=anchors)
        assert raised.value.message.isprintable()
        assert len(raised.value.message) < 400
