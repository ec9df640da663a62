"""A sink remembers how far Redis has taken the events of each producer, of a bounded number."""

from __future__ import annotations

from dataclasses import replace

from authkit.interfaces import AuditEvent
from authkit.testing.contracts.audit_sink import PLAIN
from authkit_redis.audit_streams.acknowledged import Acknowledged
from authkit_redis.audit_streams.keys import AuditKeys
from authkit_redis.audit_streams.portions import Portion, portions

KEYS = AuditKeys("test")


def made(*events: tuple[str, int]) -> list[AuditEvent]:
    return [replace(PLAIN, producer=who, sequence=number) for who, number in events]


def portion(*events: tuple[str, int]) -> Portion:
    [portion] = portions(made(*events), KEYS, 1)
    return portion


def test_what_is_known_to_be_written_is_left_out() -> None:
    """By producer; the order of the others stays."""
    acknowledged = Acknowledged()
    batch = made(("a", 1), ("b", 1), ("a", 2), ("b", 2), ("c", 1), ("a", 3))
    assert acknowledged.rest(batch) == batch
    acknowledged.add(portion(("a", 1), ("b", 1), ("a", 2)))
    assert acknowledged.rest(batch) == made(("b", 2), ("c", 1), ("a", 3))
    assert acknowledged.of(portion(("c", 1), ("b", 2), ("a", 3))) == [b"", 1, 2]


def test_the_highest_sequence_counts() -> None:
    """Events that came out of order do not set it back."""
    acknowledged = Acknowledged()
    acknowledged.add(portion(("a", 5), ("a", 6), ("a", 4)))
    acknowledged.add(portion(("a", 2)))
    assert acknowledged.of(portion(("a", 9))) == [6]


def test_what_the_server_has_lost_is_forgotten() -> None:
    """The producers of a portion, and no others."""
    acknowledged = Acknowledged()
    acknowledged.add(portion(("a", 3), ("b", 3), ("c", 3)))
    acknowledged.forget(portion(("a", 4), ("b", 4), ("d", 4)))
    assert acknowledged.rest(made(("a", 1), ("b", 1), ("c", 1))) == made(("a", 1), ("b", 1))


def test_only_the_producers_that_wrote_last_are_remembered() -> None:
    """A thousand of them; who goes on writing stays."""
    acknowledged = Acknowledged()
    acknowledged.add(portion(("steady", 1), ("gone", 1)))
    for first in range(0, 1_000, 100):
        acknowledged.add(portion(*((f"producer-{first + n}", 1) for n in range(100))))
        acknowledged.add(portion(("steady", first + 2)))
    assert acknowledged.of(portion(("steady", 9_999), ("gone", 9), ("producer-1", 9))) == [
        902,
        b"",
        1,
    ]
