"""A batch of audit events is cut into portions that lose, repeat and reorder nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from authkit.interfaces import AuditEvent
from authkit.testing.contracts.audit_sink import FULL
from authkit_redis.audit_streams.keys import AuditKeys
from authkit_redis.audit_streams.portions import Portion, portions

KEYS = AuditKeys("test")


def made(*events: tuple[str, int], **changes: Any) -> list[AuditEvent]:
    return [replace(FULL, producer=who, sequence=number, **changes) for who, number in events]


def cut(events: list[AuditEvent], streams: int = 1) -> list[Portion]:
    return list(portions(events, KEYS, streams))


def spelled_out(portion: Portion) -> list[tuple[bytes, int]]:
    """The key and the sequence of each line, as the script counts them."""
    runs = iter(portion.runs)
    return [
        (portion.keys[key - 1], first + offset)
        for key, first, length in zip(runs, runs, runs, strict=True)
        for offset in range(length)
    ]


def test_nothing_is_no_portion() -> None:
    """No call is made for an empty batch."""
    assert cut([]) == []


def test_a_batch_without_gaps_is_one_run() -> None:
    """What is told of the sequences does not grow with the batch."""
    [portion] = cut(made(*(("a", number) for number in range(7, 207))))
    assert portion.runs == [2, 7, 200]
    assert portion.keys == [KEYS.log(0), KEYS.place("a", 1).sequence]


def test_portions_are_bounded_in_events_and_in_bytes() -> None:
    """A thousand small events, and a few large ones; one that is too large goes alone."""
    assert [len(portion.lines) for portion in cut(made(*(("a", n) for n in range(1000))))] == [
        250
    ] * 4
    large = made(("a", 1), ("a", 2), ("a", 3), data={"text": "x" * 90_000})
    assert [len(portion.lines) for portion in cut(large)] == [2, 1]
    huge = made(("a", 1), ("a", 2), data={"text": "x" * 900_000})
    assert [len(portion.lines) for portion in cut(huge)] == [1, 1]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 6)), max_size=40),
    st.integers(1, 5),
)
def test_every_event_is_told_by_its_key_and_sequence(
    events: list[tuple[str, int]], streams: int
) -> None:
    """Whatever gaps, repetitions and producers there are; each stream in the order given."""
    found: dict[int, list[tuple[bytes, int]]] = {}
    for portion in cut(made(*events), streams):
        lines = [json.loads(line) for line in portion.lines]
        told = spelled_out(portion)
        assert told == [
            (KEYS.place(line["producer"], streams).sequence, line["sequence"]) for line in lines
        ]
        assert portion.keys[0] == KEYS.log(portion.stream)
        found.setdefault(portion.stream, []).extend(told)
    expected: dict[int, list[tuple[bytes, int]]] = {}
    for who, number in events:
        place = KEYS.place(who, streams)
        expected.setdefault(place.stream, []).append((place.sequence, number))
    assert found == expected


def test_the_keys_of_a_stream_are_in_one_slot() -> None:
    """They have the same hash tag; those of another stream another one."""
    place = KEYS.place("any producer", 16)
    tag = b"{test:audit:%d}:" % place.stream
    for key in (KEYS.log(place.stream), place.sequence, KEYS.probe(place.stream, "x")):
        assert key.startswith(tag)
    assert KEYS.registry == b"{test:audit}"


def test_producers_are_spread_over_the_streams() -> None:
    """Each stream gets some, and a producer always the same."""
    names = [f"producer-{number}" for number in range(200)]
    assert {KEYS.place(name, 8).stream for name in names} == set(range(8))
    assert KEYS.place("a", 8) == AuditKeys("test").place("a", 8)
