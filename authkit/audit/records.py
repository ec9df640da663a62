"""What waits for the audit trail's writer, and how it becomes an event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Final, TypedDict, cast

from authkit.audit.fitting import (
    MAX_NAME,
    Value,
    fit_data,
    fit_hash,
    fit_name,
    fit_outcome,
    fit_request_text,
    fit_text,
    fit_time,
)
from authkit.errors import ConfigurationError
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


class _Draft:
    """An event that is being filled.

    AuditEvent is frozen, so its own constructor sets each field in a roundabout way, which takes
    ten times as long as setting those of an object that is not.  This one has the same fields, and
    becomes an AuditEvent once it has them all.
    """

    __slots__ = tuple(field.name for field in fields(AuditEvent))

    schema: int
    producer: str
    sequence: int
    time: float
    type: str
    outcome: Outcome
    code: str | None
    issuer: str | None
    subject: str | None
    client_id: str | None
    token_hash: str | None
    key_thumbprint: str | None
    client_address: str | None
    request_id: str | None
    trace_id: str | None
    data: Mapping[str, Value]
    chain: str | None

    def finished(self) -> AuditEvent:
        """The event; nothing can be set any more."""
        object.__setattr__(self, "__class__", AuditEvent)
        return cast("AuditEvent", self)


class RequestRecord:
    """One verification, as the verifier's single exit leaves it: references, nothing computed.

    The audit event, of type `token.verified`, is made of it when its batch is taken.  Whatever is
    in it, the event makes a line of less than 1 MiB: a text of more than 1,024 characters, or a
    name of more than 128, is cut there and has the SHA-256 of the whole behind it; an address or
    an id of the request of more than 128 is its SHA-256 alone; of more than 32 `data`, the
    first stand, with `members_left_out`.

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
        self.outcome: Outcome = outcome
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
        event = _Draft()
        event.schema = SCHEMA
        event.producer = producer
        event.sequence = sequence
        event.time = fit_time(self.time)
        event.type = kind
        event.outcome = fit_outcome(self.outcome)
        event.code = fit_text(self.code, MAX_NAME)
        event.issuer = fit_text(self.issuer)
        event.subject = fit_text(self.subject)
        event.client_id = fit_text(self.client_id)
        event.token_hash = fit_hash(self.token_hash)
        event.key_thumbprint = fit_text(self.key_thumbprint)
        event.client_address = fit_request_text(self.client_address)
        event.request_id = fit_request_text(self.request_id)
        event.trace_id = fit_request_text(self.trace_id)
        event.data = fit_data(self.data)
        event.chain = None
        return event.finished()


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

    Raises:
        ConfigurationError: it is that of an anchor, which a reader would take for a place in the
            chain, and find a forged one.
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
        if kind == ANCHOR_TYPE:
            raise ConfigurationError(f"an event {ANCHOR_TYPE} is made by the trail itself")
        self.type: str = kind

    def event(self, producer: str, sequence: int) -> AuditEvent:
        """The event, every field of it fit for strict JSON."""
        return self._event(fit_name(self.type), producer, sequence)


class AnchorRecord(RequestRecord):
    """A place in the chain: the backlog adds what stands before it when it takes it.

    Attributes:
        previous: the chain value of the event before it; empty before the first.
    """

    __slots__ = ("_is_last", "previous")

    def __init__(self, time: float, *, is_last: bool) -> None:
        super().__init__(
            time, "accepted", None, None, None, None, None, None, None, None, None, None
        )
        self.previous: str = ""
        self._is_last = is_last

    def event(self, producer: str, sequence: int) -> AuditEvent:
        """The event, which can be checked without the one before it."""
        self.data: Mapping[str, Value] | None = {
            "previous": self.previous,
            "is_last": self._is_last,
        }
        return self._event(ANCHOR_TYPE, producer, sequence)


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
