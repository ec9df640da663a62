"""The events that are really written carry the data that the catalogue says."""

from __future__ import annotations

import pytest

from authkit import NoRevocation, RequestContext, TrustedIssuer, Verifier
from authkit.audit import AuditTrail
from authkit.audit.catalogue import CATALOGUE, ValueKind
from authkit.errors import CredentialMissing
from authkit.interfaces import AuditEvent
from authkit.jose.signing import SigningKey
from authkit_memory import MemoryKeyProvider
from tests.unit.audit.sinks import ControlledSink, request

pytestmark = pytest.mark.anyio

TYPES: dict[ValueKind, tuple[type, ...]] = {
    "text": (str,),
    "whole number": (int,),
    "number": (int, float),
    "flag": (bool,),
}


def assert_as_the_catalogue_says(event: AuditEvent) -> None:
    known = CATALOGUE[event.type]
    assert event.schema >= known.since
    assert event.outcome in known.outcomes
    members = {field.name: field for field in known.data}
    assert event.data.keys() <= members.keys()
    for name, field in members.items():
        if name not in event.data:
            assert not field.is_always_there, name
        elif event.data[name] is None:
            assert field.is_nullable, name
        else:
            assert type(event.data[name]) in TYPES[field.kind], name


async def test_the_events_of_a_trail_and_a_verifier_are_as_the_catalogue_says() -> None:
    """Those of the start, of a request, of dropping, and of the end."""
    sink = ControlledSink()
    trail = AuditTrail(sink, chain_key=b"k" * 32, request_capacity=2)
    for number in range(5):
        trail.append_request(request(number))
    keys = MemoryKeyProvider.from_jwks({"keys": [SigningKey.generate("ES256").public_jwk()]})
    issuer = TrustedIssuer("https://login.example.com", "shop", keys=keys)
    async with Verifier(issuer, revocations=NoRevocation(), audit=trail) as verifier:
        with pytest.raises(CredentialMissing):
            await verifier.verify(None, context=RequestContext())
    for event in sink.events:
        assert_as_the_catalogue_says(event)
    assert {event.type for event in sink.events} == {
        "token.verified",
        "verifier.started",
        "verifier.stopped",
        "audit.dropped",
        "audit.anchor",
    }
