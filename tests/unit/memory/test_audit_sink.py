"""The audit sink in memory: the newest events, each once.

That it writes as an AuditSink must is checked by the contract suite.
"""

from __future__ import annotations

import pytest

from authkit.errors import ConfigurationError
from authkit.interfaces import AuditEvent, Observable, StateChange
from authkit_memory import MemoryAuditSink

pytestmark = pytest.mark.anyio


def event(sequence: int, producer: str = "p") -> AuditEvent:
    return AuditEvent(
        schema=1,
        producer=producer,
        sequence=sequence,
        time=1_800_000_000.0 + sequence,
        type="token.verified",
        outcome="accepted",
        code=None,
        issuer="https://issuer.example",
        subject="alice",
        client_id=None,
        token_hash=None,
        key_thumbprint=None,
        client_address=None,
        request_id=None,
        trace_id=None,
    )


def sequences(sink: MemoryAuditSink) -> list[int]:
    return [event.sequence for event in sink.events]


async def test_keeps_the_newest_events() -> None:
    """The oldest go first, and are counted."""
    sink = MemoryAuditSink(max_events=3)
    await sink.write([event(number) for number in range(1, 6)])
    assert sequences(sink) == [3, 4, 5]
    assert sink.stats() == {
        "events": 3,
        "written_total": 5,
        "duplicates_total": 0,
        "evicted_total": 2,
    }


async def test_what_it_shows_is_a_copy() -> None:
    """Events that were read do not change under the reader, and cannot be changed by it."""
    sink = MemoryAuditSink()
    await sink.write([event(1)])
    seen = sink.events
    await sink.write([event(2)])
    assert seen == (event(1),)


async def test_a_batch_that_pushed_its_own_head_out_may_be_given_again() -> None:
    """Events that are no longer kept, but were lately, are not written as if they were new."""
    sink = MemoryAuditSink(max_events=3)
    batch = [event(number) for number in range(1, 6)]
    await sink.write(batch)
    await sink.write(batch)
    assert sequences(sink) == [3, 4, 5]
    assert sink.stats()["duplicates_total"] == 5


async def test_an_event_given_twice_in_one_batch_is_one() -> None:
    """Producer and sequence tell, not the batch."""
    sink = MemoryAuditSink()
    await sink.write([event(1), event(1), event(1, producer="q")])
    assert [(kept.producer, kept.sequence) for kept in sink.events] == [("p", 1), ("q", 1)]


async def test_what_it_remembers_is_bounded() -> None:
    """However many events pass, it remembers twice as many identities as it keeps events."""
    sink = MemoryAuditSink(max_events=10)
    for number in range(500):
        await sink.write([event(number)])
    assert len(sink._known) == len(sink._known_in_order) == 20
    assert sequences(sink) == list(range(490, 500))


async def test_needs_room_for_one() -> None:
    """A bound that allows nothing is a ConfigurationError that names the argument."""
    with pytest.raises(ConfigurationError, match="max_events"):
        MemoryAuditSink(max_events=0)


async def test_is_observable() -> None:
    """It can be observed like any backend, and never has a change to tell of."""
    sink = MemoryAuditSink(max_events=1)
    heard: list[StateChange] = []
    sink.observe(heard.append)
    await sink.write([event(1), event(2)])
    assert isinstance(sink, Observable)
    assert heard == []
