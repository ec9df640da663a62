"""A protected app as the first example builds it: real tokens, real backends, nothing mocked."""

# Annotations are not postponed here: FastAPI could not find the local names in those of routes.

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.testclient import TestClient

from authkit import Principal, RateLimit, Revocation, Verifier
from authkit.errors import BackendUnavailable
from authkit.fastapi import Auth
from authkit.jose.signing import SigningKey
from authkit.testing import AssertingAuditSink, LocalIssuer, ManualClock, signed_in
from authkit_memory import MemoryRateLimiter, MemoryRevocationStore

AUDIENCE = "orders-api"
PROXY = "10.0.0.1"


class Service:
    """The app, what stands behind it, and a client that connects through the proxy."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.issuer = LocalIssuer(algorithm="ES256", audience=AUDIENCE, clock=self.clock)
        self.audit = AssertingAuditSink()
        self.auth = Auth(trusted_proxies=["10.0.0.0/8"])
        self.verifier = self._verifier(self.issuer.trusted())
        self.app = FastAPI(lifespan=self._lifespan)
        self.app.include_router(self._orders(), prefix="/orders", dependencies=[Depends(self.auth)])
        self.client = TestClient(self.app, client=(PROXY, 4711))

    def _verifier(self, trusted: Any) -> Verifier:
        return Verifier(
            trusted,
            revocations=MemoryRevocationStore(clock=self.clock),
            limiter=MemoryRateLimiter(clock=self.clock),
            limits=[RateLimit(name="api", rate=60, per_seconds=60, burst=5, by="subject")],
            audit=self.audit,
            failed_attempts=RateLimit(
                name="failed_attempts", rate=3, per_seconds=60, burst=3, by="address"
            ),
            clock=self.clock,
        )

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        async with self.verifier:
            with self.auth.using(self.verifier):
                yield

    def _orders(self) -> APIRouter:
        router = APIRouter()
        auth = self.auth

        @router.get("/")
        async def read(
            who: Annotated[Principal, Security(auth, scopes=["orders:read"])],
        ) -> str | None:
            return who.subject

        @router.delete("/")
        async def delete(who: Annotated[Principal, Depends(auth.require(roles=["admin"]))]) -> None:
            await self.verifier.revoke(Revocation.of(who))

        return router

    def get(self, token: str | None, address: str = "198.51.100.1", method: str = "GET") -> Any:
        """A request to the orders by way of the proxy."""
        headers = {"X-Forwarded-For": f"203.0.113.99, {address}"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.client.request(method, "/orders/", headers=headers)


@pytest.fixture
def service() -> Iterator[Service]:
    """A running service."""
    service = Service()
    with service.client:
        yield service


def test_tokens_get_the_answer_that_they_deserve(service: Service) -> None:
    """Good and bad ones, in one service; no answer repeats any of them."""
    issuer = service.issuer
    stranger = SigningKey.generate("ES256", kid=issuer.signing_key.kid)
    good = issuer.token("alice", scopes=["orders:read"])
    cases: list[tuple[str | None, int, str | None]] = [
        (None, 401, "credential_missing"),
        (good, 200, None),
        (issuer.token("bob", scopes=["orders:write"]), 403, "insufficient_scope"),
        (issuer.token("bob", expires_in=-60), 401, "token_expired"),
        (issuer.token("bob", audience="elsewhere"), 401, "audience_mismatch"),
        (issuer.token("bob", key=stranger), 401, "signature_invalid"),
        (issuer.opaque_token().replace(".", "x"), 401, "token_opaque"),
        (good + "=", 401, "token_malformed"),
        (good, 200, None),
    ]
    for number, (token, status, code) in enumerate(cases):
        answer = service.get(token, address=f"198.51.100.{number}")
        assert answer.status_code == status, (number, answer.text)
        if code is not None:
            assert answer.json()["code"] == code, number
            if token is not None:
                assert not any(part in answer.text for part in token.split("."))


def test_a_request_costs_one_however_many_dependencies_it_passes(service: Service) -> None:
    """The router's and the route's dependency charge the caller once."""
    token = service.issuer.token("alice", scopes=["orders:read"])
    assert [service.get(token).status_code for _ in range(6)] == [200] * 5 + [429]
    refused = service.get(token)
    assert refused.headers["retry-after"] == "1"
    assert "www-authenticate" not in refused.headers
    service.clock.advance(1)
    assert service.get(token).status_code == 200


def test_a_revoked_token_is_refused_from_the_next_request_on(service: Service) -> None:
    """A route may take its caller's own token back."""
    token = service.issuer.token("alice", scopes=["orders:read"], roles=["admin"])
    assert service.get(token).status_code == 200
    assert service.get(token, method="DELETE").status_code == 200
    answer = service.get(token)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")
    assert answer.headers["www-authenticate"].startswith('Bearer error="invalid_token"')


def test_an_outage_is_not_the_callers_fault() -> None:
    """503 without a challenge: another token would not help."""

    class Down:
        async def find(self, kid: str | None, alg: str) -> Any:
            raise BackendUnavailable("keys", "10.1.2.3 refused", retry_after_seconds=7)

    service = Service()
    service.verifier = service._verifier(service.issuer.trusted(keys=Down()))
    with service.client:
        answer = service.get(service.issuer.token())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert "www-authenticate" not in answer.headers
    assert "10.1.2.3" not in answer.text


def test_who_guesses_is_slowed_down_by_address_and_nobody_else_is(service: Service) -> None:
    """The address is the proxy's word: what the caller forwards of its own changes nothing."""
    good = service.issuer.token("alice", scopes=["orders:read"])
    assert service.get(good).status_code == 200
    statuses = [service.get(f"x.y.{number}").status_code for number in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    assert service.get("x.y.z", address="198.51.100.2").status_code == 401
    assert service.get(good).status_code == 200


def test_the_audit_trail_names_the_callers_address(service: Service) -> None:
    """The same address that limits go by, and no credential."""
    token = service.issuer.token("alice", scopes=["orders:read"])
    service.get(token)
    service.get(None, address="2001:DB8::7")
    service.audit.assert_event(outcome="accepted", subject="alice", client_address="198.51.100.1")
    service.audit.assert_event(outcome="missing", client_address="2001:db8::7")
    assert token not in repr(service.audit.events)


def test_the_test_kit_signs_in_without_a_verifier() -> None:
    """The permissions of a route are tested as they are."""
    service = Service()
    client = TestClient(service.app)
    with signed_in(service.app, service.auth, "bob", scopes=["orders:read"]):
        assert client.get("/orders/").json() == "bob"
        assert client.delete("/orders/").status_code == 403
    with signed_in(service.app, service.auth, None):
        assert client.get("/orders/").status_code == 401
