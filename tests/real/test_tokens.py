"""Real access and ID tokens are accepted for what they are, and refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from authkit import Requirement
from authkit.errors import (
    AlgorithmNotAllowed,
    AudienceMismatch,
    ClaimRejected,
    InsufficientScope,
    IssuerNotTrusted,
    RequirementNotMet,
    SignatureInvalid,
    TokenExpired,
    TokenLifetimeTooLong,
    TokenMalformed,
    TokenNotYetValid,
    TokenTypeNotAllowed,
)
from authkit.testing import AssertingAuditSink, ManualClock
from tests.real.conftest import Trusting
from tests.real.provider import API, Provider

pytestmark = pytest.mark.anyio

RESOURCES = {
    "RS256": API,
    "PS256": f"{API}:ps256",
    "ES256": f"{API}:es256",
    "Ed25519": f"{API}:ed25519",
    "EdDSA": f"{API}:eddsa",
}


@pytest.mark.parametrize("profile", ["access_token", "rfc9068"])
@pytest.mark.parametrize("algorithm", RESOURCES)
async def test_every_signing_algorithm_of_the_provider_is_accepted(
    provider: Provider, trusting: Trusting, algorithm: str, profile: str
) -> None:
    """By discovery, with nothing configured but the issuer and the audience."""
    resource = RESOURCES[algorithm]
    verifier = await trusting(provider, resource, profile=profile)
    token = await provider.service_token("items:read items:write", resource=resource)
    caller = await verifier.verify(token)
    assert (caller.issuer, caller.subject, caller.client_id) == (provider.issuer, "svc", "svc")
    assert caller.scopes == {"items:read", "items:write"}
    assert caller.claims["aud"] == resource


@pytest.mark.parametrize("algorithm", RESOURCES)
async def test_only_the_configured_algorithms_are_accepted(
    provider: Provider, trusting: Trusting, algorithm: str
) -> None:
    """A key that the provider publishes for another algorithm does not widen the list."""
    resource = RESOURCES[algorithm]
    verifier = await trusting(provider, resource, algorithms=[algorithm])
    await verifier.verify(await provider.service_token(resource=resource))
    others = [name for name in RESOURCES if name != algorithm]
    strict = await trusting(provider, resource, algorithms=others)
    with pytest.raises(AlgorithmNotAllowed):
        await strict.verify(await provider.service_token(resource=resource))


async def test_an_opaque_token_is_refused_as_such(
    provider: Provider, trusting: Trusting, audit_sink: AssertingAuditSink
) -> None:
    """Its code tells the operator that the provider gives tokens for introspection."""
    verifier = await trusting(provider)
    token = await provider.service_token(resource=f"{API}:opaque")
    with pytest.raises(TokenMalformed) as refused:
        await verifier.verify(token)
    assert refused.value.code == "token_opaque"
    event = await audit_sink.wait_for(outcome="refused", code="token_opaque")
    assert token not in str(event)


async def test_a_token_for_another_audience_is_refused(
    provider: Provider, trusting: Trusting
) -> None:
    """Though the same provider signed it, by the same key."""
    verifier = await trusting(provider, "urn:test:other")
    with pytest.raises(AudienceMismatch):
        await verifier.verify(await provider.service_token())


async def test_scopes_are_enforced(provider: Provider, trusting: Trusting) -> None:
    """The granted ones open a route, and no other."""
    verifier = await trusting(provider)
    token = await provider.service_token("items:read")
    await verifier.verify(token, require=Requirement(scopes=["items:read"]))
    with pytest.raises(InsufficientScope) as refused:
        await verifier.verify(token, require=Requirement(scopes=["items:write"]))
    assert refused.value.scopes == ("items:write",)


async def test_a_user_logs_in_with_code_and_pkce(
    provider: Provider, trusting: Trusting, audit_sink: AssertingAuditSink
) -> None:
    """The access token names the user, the client and the roles, which a route can ask for."""
    verifier = await trusting(provider, profile="rfc9068")
    alice = (await provider.login("alice"))["access_token"]
    caller = await verifier.verify(alice, require=Requirement(roles=["admin"]))
    assert (caller.subject, caller.client_id) == ("alice", "spa")
    assert caller.scopes == {"items:read"}
    assert caller.roles == {"admin"}
    await audit_sink.wait_for(outcome="accepted", subject="alice", client_id="spa")

    bob = (await provider.login("bob"))["access_token"]
    with pytest.raises(RequirementNotMet):
        await verifier.verify(bob, require=Requirement(roles=["admin"]))


async def test_an_id_token_is_accepted_by_its_own_profile_only(
    provider: Provider, trusting: Trusting
) -> None:
    """It says who logged in at the client; it is no credential for an API."""
    tokens = await provider.login("alice")
    login = await trusting(provider, "spa", profile="id_token")
    caller = await login.verify(tokens["id_token"])
    assert (caller.subject, caller.claims["name"]) == ("alice", "Alice")

    api = await trusting(provider)
    with pytest.raises(AudienceMismatch):
        await api.verify(tokens["id_token"])
    strict = await trusting(provider, "spa", profile="rfc9068")
    with pytest.raises(TokenTypeNotAllowed):
        await strict.verify(tokens["id_token"])
    with pytest.raises(TokenTypeNotAllowed):
        await login.verify(tokens["access_token"])


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"iss": "http://127.0.0.1:1"}, IssuerNotTrusted),
        ({"aud": ["urn:test:other"]}, AudienceMismatch),
        ({"exp": 1}, TokenExpired),
        ({"exp": None}, ClaimRejected),
        ({"exp": "2100-01-01"}, ClaimRejected),
        ({"exp": 32_503_680_000}, TokenLifetimeTooLong),
        ({"nbf": 32_503_680_000}, TokenNotYetValid),
        ({"iat": 32_503_680_000, "exp": 32_503_680_100}, TokenNotYetValid),
        ({"sub": ""}, ClaimRejected),
        ({"sub": 7}, ClaimRejected),
        ({"jti": 7}, ClaimRejected),
        ({"token_use": "id"}, TokenTypeNotAllowed),
        ({"at_hash": "x"}, TokenTypeNotAllowed),
    ],
)
async def test_a_well_signed_token_with_a_bad_claim_is_refused(
    provider: Provider, trusting: Trusting, claims: dict[str, Any], error: type[Exception]
) -> None:
    """A good signature says who wrote it, not that it is true or meant for this service."""
    verifier = await trusting(provider)
    await provider.tweak(**claims)
    with pytest.raises(error) as refused:
        await verifier.verify(await provider.service_token())
    assert refused.type is error


@pytest.mark.parametrize("claim", ["jti", "sub", "client_id"])  # it always puts an iat in
async def test_only_the_strict_profile_needs_every_claim_of_rfc_9068(
    provider: Provider, trusting: Trusting, claim: str
) -> None:
    """Providers leave claims out; without an id of its own a token has one from its content."""
    lenient = await trusting(provider)
    strict = await trusting(provider, profile="rfc9068")
    await provider.tweak(**{claim: None})
    token = await provider.service_token()
    assert (await lenient.verify(token)).token_id
    with pytest.raises(ClaimRejected) as refused:
        await strict.verify(token)
    assert (refused.value.claim, refused.value.reason) == (claim, "missing")


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["urn:test:other", API]},
        {"nbf": 1.5},
        {"scope": None},
        {"tenant": {"id": "t1", "plans": ["a", "b"]}},
        {"sub": "grüße 🔑"},
    ],
)
async def test_unusual_claims_that_are_legal_are_accepted(
    provider: Provider, trusting: Trusting, claims: dict[str, Any]
) -> None:
    """Several audiences, fractions of seconds, nothing granted, nested values, any Unicode."""
    verifier = await trusting(provider)
    await provider.tweak(**claims)
    caller = await verifier.verify(await provider.service_token())
    assert caller.subject == claims.get("sub", "svc")


async def test_a_token_ages_out_after_the_leeway(
    provider: Provider, trusting: Trusting, clock: ManualClock
) -> None:
    """A token that was accepted, and is remembered, is refused from `exp` plus leeway on."""
    verifier = await trusting(provider, leeway_seconds=10)
    await provider.lifetime(60)
    token = await provider.service_token()
    expires_at = (await verifier.verify(token)).expires_at
    clock.set_time(expires_at + 9.5)
    await verifier.verify(token)
    clock.set_time(expires_at + 10)
    with pytest.raises(TokenExpired):
        await verifier.verify(token)


async def test_a_token_that_lives_too_long_is_refused(
    provider: Provider, trusting: Trusting
) -> None:
    """A revocation is not remembered for ever, so neither may a token live for ever."""
    verifier = await trusting(provider, max_token_lifetime_seconds=600)
    await provider.lifetime(601)
    with pytest.raises(TokenLifetimeTooLong):
        await verifier.verify(await provider.service_token())
    await provider.lifetime(600)
    await verifier.verify(await provider.service_token())


@pytest.mark.parametrize("algorithm", RESOURCES)
async def test_a_tampered_token_is_refused_and_the_good_one_still_accepted(
    provider: Provider, trusting: Trusting, algorithm: str
) -> None:
    """Neither a changed payload nor a borrowed signature passes, before or after the good token."""
    resource = RESOURCES[algorithm]
    verifier = await trusting(provider, resource)
    token = await provider.service_token("items:read", resource=resource)
    other = await provider.service_token("items:write", resource=resource)
    header, payload, signature = token.split(".")
    _, other_payload, other_signature = other.split(".")
    for _ in range(2):
        for forged in (
            f"{header}.{other_payload}.{signature}",
            f"{header}.{payload}.{other_signature}",
        ):
            with pytest.raises(SignatureInvalid):
                await verifier.verify(forged)
        await verifier.verify(token)
