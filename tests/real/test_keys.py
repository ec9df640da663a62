"""The provider's keys: fetched once, followed through rotations, missed in outages for a while."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time

import pytest

from authkit.clock import SystemClock
from authkit.errors import BackendUnavailable, KeyNotFound
from authkit.testing import AssertingAuditSink, ManualClock
from tests.real.conftest import Trusting, keys_of
from tests.real.provider import Provider

pytestmark = pytest.mark.anyio


def _with_key_id(token: str, kid: str) -> str:
    """The token as someone would send it who makes a key id up."""
    _, payload, signature = token.split(".")
    header = json.dumps({"alg": "RS256", "typ": "at+jwt", "kid": kid}).encode()
    return f"{base64.urlsafe_b64encode(header).rstrip(b'=').decode()}.{payload}.{signature}"


async def test_the_keys_are_fetched_once_for_many_tokens(
    provider: Provider, trusting: Trusting
) -> None:
    """However many callers come at the same time, before the keys are there."""
    verifier = await trusting(provider)
    tokens = await asyncio.gather(*(provider.service_token() for _ in range(20)))
    callers = await asyncio.gather(*(verifier.verify(token) for token in tokens))
    assert {caller.subject for caller in callers} == {"svc"}
    assert len({caller.token_id for caller in callers}) == 20
    assert await provider.hits("/jwks") == 1
    assert await provider.hits("/.well-known/openid-configuration") == 1


async def test_made_up_key_ids_do_not_reach_the_provider(
    provider: Provider, trusting: Trusting, clock: ManualClock
) -> None:
    """A flood of them costs one fetch for each cooldown, whatever the ids are."""
    verifier = await trusting(provider)
    token = await provider.service_token()
    await verifier.verify(token)
    for fetches in (1, 2, 3):
        floods = (verifier.verify(_with_key_id(token, secrets.token_hex(8))) for _ in range(50))
        outcomes = await asyncio.gather(*floods, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {KeyNotFound}
        assert await provider.hits("/jwks") == fetches
        await verifier.verify(token)
        clock.advance(30)


async def test_after_a_rotation_with_overlap_old_and_new_tokens_are_good(
    provider: Provider, trusting: Trusting, clock: ManualClock
) -> None:
    """The new key is found when its first token comes."""
    verifier = await trusting(provider)
    old = await provider.service_token()
    await verifier.verify(old)
    await provider.rotate(keep=True)
    clock.advance(30)
    new = await provider.service_token()
    for token in (new, old, new):
        assert (await verifier.verify(token)).subject == "svc"
    assert await provider.hits("/jwks") == 2


async def test_after_a_rotation_without_overlap_old_tokens_are_refused(
    provider: Provider, trusting: Trusting, clock: ManualClock
) -> None:
    """Also those that were proven before and are remembered."""
    verifier = await trusting(provider)
    old = await provider.service_token()
    await verifier.verify(old)
    await provider.rotate(keep=False)
    clock.advance(30)
    assert (await verifier.verify(await provider.service_token())).subject == "svc"
    with pytest.raises(KeyNotFound):
        await verifier.verify(old)


async def test_a_withdrawn_key_is_noticed_without_any_new_token(
    provider: Provider, trusting: Trusting
) -> None:
    """The keys are looked up again in the background before they are no longer fresh."""
    keys = keys_of(
        provider, SystemClock(), fresh_seconds=1.0, min_fresh_seconds=1.0, cooldown_seconds=0.1
    )
    verifier = await trusting(provider, keys=keys)
    token = await provider.service_token()
    await verifier.verify(token)
    await provider.rotate(keep=False)

    async def verify_for_ever() -> None:
        while True:
            await verifier.verify(token)
            await asyncio.sleep(0.05)

    async with asyncio.timeout(10):
        with pytest.raises(KeyNotFound):
            await verify_for_ever()


@pytest.mark.parametrize("fault", [{"status": 503}, {"garbage": True}, {"status": 302}])
async def test_known_keys_serve_through_an_outage_for_a_bounded_time(
    provider: Provider,
    trusting: Trusting,
    clock: ManualClock,
    audit_sink: AssertingAuditSink,
    fault: dict[str, object],
) -> None:
    """Nobody is logged out by it, keys are not trusted for ever, and it heals by itself."""
    keys = keys_of(provider, clock, last_known_good_seconds=1200)
    verifier = await trusting(provider, keys=keys)
    await provider.lifetime(7200)
    token, another = await provider.service_token(), await provider.service_token()
    await verifier.verify(token)
    await provider.fault(**fault)
    clock.advance(601)
    with pytest.raises(BackendUnavailable):
        await keys.refresh()
    for known in (token, another):
        assert (await verifier.verify(known)).subject == "svc"
    await audit_sink.wait_for(
        type="backend.state_changed", data={"old": "fresh", "new": "last_known_good"}
    )

    clock.advance(1200)
    with pytest.raises(BackendUnavailable) as unavailable:
        await verifier.verify(token)
    assert unavailable.value.interface == "keys"
    await audit_sink.wait_for(type="token.verified", outcome="unavailable")

    await provider.fault()
    # Sooner, a request does not wait for the next attempt, and finds its outcome a moment later.
    clock.advance(90)
    assert (await verifier.verify(token)).subject == "svc"


async def test_a_new_key_id_in_an_outage_is_not_called_a_bad_token(
    provider: Provider, trusting: Trusting, clock: ManualClock
) -> None:
    """It may be a good token of a key that could not be fetched: nobody can tell."""
    verifier = await trusting(provider)
    await verifier.verify(await provider.service_token())
    await provider.rotate(keep=True)
    await provider.fault(status=503)
    clock.advance(30)
    with pytest.raises(BackendUnavailable) as unavailable:
        await verifier.verify(await provider.service_token())
    assert unavailable.value.code == "key_unknown_unconfirmed"


async def test_a_provider_that_stops_is_ridden_out(
    own_provider: Provider, trusting: Trusting, clock: ManualClock
) -> None:
    """Known keys serve while connections are refused."""
    verifier = await trusting(own_provider)
    await own_provider.lifetime(7200)
    token, another = await own_provider.service_token(), await own_provider.service_token()
    await verifier.verify(token)
    await asyncio.to_thread(own_provider.stop)
    clock.advance(601)
    assert (await verifier.verify(another)).subject == "svc"


async def test_a_provider_never_reached_is_an_outage_not_a_refusal(
    own_provider: Provider, trusting: Trusting, audit_sink: AssertingAuditSink
) -> None:
    """Starting does not wait for it, and a good token is neither accepted nor refused."""
    token = await own_provider.service_token()
    await asyncio.to_thread(own_provider.stop)
    verifier = await trusting(own_provider)
    with pytest.raises(BackendUnavailable) as unavailable:
        await verifier.verify(token)
    assert (unavailable.value.interface, unavailable.value.code) == ("keys", "backend_unavailable")
    await audit_sink.wait_for(type="token.verified", outcome="unavailable")


async def test_a_provider_that_hangs_costs_a_request_a_bounded_time(
    provider: Provider, trusting: Trusting, clock: ManualClock
) -> None:
    """A reply that does not come in time is an outage."""
    await provider.fault(delayMs=5_000)
    verifier = await trusting(provider, keys=keys_of(provider, clock, timeout_seconds=0.2))
    token = await provider.service_token()
    started = time.perf_counter()
    with pytest.raises(BackendUnavailable):
        await verifier.verify(token)
    assert time.perf_counter() - started < 2
