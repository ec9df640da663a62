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
from collections.abc import Mapping
from hashlib import blake2b
from json.encoder import encode_basestring as _quoted

from authkit.interfaces import AuditEvent

__all__ = ["canonical_json", "chain_event"]


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
    # Spelled out, in the order of RFC 8785 section 3.2.3: sorting anew would take twice as long.
    client_address, client_id, code = event.client_address, event.client_id, event.code
    issuer, key_thumbprint, request_id = event.issuer, event.key_thumbprint, event.request_id
    subject, token_hash, trace_id, data = (
        event.subject,
        event.token_hash,
        event.trace_id,
        event.data,
    )
    return (
        f'{{"client_address":{"null" if client_address is None else _quoted(client_address)}'
        f',"client_id":{"null" if client_id is None else _quoted(client_id)}'
        f',"code":{"null" if code is None else _quoted(code)}'
        f',"data":{_object(data) if data else "{}"}'
        f',"issuer":{"null" if issuer is None else _quoted(issuer)}'
        f',"key_thumbprint":{"null" if key_thumbprint is None else _quoted(key_thumbprint)}'
        f',"outcome":{_quoted(event.outcome)},"producer":{_quoted(event.producer)}'
        f',"request_id":{"null" if request_id is None else _quoted(request_id)}'
        f',"schema":{event.schema},"sequence":{event.sequence}'
        f',"subject":{"null" if subject is None else _quoted(subject)}'
        f',"time":{_json(event.time)}'
        f',"token_hash":{"null" if token_hash is None else _quoted(token_hash)}'
        f',"trace_id":{"null" if trace_id is None else _quoted(trace_id)}'
        f',"type":{_quoted(event.type)}}}'
    ).encode("utf-8", "surrogatepass")


def _utf16(member: tuple[str, object]) -> bytes:
    """What RFC 8785 section 3.2.3 sorts by."""
    return member[0].encode("utf-16-be", "surrogatepass")


def _object(data: Mapping[str, str | float | None]) -> str:
    members = [
        f"{_quoted(name)}:{_json(value)}" for name, value in sorted(data.items(), key=_utf16)
    ]
    return "{" + ",".join(members) + "}"


def _json(value: str | float | None) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value) if isinstance(value, bool) else str(int(value))


def _number(value: float) -> str:
    """The shortest text of a double in the notation of ECMAScript (RFC 8785 section 3.2.2.3)."""
    if not math.isfinite(value):
        raise ValueError("JSON has no number that is not finite")
    text = repr(value)
    if "e" not in text:
        text = text.removesuffix(".0")
        return "0" if text == "-0" else text
    mantissa, _, exponent = text.partition("e")
    sign = "-" if value < 0 else ""
    digits = mantissa.lstrip("-").replace(".", "")
    power = int(exponent)
    if 0 < power < 21:
        return f"{sign}{digits.ljust(power + 1, '0')}"
    if -7 < power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    return f"{mantissa}e{power:+d}"
