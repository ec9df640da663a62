"""Records of verifications and of changes, and the events that are made of them."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from authkit.audit import RequestRecord
from authkit.audit.records import ControlRecord, readable_event
from authkit.event_lines import MAX_LINE_BYTES, event_of_line, json_line
from authkit.interfaces import AuditEvent, RevocationScope

HASH = hashlib.sha256(b"token").hexdigest()


def record(**changes: Any) -> RequestRecord:
    """A record of an accepted token, changed as said."""
    fields: dict[str, Any] = {
        "time": 1_800_000_000.25,
        "outcome": "accepted",
        "code": None,
        "issuer": "https://login.example.com",
        "subject": "alice",
        "client_id": "shop",
        "key_thumbprint": "t" * 43,
        "token_hash": HASH,
        "client_address": "192.0.2.7",
        "request_id": "r-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "data": {"kid_hash": "ab"},
    }
    fields.update(changes)
    return RequestRecord(*fields.values())


class Unreadable(Mapping[str, Any]):
    """Data that fails when it is read."""

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no reading")

    def __len__(self) -> int:
        return 1


def test_a_request_record_becomes_an_event_of_its_fields() -> None:
    """Every fact of the verification stands in the event under its own name."""
    event = record().event("producer-1", 7)
    assert (event.schema, event.producer, event.sequence) == (1, "producer-1", 7)
    assert (event.time, event.type) == (1_800_000_000.25, "token.verified")
    assert (event.outcome, event.code) == ("accepted", None)
    assert (event.issuer, event.subject) == ("https://login.example.com", "alice")
    assert (event.client_id, event.key_thumbprint) == ("shop", "t" * 43)
    assert (event.token_hash, event.client_address) == (HASH, "192.0.2.7")
    assert (event.request_id, event.trace_id) == ("r-1", "0af7651916cd43dd8448eb211c80319c")
    assert (dict(event.data), event.chain) == ({"kid_hash": "ab"}, None)


def test_a_record_without_facts_becomes_an_event_without_them() -> None:
    """What is not known is None, and the data are empty."""
    nothing = RequestRecord(
        1.0, "missing", "credential_missing", None, None, None, None, None, None, None, None, None
    )
    event = nothing.event("p", 1)
    assert (event.issuer, event.subject, event.token_hash, event.request_id) == (None,) * 4
    assert event.data == {}


def test_a_control_record_keeps_its_type() -> None:
    """A control event has the type and the fields that it was given."""
    control = ControlRecord(2.0, "token.revoked", "accepted", {"subject": "bob", "data": {"n": 1}})
    event = control.event("p", 1)
    assert (event.type, event.subject, event.data) == ("token.revoked", "bob", {"n": 1})


def test_the_repr_of_a_record_shows_neither_hash_nor_caller() -> None:
    """A record in a traceback or a debugger's log tells how it ended, not who it was."""
    shown = repr(record())
    assert shown == (
        "RequestRecord(outcome='accepted', code=None, issuer='https://login.example.com')"
    )


@pytest.mark.parametrize("wrong", ["eyJhbGciOiJSUzI1NiJ9.e30.c2ln", HASH.upper(), HASH + "0", ""])
def test_what_is_not_a_sha256_is_hashed(wrong: str) -> None:
    """A token that was handed in where its hash belongs does not reach the event."""
    event = record(token_hash=wrong).event("p", 1)
    assert event.token_hash == hashlib.sha256(wrong.encode()).hexdigest()


@pytest.mark.parametrize("name", ["client_address", "request_id", "trace_id"])
def test_long_text_of_a_request_stands_as_its_hash(name: str) -> None:
    """What a caller may have sent along is bounded, and two equal texts stay equal."""
    short, long = "x" * 128, "x" * 129
    assert getattr(record(**{name: short}).event("p", 1), name) == short
    hashed = f"sha256:{hashlib.sha256(long.encode()).hexdigest()}"
    assert getattr(record(**{name: long}).event("p", 1), name) == hashed


@pytest.mark.parametrize(
    "name",
    [
        "code",
        "issuer",
        "subject",
        "client_id",
        "key_thumbprint",
        "client_address",
        "request_id",
        "trace_id",
    ],
)
def test_lone_surrogates_are_escaped(name: str) -> None:
    """Every text of an event can be encoded; what cannot be is spelled out."""
    event = record(**{name: "a\ud800é"}).event("p", 1)
    assert getattr(event, name) == "a\\ud800é"


def test_what_is_not_text_stands_as_its_type() -> None:
    """A value of a wrong type is named by its type, never by its content."""
    event = record(request_id=b"secret", data={"object": [1], 5: "five"}).event("p", 1)
    assert event.request_id == "<bytes>"
    assert event.data == {"object": "<list>", "<int>": "five"}


def test_data_are_made_fit_for_strict_json() -> None:
    """Numbers that JSON readers would misread or refuse stand as text, the others as they are."""
    data = {
        "none": None,
        "true": True,
        "int": 2**53 - 1,
        "large": 2**53,
        "huge": -(10**600),
        "float": 0.5,
        "nan": math.nan,
        "infinite": -math.inf,
        "scope": RevocationScope.SUBJECT,
        "surrogate\udfff": "\udfff",
    }
    made = record(data=data).event("p", 1).data
    assert made["none"] is None
    assert made["true"] is True
    assert (made["int"], made["large"]) == (2**53 - 1, "0x20000000000000")
    assert made["huge"] == hex(-(10**600))
    assert (made["float"], made["nan"], made["infinite"]) == (0.5, "nan", "-inf")
    assert type(made["scope"]) is str
    assert made["surrogate\\udfff"] == "\\udfff"
    json.dumps(dict(made), allow_nan=False).encode()


TEXTS = {
    "ascii": "x" * 10_000_000,
    "control": "\0" * 2_000_000,
    "del": "\x7f" * 2_000_000,
    "astral": "\U0001f511" * 2_000_000,
    "surrogates": "\udfff" * 2_000_000,
}
FIELDS = ["code", "issuer", "subject", "client_id", "key_thumbprint", "token_hash"]
FIELDS += ["client_address", "request_id", "trace_id"]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_event_makes_a_line_that_is_too_long(text: str) -> None:
    """However long whatever was given is, wherever it stands, readers take the line."""
    data = {f"{number}{text[:200]}": text for number in range(50)} | {"n": 10**100_000}
    fields: dict[str, Any] = {"data": data, **dict.fromkeys(FIELDS, text)}
    control = ControlRecord(1.0, text, "accepted", fields).event("p" * 81, 2**53 - 1)
    one, two = json_line(control), json_line(record(**fields).event("p" * 81, 2**53 - 1))
    assert len(one) < MAX_LINE_BYTES
    assert event_of_line(one) == control
    assert len(two) < MAX_LINE_BYTES
    assert event_of_line(two).token_hash == control.token_hash


def test_a_long_text_is_cut_and_has_the_hash_of_the_whole() -> None:
    """Two subjects that begin alike stay two, and the whole one can be recognised."""
    longest, one, other = "é" * 1024, "é" * 1025, "é" * 2000
    assert record(subject=longest).event("p", 1).subject == longest
    for text in (one, other):
        event = record(subject=text, client_id=text, data={"reason": text}).event("p", 1)
        cut = f"{longest}...sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        assert (event.subject, event.client_id, event.data["reason"]) == (cut, cut, cut)


def test_a_text_that_looks_like_a_cut_one_is_cut_itself() -> None:
    """So nobody can take a name by which another one stands in the trail."""
    cut = record(subject="x" * 5000).event("p", 1).subject
    assert record(subject=cut).event("p", 1).subject != cut


def test_of_many_data_the_first_stand() -> None:
    """And it is said how many do not."""
    data = record(data={f"n{number}": number for number in range(40)}).event("p", 1).data
    assert list(data) == [*(f"n{number}" for number in range(32)), "members_left_out"]
    assert data["members_left_out"] == 8


def test_a_control_event_of_no_type_and_no_outcome_can_still_be_read() -> None:
    """A mistake of a caller does not spoil the trail."""
    for kind, outcome in (("", "fine"), (None, None), (7, [])):
        event = ControlRecord(1.0, kind, outcome, {}).event("p", 1)
        assert event.outcome == "unavailable"
        assert event_of_line(json_line(event)) == event


@pytest.mark.parametrize("time", [math.nan, math.inf])
def test_a_time_that_is_no_number_is_zero(time: float) -> None:
    """A broken clock leaves an event that every sink can still write."""
    assert record(time=time).event("p", 1).time == 0.0


def test_an_unreadable_record_still_becomes_an_event() -> None:
    """It keeps its place in the sequence, and says that it could not be read, and why."""
    event = readable_event(record(data=Unreadable()), "p", 3)
    assert (event.type, event.sequence, event.outcome) == ("token.verified", 3, "accepted")
    assert event.code == "audit_record_unreadable"
    assert event.data == {"error": "RuntimeError"}


def test_an_unreadable_control_record_keeps_its_type() -> None:
    """That something was revoked is on record even where the details are lost."""
    control = ControlRecord(1.0, "token.revoked", "accepted", {"data": Unreadable()})
    event = readable_event(control, "p", 1)
    assert (event.type, event.code) == ("token.revoked", "audit_record_unreadable")


def test_the_event_of_a_record_is_as_good_as_any() -> None:
    """It equals one made by its constructor, and nothing of it can be changed any more."""
    event = record().event("producer-1", 7)
    assert type(event) is AuditEvent
    assert event == AuditEvent(
        **{field.name: getattr(event, field.name) for field in fields(event)}
    )
    assert replace(event, sequence=8).sequence == 8
    assert copy.deepcopy(event) == pickle.loads(pickle.dumps(event)) == event
    for field in fields(event):
        with pytest.raises(FrozenInstanceError):
            setattr(event, field.name, None)
    with pytest.raises((AttributeError, TypeError)):
        event.other = 1
