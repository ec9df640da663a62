"""The catalogue of audit events: every type that authkit writes, and what its data are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from authkit.interfaces import Outcome

__all__ = ["CATALOGUE", "DataField", "EventName", "EventType", "ValueKind"]

EventName = Literal[
    "token.verified",
    "token.revoked",
    "revocation.lifted",
    "keys.rotated",
    "backend.state_changed",
    "verifier.started",
    "verifier.stopped",
    "audit.dropped",
    "audit.anchor",
]

ValueKind = Literal["text", "whole number", "number", "flag"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataField:
    """One member of `data`.

    Attributes:
        name: its name.
        kind: what its value is.
        meaning: in words.
        is_nullable: it may be null.
        is_always_there: it stands in every event of its type.
    """

    name: str
    kind: ValueKind
    meaning: str
    is_nullable: bool = False
    is_always_there: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """One type of events.

    Attributes:
        name: the event's `type`.
        since: the schema that it came with.
        meaning: when it is written.
        outcomes: those that it can have.
        code: what its `code` is, in words.
        data: the members of its `data`.
    """

    name: EventName
    since: int
    meaning: str
    outcomes: tuple[Outcome, ...]
    code: str
    data: tuple[DataField, ...] = ()


def _maybe(name: str, meaning: str) -> DataField:
    return DataField(name=name, kind="text", meaning=meaning, is_always_there=False)


_NO_CODE: Final = "none"
_REVOCATION: Final = (
    DataField(name="scope", kind="text", meaning="what `id` names: a RevocationScope"),
    DataField(name="id", kind="text", meaning="of the token, session, subject, client or key"),
    DataField(
        name="issued_until", kind="number", meaning="tokens issued until then", is_nullable=True
    ),
    DataField(
        name="minimum_version",
        kind="whole number",
        meaning="tokens of a lower version",
        is_nullable=True,
    ),
    DataField(
        name="expires_at", kind="number", meaning="until when it is remembered", is_nullable=True
    ),
    DataField(name="reason", kind="text", meaning="as it was given; may be empty"),
)
_CHANGE: Final = (
    DataField(name="interface", kind="text", meaning="`keys`, `revocations`, `limiter`, `audit`"),
    DataField(name="name", kind="text", meaning="which one, such as the issuer of the keys"),
)

_TYPES: Final = (
    EventType(
        name="token.verified",
        since=1,
        meaning="A verification ended, in whatever outcome.",
        outcomes=("accepted", "missing", "refused", "unavailable", "cancelled"),
        code="the error's",
        data=(
            _maybe("claim", "the claim that was not acceptable"),
            _maybe("reason", "what is wrong with the claim"),
            _maybe("scope", "the scope of the revocation that covers the token"),
            _maybe("limits", "the limits that refused, separated by spaces"),
            _maybe("scopes", "the scopes that were asked for, separated by spaces"),
            _maybe("roles", "the roles that were asked for, separated by spaces"),
            _maybe("claims", "the claims that were asked for, separated by spaces"),
            _maybe("interface", "the backend that did not answer"),
            _maybe("kid_hash", "the start of the SHA-256 of an unknown key id, in hex"),
        ),
    ),
    EventType(
        name="token.revoked",
        since=1,
        meaning="Tokens were taken back, or that was tried.",
        outcomes=("accepted", "unavailable", "cancelled"),
        code="the error's, where the store did not take it",
        data=_REVOCATION,
    ),
    EventType(
        name="revocation.lifted",
        since=1,
        meaning="A revocation was taken back, or that was tried.",
        outcomes=("accepted", "unavailable", "cancelled"),
        code="the error's, where the store did not take it",
        data=_REVOCATION,
    ),
    EventType(
        name="keys.rotated",
        since=1,
        meaning="An issuer's key set changed.",
        outcomes=("accepted",),
        code=_NO_CODE,
        data=(
            *_CHANGE,
            DataField(name="old", kind="text", meaning="a digest of the set that was in use"),
            DataField(name="new", kind="text", meaning="a digest of the set that is"),
        ),
    ),
    EventType(
        name="backend.state_changed",
        since=1,
        meaning="A backend began to fail, or works again.",
        outcomes=("accepted", "unavailable"),
        code="the backend's, where something is wrong",
        data=(
            *_CHANGE,
            DataField(name="old", kind="text", meaning="the state that it left"),
            DataField(name="new", kind="text", meaning="the state that it is in"),
        ),
    ),
    EventType(
        name="verifier.started",
        since=1,
        meaning="The verifier was entered.",
        outcomes=("accepted",),
        code=_NO_CODE,
        data=(
            DataField(name="host", kind="text", meaning="the machine's name"),
            DataField(name="pid", kind="whole number", meaning="the process"),
        ),
    ),
    EventType(
        name="verifier.stopped",
        since=1,
        meaning="The verifier was left.",
        outcomes=("accepted",),
        code=_NO_CODE,
    ),
    EventType(
        name="audit.dropped",
        since=1,
        meaning="Events found no room in the queue; now there is room again.",
        outcomes=("unavailable",),
        code=_NO_CODE,
        data=(
            DataField(name="count", kind="whole number", meaning="request events that are missing"),
            DataField(name="control_count", kind="whole number", meaning="others that are missing"),
            DataField(name="since", kind="number", meaning="when the first of them happened"),
        ),
    ),
    EventType(
        name="audit.anchor",
        since=1,
        meaning="The chain has come to here; written in a trail with a key only.",
        outcomes=("accepted",),
        code=_NO_CODE,
        data=(
            DataField(name="previous", kind="text", meaning="the chain value before this event"),
            DataField(name="is_last", kind="flag", meaning="the trail was left cleanly here"),
        ),
    ),
)

CATALOGUE: Final[Mapping[str, EventType]] = MappingProxyType({one.name: one for one in _TYPES})
"""Every type of events by its name."""
