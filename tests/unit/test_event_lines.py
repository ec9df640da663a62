"""An event as a line, and the line as an event."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authkit.audit.records import ControlRecord
from authkit.event_lines import MAX_LINE_BYTES, NotAnEvent, event_of_line, json_line
from authkit.interfaces import AuditEvent

TEXTS = st.none() | st.text()
VALUES = st.none() | st.text() | st.booleans() | st.integers() | st.floats()
MEMBERS = ["code", "issuer", "subject", "client_id", "key_thumbprint", "request_id", "trace_id"]
RECORDS = st.builds(
    lambda time, kind, members, data: ControlRecord(
        time, kind, "refused", {**members, "data": data}
    ),
    st.floats(),
    st.text(min_size=1),
    st.fixed_dictionaries(dict.fromkeys(MEMBERS, TEXTS)),
    st.dictionaries(st.text(), VALUES, max_size=4),
)
EVENT = ControlRecord(1.5, "token.revoked", "accepted", {"data": {"n": 1}}).event("p", 1)


def as_before(event: AuditEvent) -> str:
    """The line as the json module makes it."""
    names = [field.name for field in fields(event) if field.name != "data"]
    members = {name: getattr(event, name) for name in names} | {"data": dict(event.data)}
    return json.dumps(members, separators=(",", ":")).replace("\x7f", "\\u007f")


@given(RECORDS)
def test_a_line_is_what_the_json_module_makes_of_the_event(record: ControlRecord) -> None:
    """In printable ASCII, and the event comes back from it."""
    event = replace(record.event("p\x7f", 7), chain="ab")
    line = json_line(event)
    assert line == as_before(event)
    assert line.isascii()
    assert line.isprintable()
    assert event_of_line(line) == event_of_line(f"{line}\n".encode()) == event


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 5, -0.0, 1e300])
def test_odd_numbers_are_written_as_the_json_module_writes_them(number: float) -> None:
    """An event of no trail is written all the same."""
    event = replace(EVENT, time=number, data={"n": number, "yes": True, "no": False})
    assert json_line(event) == as_before(event)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"schema": 2}, "schema 1"),
    ({"schema": True}, "schema 1"),
    ({"more": 1}, "1 others"),
    ({"producer": ""}, "producer"),
    ({"type": None}, "type"),
    ({"outcome": "fine"}, "outcome"),
    ({"code": 5}, "code"),
    ({"sequence": 0}, "sequence"),
    ({"sequence": 1.0}, "sequence"),
    ({"sequence": 2**53}, "sequence"),
    ({"time": "now"}, "time"),
    ({"time": True}, "time"),
    ({"data": []}, "data"),
    ({"data": {"a": []}}, "nested"),
    ({"data": {"a": 2**53}}, "data"),
    ({"time": float("nan")}, "strict JSON"),
]


@pytest.mark.parametrize(("change", "words"), WRONG, ids=str)
def test_what_is_no_event_is_refused(change: dict[str, Any], words: str) -> None:
    """The message says why."""
    with pytest.raises(NotAnEvent, match=words):
        event_of_line(json.dumps(json.loads(json_line(EVENT)) | change))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        "\ud800",
        json_line(EVENT)[:-1],
        json_line(EVENT)[:-1] + ',"code":null}',
        json_line(EVENT) + " " * MAX_LINE_BYTES,
    ],
)
def test_a_line_that_is_not_strict_json_is_refused(line: bytes | str) -> None:
    """Torn, doubled members, too long, or not text at all."""
    with pytest.raises(NotAnEvent):
        event_of_line(line)
