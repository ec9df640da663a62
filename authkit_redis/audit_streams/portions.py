"""Cuts a batch of events into portions, each written by one call that does not hold Redis up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from authkit.event_lines import json_line
from authkit.interfaces import AuditEvent
from authkit_redis.audit_streams.keys import AuditKeys, Place

__all__ = ["Portion", "portions"]

# What Redis takes in about a millisecond, in which it answers nobody else; with twice as many
# the writing is no faster.
_MOST_EVENTS = 250
_MOST_BYTES = 192 * 1024


class Portion(NamedTuple):
    """Events of one stream that are written at once.

    Attributes:
        stream: the number of the stream.
        keys: the stream, and the last sequence of each producer.
        producers: whose sequences these are, in the same order.
        runs: of each run of one producer without a gap: which of `keys` it has, counted from 1 as
            Lua does, its first sequence, and how many events there are.
        lines: the events, in order.
    """

    stream: int
    keys: list[bytes]
    producers: list[str]
    runs: list[int]
    lines: list[bytes]


def portions(events: Sequence[AuditEvent], keys: AuditKeys, streams: int) -> Iterator[Portion]:
    """The events by stream, those of each in the order given; each made when it is asked for.

    Args:
        events: of any producers.
        keys: where the streams are.
        streams: how many there are.
    """
    places: dict[str, Place] = {}
    by_stream: dict[int, list[AuditEvent]] = {}
    for event in events:
        place = places.get(event.producer)
        if place is None:
            place = places[event.producer] = keys.place(event.producer, streams)
        by_stream.setdefault(place.stream, []).append(event)
    for stream, own in by_stream.items():
        yield from _cut(Portion(stream, [keys.log(stream)], [], [], []), own, places)


def _cut(
    portion: Portion, events: Sequence[AuditEvent], places: dict[str, Place]
) -> Iterator[Portion]:
    log = portion.keys[0]
    _, _, _, runs, lines = portion
    size, producer, following = 0, None, 0
    for event in events:
        line = json_line(event).encode()
        size += len(line)
        if len(lines) >= _MOST_EVENTS or (size > _MOST_BYTES and lines):
            yield portion
            portion = Portion(portion.stream, [log], [], [], [])
            _, _, _, runs, lines = portion
            size, producer = len(line), None
        if event.sequence != following or event.producer != producer:
            producer = event.producer
            runs += (_position(portion, producer, places), event.sequence, 0)
        runs[-1] += 1
        following = event.sequence + 1
        lines.append(line)
    yield portion


def _position(portion: Portion, producer: str, places: dict[str, Place]) -> int:
    """Where the key of a producer is in a portion, counted from 1; it is added where it is not."""
    if producer not in portion.producers:
        portion.producers.append(producer)
        portion.keys.append(places[producer].sequence)
    return portion.producers.index(producer) + 2
