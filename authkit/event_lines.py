"""An audit event as one line of JSON, the form in which every sink keeps it, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, Final, cast, get_args

from authkit.interfaces import AuditEvent, Outcome
from authkit.jose.encoding import NotStrict, parse_json_object

__all__ = ["MAX_LINE_BYTES", "NotAnEvent", "event_of_line", "json_line"]

MAX_LINE_BYTES: Final = 2**20
"""A line that is longer is no event; no AuditTrail makes one that long."""

# What every reader of JSON reads as the same number (RFC 8785 section 3.2.2.3).
_MAX_EXACT_INT: Final = 2**53 - 1
_NAMES: Final = frozenset(field.name for field in fields(AuditEvent))
_TEXTS: Final = ("producer", "type", "outcome")
_MAYBE_TEXTS: Final = tuple(sorted(_NAMES - {"schema", "sequence", "time", "data", *_TEXTS}))
_OUTCOMES: Final = frozenset(get_args(Outcome))


class NotAnEvent(ValueError):
    """A line that is not an audit event.  The message says why and quotes nothing of it."""


def json_line(event: AuditEvent) -> str:
    """The event as JSON on one line, in printable ASCII: nothing in it can end or forge a line.

    The members are in the order of AuditEvent, with `data` last.
    """
    # Spelled out: a dictionary and the general encoder take five times as long.
    time, code, issuer, subject = event.time, event.code, event.issuer, event.subject
    client_id, token_hash, chain = event.client_id, event.token_hash, event.chain
    key_thumbprint, client_address = event.key_thumbprint, event.client_address
    request_id, trace_id, data = event.request_id, event.trace_id, event.data
    line = (
        f'{{"schema":{event.schema},"producer":{_quoted(event.producer)}'
        f',"sequence":{event.sequence},"time":{repr(time) if time - time == 0 else _json(time)}'
        f',"type":{_quoted(event.type)},"outcome":{_quoted(event.outcome)}'
        f',"code":{"null" if code is None else _quoted(code)}'
        f',"issuer":{"null" if issuer is None else _quoted(issuer)}'
        f',"subject":{"null" if subject is None else _quoted(subject)}'
        f',"client_id":{"null" if client_id is None else _quoted(client_id)}'
        f',"token_hash":{"null" if token_hash is None else _quoted(token_hash)}'
        f',"key_thumbprint":{"null" if key_thumbprint is None else _quoted(key_thumbprint)}'
        f',"client_address":{"null" if client_address is None else _quoted(client_address)}'
        f',"request_id":{"null" if request_id is None else _quoted(request_id)}'
        f',"trace_id":{"null" if trace_id is None else _quoted(trace_id)}'
        f',"chain":{"null" if chain is None else _quoted(chain)}'
        f',"data":{_object(data) if data else "{}"}}}'
    )
    # JSON escapes the other control characters and everything beyond ASCII, but not DEL.
    return line.replace("\x7f", "\\u007f") if "\x7f" in line else line


def event_of_line(line: bytes | str) -> AuditEvent:
    """The event of one line, which may end in a line break.

    The JSON may be spelled in any way, but must be strict: no name twice, no number that is not
    finite or not exact, no lone surrogates (RFC 8259, RFC 7493).  Every member of an event must be
    there, of its type, and no other.

    Raises:
        NotAnEvent: the line is not an event of schema 1.
    """
    try:
        raw = line if isinstance(line, bytes) else line.encode()
    except UnicodeEncodeError:
        raise NotAnEvent("the line is not Unicode text") from None
    if len(raw) > MAX_LINE_BYTES:
        raise NotAnEvent(f"the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        # Brackets in texts count as containers; the size of the line is bound enough.
        members = parse_json_object(raw, max_depth=2, max_containers=MAX_LINE_BYTES)
    except NotStrict as error:
        raise NotAnEvent(f"the line is not one strict JSON object ({error})") from None
    _check(members)
    return AuditEvent(**members)


def _json(value: float) -> str:
    """A number as the json module writes it, which has words of its own for some."""
    return repr(value) if type(value) is int else json.dumps(value)


def _object(data: Mapping[str, Any]) -> str:
    return "{" + ",".join([f"{_quoted(name)}:{_value(data[name])}" for name in data]) + "}"


def _value(value: str | float | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return _quoted(value)
    return _json(value)


def _check(members: Mapping[str, Any]) -> None:
    """Raises NotAnEvent unless these are the members of an event."""
    if members.get("schema", 1) != 1 or type(members.get("schema", 1)) is not int:
        raise NotAnEvent("the event is not of schema 1: a newer authkit may know it")
    if members.keys() != _NAMES:
        missing, unknown = len(_NAMES - members.keys()), len(members.keys() - _NAMES)
        raise NotAnEvent(
            f"{missing} members of an audit event are missing, and {unknown} others are there"
        )
    for name in _TEXTS:
        if type(members[name]) is not str or not members[name]:
            raise NotAnEvent(f"{name} is not a text")
    for name in _MAYBE_TEXTS:
        if members[name] is not None and type(members[name]) is not str:
            raise NotAnEvent(f"{name} is neither a text nor null")
    if members["outcome"] not in _OUTCOMES:
        raise NotAnEvent("outcome is none of those that there are")
    sequence, time, data = members["sequence"], members["time"], members["data"]
    if type(sequence) is not int or not 1 <= sequence <= _MAX_EXACT_INT:
        raise NotAnEvent("sequence is not a whole number from 1 on")
    if not _is_exact_number(time):
        raise NotAnEvent("time is not a number")
    if type(data) is not dict:
        raise NotAnEvent("data is not an object")
    for value in cast("Mapping[str, object]", data).values():
        if not (value is None or isinstance(value, (str, bool)) or _is_exact_number(value)):
            raise NotAnEvent("data holds something else than texts, exact numbers, flags and null")


def _is_exact_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= _MAX_EXACT_INT)
