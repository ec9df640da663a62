"""A protected FastAPI app on a real server, called over HTTP with real tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Security

from authkit import (
    Principal,
    RemoteKeyProvider,
    Revocation,
    RevocationScope,
    TrustedIssuer,
    Verifier,
)
from authkit.fastapi import Auth
from authkit.testing import AssertingAuditSink, LoopbackServer
from authkit_memory import MemoryRevocationStore
from tests.real.provider import API, Provider, loopback_client

pytestmark = pytest.mark.anyio

auth = Auth(trusted_proxies=())


def _app(verifier: Verifier) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with verifier:
            with auth.using(verifier):
                yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/items")
    async def items(
        caller: Annotated[Principal, Security(auth, scopes=["items:read"])],
    ) -> dict[str, Any]:
        return {"subject": caller.subject, "roles": sorted(caller.roles)}

    @app.get("/admin")
    async def admin(
        caller: Annotated[Principal, Depends(auth.require(roles=["admin"]))],
    ) -> str | None:
        return caller.subject

    @app.post("/logout")
    async def logout(caller: Annotated[Principal, Depends(auth)]) -> None:
        await verifier.revoke(Revocation.of(caller))

    @app.delete("/users/{subject}")
    async def lock(
        subject: str, caller: Annotated[Principal, Depends(auth.require(roles=["admin"]))]
    ) -> None:
        await verifier.revoke(
            Revocation(scope=RevocationScope.SUBJECT, issuer=caller.issuer, id=subject)
        )

    return app


@pytest.fixture
async def client(
    provider: Provider, audit_sink: AssertingAuditSink
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, which runs on the machine's own clock."""
    verifier = Verifier(
        TrustedIssuer(
            provider.issuer,
            API,
            keys=RemoteKeyProvider(provider.issuer, insecure_loopback_http=True),
            profile="rfc9068",
        ),
        revocations=MemoryRevocationStore(),
        audit=audit_sink,
    )
    async with (
        LoopbackServer(_app(verifier)) as server,
        loopback_client(server.url) as client,
    ):
        yield client


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_logged_in_user_is_served(
    client: httpx.AsyncClient, provider: Provider, audit_sink: AssertingAuditSink
) -> None:
    """From the login page to the route, and on record with the caller's address."""
    token = (await provider.login("alice"))["access_token"]
    reply = await client.get("/items", headers=_bearer(token))
    assert (reply.status_code, reply.json()) == (200, {"subject": "alice", "roles": ["admin"]})
    await audit_sink.wait_for(
        type="token.verified", outcome="accepted", subject="alice", client_address="127.0.0.1"
    )


async def test_each_refusal_has_its_status_and_challenge(
    client: httpx.AsyncClient, provider: Provider
) -> None:
    """No token, a bad one, one that is not enough, two at once (RFC 6750 section 3)."""
    token = await provider.service_token("items:write")
    await provider.tweak(exp=1)
    expired = await provider.service_token()
    for path, headers, status, challenge in (
        ("/items", {}, 401, "Bearer"),
        ("/items", _bearer(expired), 401, "invalid_token"),
        ("/items", _bearer(token[:-8]), 401, "invalid_token"),
        ("/items", _bearer(token), 403, "insufficient_scope"),
        ("/admin", _bearer(token), 403, "insufficient_scope"),
        (f"/items?access_token={token}", _bearer(token), 400, "invalid_request"),
    ):
        reply = await client.get(path, headers=headers)
        assert reply.status_code == status, reply.text
        assert challenge in reply.headers["www-authenticate"]
        assert reply.headers["content-type"] == "application/problem+json"
        assert token not in reply.text


async def test_a_logout_takes_the_token_back(
    client: httpx.AsyncClient, provider: Provider, audit_sink: AssertingAuditSink
) -> None:
    """That token, and no other of the same user."""
    first = _bearer((await provider.login("alice"))["access_token"])
    second = _bearer((await provider.login("alice"))["access_token"])
    assert (await client.post("/logout", headers=first)).status_code == 200
    assert (await client.get("/items", headers=first)).status_code == 401
    assert (await client.get("/items", headers=second)).status_code == 200
    await audit_sink.wait_for(type="token.revoked", outcome="accepted")
    await audit_sink.wait_for(outcome="refused", code="token_revoked", subject="alice")


async def test_a_locked_user_is_refused_whatever_the_token(
    client: httpx.AsyncClient, provider: Provider
) -> None:
    """Every token of that subject, and nobody else's."""
    alice = _bearer((await provider.login("alice"))["access_token"])
    bob = _bearer((await provider.login("bob"))["access_token"])
    assert (await client.get("/items", headers=bob)).status_code == 200
    assert (await client.delete("/users/bob", headers=alice)).status_code == 200
    assert (await client.get("/items", headers=bob)).status_code == 401
    assert (await client.get("/items", headers=alice)).status_code == 200


async def test_an_outage_of_the_provider_is_a_503(
    provider: Provider, audit_sink: AssertingAuditSink
) -> None:
    """With a time to try again, and without a challenge: the caller has done nothing wrong."""
    await provider.fault(status=503)
    token = await provider.service_token()
    verifier = Verifier(
        TrustedIssuer(
            provider.issuer,
            API,
            keys=RemoteKeyProvider(provider.issuer, insecure_loopback_http=True),
        ),
        revocations=MemoryRevocationStore(),
        audit=audit_sink,
    )
    async with (
        LoopbackServer(_app(verifier)) as server,
        loopback_client(server.url) as client,
    ):
        reply = await client.get("/items", headers=_bearer(token))
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) > 0
    assert "www-authenticate" not in reply.headers
