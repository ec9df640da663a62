"""The hash chain over audit events, so that another program can tell that none was changed.

The chain value of an event is

    hex(BLAKE2b-256(key, ASCII(previous chain value) + canonical JSON of the event))

BLAKE2b is keyed as in RFC 7693 section 2.9, with a digest of 32 bytes and no salt and no
personalisation.  The previous value is that of the event with the next lower sequence of
the same producer; for sequence 1 it is the empty string.  Canonical JSON is that of
RFC 8785 (JCS), in UTF-8, of one object with every member of the event except `chain`;
members that are None stand as null.

Whoever has the key can check every event against the one before it, and so detects
what was edited, left out or put into another order.  A trail leaves a gap in its
sequence only where it was left with a sink that did not take the last events; the first
event behind a gap cannot be checked, those after it can.  A cut-off tail does not show in
the chain: where the sequence should end must be known from elsewhere.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from hashlib import blake2b

from authkit.interfaces import AuditEvent

__all__ = ["canonical_json", "chain_event"]

_quote = json.JSONEncoder(ensure_ascii=False).encode
_NAMES = [field.name for field in fields(AuditEvent) if field.name not in ("chain", "data")]
_ORDER = [(name, _quote(name)) for name in sorted([*_NAMES, "data"])]


def chain_event(key: bytes, previous: str, event: AuditEvent) -> str:
    """The chain value of `event`, in hex.

    Args:
        key: 32 to 64 secret bytes.
        previous: the chain value of the event before it; empty for the first.
        event: its own `chain` does not count.

    Raises:
        ValueError: a number of the event is not finite, which no event of an AuditTrail has.
    """
    return blake2b(previous.encode() + canonical_json(event), digest_size=32, key=key).hexdigest()


def canonical_json(event: AuditEvent) -> bytes:
    """The event without its chain value as canonical JSON (RFC 8785).

    Raises:
        ValueError: a number of the event is not finite.
    """
    values = {name: _json(getattr(event, name)) for name in _NAMES}
    data = sorted(event.data.items(), key=_utf16)
    values["data"] = _object([(_quote(name), _json(value)) for name, value in data])
    return _object([(quoted, values[name]) for name, quoted in _ORDER]).encode(
        "utf-8", "surrogatepass"
    )


def _utf16(member: tuple[str, object]) -> bytes:
    """What RFC 8785 section 3.2.3 sorts by."""
    return member[0].encode("utf-16-be", "surrogatepass")


def _object(members: list[tuple[str, str]]) -> str:
    return "{" + ",".join([f"{name}:{value}" for name, value in members]) + "}"


def _json(value: str | float | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value) if isinstance(value, bool) else str(int(value))


def _number(value: float) -> str:
    """The shortest text of a double in the notation of ECMAScript (RFC 8785 section 3.2.2.3)."""
    if not math.isfinite(value):
        raise ValueError("JSON has no number that is not finite")
    text = repr(value).removesuffix(".0")
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return "0" if text == "-0" else text
    sign = "-" if value < 0 else ""
    digits = mantissa.lstrip("-").replace(".", "")
    power = int(exponent)
    if 0 < power < 21:
        return f"{sign}{digits.ljust(power + 1, '0')}"
    if -7 < power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    return f"{mantissa}e{power:+d}"
