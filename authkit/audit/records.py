"""What waits for the audit trail's writer, and how it becomes an event."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from math import isfinite
from typing import Final, TypedDict

from authkit.interfaces import AuditEvent, Outcome

__all__ = [
    "ANCHOR_TYPE",
    "REQUEST_TYPE",
    "AnchorRecord",
    "ControlFields",
    "ControlRecord",
    "RequestRecord",
    "readable_event",
]

REQUEST_TYPE: Final = "token.verified"
ANCHOR_TYPE: Final = "audit.anchor"
SCHEMA: Final = 1

Value = str | int | float | bool | None

_is_sha256 = re.compile(r"[0-9a-f]{64}").fullmatch
# Readers that know only doubles would read another number beyond this (RFC 8785 section 3.2.2.3).
_MAX_EXACT_INT = 2**53 - 1
# Longer than any address, UUID or trace context; shorter than any signed token.
_MAX_REQUEST_TEXT = 128


class RequestRecord:
    """One verification, as the verifier's single exit leaves it: references, nothing computed.

    The audit event, of type `token.verified`, is made of it when its batch is taken.

    Attributes:
        time: when it happened, in seconds since the epoch.
        outcome: how it ended.
        code: the error's code, or None.
        issuer: a configured issuer, or None where the token named none.
        subject: the principal's, or None without one.
        client_id: the principal's, or None without one.
        key_thumbprint: of the key that verified the token, or None.
        token_hash: hex SHA-256 of the whole token, or None.  Anything else is hashed in its turn,
            so that a mistake cannot put a credential into the trail.
        client_address: the caller's address where it can be trusted, or None.
        request_id: from the request's context, or None.
        trace_id: from the request's context, or None.
        data: further facts, or None.
    """

    __slots__ = (
        "client_address",
        "client_id",
        "code",
        "data",
        "issuer",
        "key_thumbprint",
        "outcome",
        "request_id",
        "subject",
        "time",
        "token_hash",
        "trace_id",
    )

    def __init__(
        self,
        time: float,
        outcome: Outcome,
        code: str | None,
        issuer: str | None,
        subject: str | None,
        client_id: str | None,
        key_thumbprint: str | None,
        token_hash: str | None,
        client_address: str | None,
        request_id: str | None,
        trace_id: str | None,
        data: Mapping[str, Value] | None,
    ) -> None:
        self.time: float = time
        self.outcome = outcome
        self.code: str | None = code
        self.issuer: str | None = issuer
        self.subject: str | None = subject
        self.client_id: str | None = client_id
        self.key_thumbprint: str | None = key_thumbprint
        self.token_hash: str | None = token_hash
        self.client_address: str | None = client_address
        self.request_id: str | None = request_id
        self.trace_id: str | None = trace_id
        self.data: Mapping[str, Value] | None = data

    def __repr__(self) -> str:
        name, outcome, code = type(self).__name__, self.outcome, self.code
        return f"{name}(outcome={outcome!r}, code={code!r}, issuer={self.issuer!r})"

    def event(self, producer: str, sequence: int) -> AuditEvent:
        """The event, every field of it fit for strict JSON."""
        return self._event(REQUEST_TYPE, producer, sequence)

    def _event(self, kind: str, producer: str, sequence: int) -> AuditEvent:
        return AuditEvent(
            schema=SCHEMA,
            producer=producer,
            sequence=sequence,
            time=self.time if isfinite(self.time) else 0.0,
            type=kind,
            outcome=self.outcome,
            code=_text(self.code),
            issuer=_text(self.issuer),
            subject=_text(self.subject),
            client_id=_text(self.client_id),
            token_hash=_hash(self.token_hash),
            key_thumbprint=_text(self.key_thumbprint),
            client_address=_request_text(self.client_address),
            request_id=_request_text(self.request_id),
            trace_id=_request_text(self.trace_id),
            data={_name(name): _value(value) for name, value in (self.data or {}).items()},
        )


class ControlFields(TypedDict, total=False):
    """The fields of a control event that may be given; they mean what they mean in AuditEvent."""

    code: str | None
    issuer: str | None
    subject: str | None
    client_id: str | None
    key_thumbprint: str | None
    token_hash: str | None
    client_address: str | None
    request_id: str | None
    trace_id: str | None
    data: Mapping[str, Value] | None


class ControlRecord(RequestRecord):
    """A fact about the service itself: a revocation, a rotation, a configuration, an outage.

    Attributes:
        type: the event's, dotted.
    """

    __slots__ = ("type",)

    def __init__(self, time: float, kind: str, outcome: Outcome, fields: ControlFields) -> None:
        super().__init__(
            time,
            outcome,
            fields.get("code"),
            fields.get("issuer"),
            fields.get("subject"),
            fields.get("client_id"),
            fields.get("key_thumbprint"),
            fields.get("token_hash"),
            fields.get("client_address"),
            fields.get("request_id"),
            fields.get("trace_id"),
            fields.get("data"),
        )
        self.type: str = kind

    def event(self, producer: str, sequence: int) -> AuditEvent:
        """The event, every field of it fit for strict JSON."""
        return self._event(_name(self.type), producer, sequence)


class AnchorRecord(ControlRecord):
    """A place in the chain: the backlog adds what stands before it when it takes it.

    Attributes:
        previous: the chain value of the event before it; empty before the first.
    """

    __slots__ = ("_is_last", "previous")

    def __init__(self, time: float, *, is_last: bool) -> None:
        super().__init__(time, ANCHOR_TYPE, "accepted", {})
        self.previous: str = ""
        self._is_last = is_last

    def event(self, producer: str, sequence: int) -> AuditEvent:
        """The event, which can be checked without the one before it."""
        self.data = {"previous": self.previous, "is_last": self._is_last}
        return super().event(producer, sequence)


def readable_event(record: RequestRecord, producer: str, sequence: int) -> AuditEvent:
    """The event of a record, whatever is in it; never raises.

    One bad record must neither stop the events behind it nor leave a gap in the sequence: what
    cannot be read stands as an event with the code `audit_record_unreadable`.
    """
    try:
        return record.event(producer, sequence)
    except Exception as error:
        data: dict[str, Value] = {"error": type(error).__name__}
        fields = ControlFields(code="audit_record_unreadable", data=data)
        kind = record.type if isinstance(record, ControlRecord) else REQUEST_TYPE
        return ControlRecord(0.0, kind, record.outcome, fields).event(producer, sequence)


def _name(value: object) -> str:
    if type(value) is str and value.isascii():
        return value
    if isinstance(value, str):
        # Lone surrogates would fail at the first sink that encodes them (RFC 8259 section 8.2).
        return value.encode("utf-8", "backslashreplace").decode()
    return f"<{type(value).__name__}>"


def _text(value: object) -> str | None:
    return None if value is None else _name(value)


def _request_text(value: object) -> str | None:
    """Text that a request may have brought along: bounded, and too short to hold a signed token."""
    text = _text(value)
    if text is None or len(text) <= _MAX_REQUEST_TEXT:
        return text
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def _hash(value: object) -> str | None:
    if value is None:
        return None
    text = _name(value)
    return text if _is_sha256(text) else sha256(text.encode()).hexdigest()


def _value(value: object) -> Value:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= _MAX_EXACT_INT else hex(value)
    if isinstance(value, float):
        return float(value) if isfinite(value) else str(float(value))
    return _name(value)
