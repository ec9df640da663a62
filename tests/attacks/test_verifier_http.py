"""The credential as HTTP carries it: doubled, smuggled, misplaced, misspelled.

Would have caught: GHSA-gv94-wp4h-vv8p (Keycloak takes odd Bearer headers apart leniently) and the
proxies that read one of two Authorization headers while the service reads the other; CVE-2021-32677
and CVE-2023-30798 (what is done with a body before it is known who sends it).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.attacks.playbook import OTHER, Service

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service() as service:
        yield service


async def expect(service: Service, status: int, code: str | None, *values: str | bytes) -> None:
    """These Authorization headers get this answer, and leave this record."""
    answer = await service.request(*values)
    assert (answer.status_code, answer.json().get("code")) == (status, code), values
    service.expect_request(code, "missing" if code == "credential_missing" else "refused")


async def test_two_authorization_headers_are_none(service: Service) -> None:
    """Whoever sends two hopes that two parties read different ones (RFC 6750 section 2)."""
    good = f"Bearer {service.token()}"
    strange = f"Bearer {service.token(owner='attacker')}"
    for pair in (
        (good, good),
        (good, strange),
        (strange, good),
        (good, "Basic YTpi"),
        ("Basic YTpi", good),
        (good, ""),
        ("", good),
        (good, good, good),
    ):
        await expect(service, 400, "credential_malformed", *pair)
    await service.accepted(service.token())


async def test_a_header_holds_one_scheme_one_space_and_one_token(service: Service) -> None:
    """Nothing is trimmed, split or decoded (RFC 6750 section 2.1)."""
    good = service.token()
    for value in (
        f"Bearer  {good}",
        f"Bearer\t{good}",
        f"Bearer {good} ",
        f"Bearer {good}\t",
        f"Bearer {good}, Bearer {good}",
        f"Bearer {good},",
        f"Bearer {good} {good}",
        f"Bearer ,{good}",
        f'Bearer "{good}"',
        f"Bearer {good}\0",
        f"Bearer {good}\r\nX-Admin: 1",
        f"Bearer\r\n {good}",
        f"Bearer: {good}",
        f"Bearer={good}",
        f"Bearer realm=x, {good}",
        f"Bearer token={good}",
        f"Bearer Bearer {good}",
        f"Bearer {good};q=1",
        f"Bearer {good.replace('.', '%2E')}",
        f"Bearer {good}\u00a0",
        f"Bearer\u00a0{good}",
        f"Bearer {good}\ufeff",
        "Bearer",
        "Bearer ",
        "Bearer =",
    ):
        await expect(service, 400, "credential_malformed", value)
    for value in (
        f" Bearer {good}",
        f"B\u0435arer {good}",
        f"Bearers {good}",
        good,
        "",
        f"JWT {good}",
    ):
        await expect(service, 401, "credential_missing", value)
    for scheme in ("bearer", "BEARER", "bEaReR"):
        assert (await service.request(f"{scheme} {good}")).status_code == 200
        service.expect_request(None, "accepted")


async def test_a_token_anywhere_else_is_not_looked_at(service: Service) -> None:
    """Not in other headers, cookies, the query or the path (RFC 9700 section 4.3.2)."""
    good = service.token().encode()
    for name, value in (
        (b"proxy-authorization", b"Bearer " + good),
        (b"x-authorization", b"Bearer " + good),
        (b"authorization-", b"Bearer " + good),
        (b"authorization ", b"Bearer " + good),
        (b"x-forwarded-authorization", b"Bearer " + good),
        (b"x-access-token", good),
        (b"cookie", b"access_token=" + good),
        (b"cookie", b"Authorization=Bearer " + good),
    ):
        answer = await service.request(headers=[(name, value)])
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        service.expect_request("credential_missing", "missing")
    for path in (f"/?access_token={good.decode()}", f"/?Authorization=Bearer+{good.decode()}"):
        assert (await service.request(path=path)).status_code == 401
        service.expect_request("credential_missing", "missing")


async def test_a_second_credential_in_the_query_is_refused(service: Service) -> None:
    """Even where both are the same and good, or the second one is empty (RFC 6750 section 2)."""
    good = service.token()
    for query in (f"access_token={good}", "access_token=", "access_token", "a=1&access_token=x"):
        answer = await service.request(f"Bearer {good}", path=f"/?{query}")
        assert answer.json()["code"] == "credential_malformed"
        service.expect_request("credential_malformed")
    for query in ("access_tokens=1", "my_access_token=1", "token=access_token"):
        assert (await service.request(f"Bearer {good}", path=f"/?{query}")).status_code == 200
        service.expect_request(None, "accepted")


async def test_a_body_is_not_read_for_a_credential(service: Service) -> None:
    """Neither as a form nor as JSON: the answer is there before the body is asked for."""
    asked = []

    async def body() -> AsyncIterator[bytes]:
        asked.append(1)
        yield f"access_token={service.token()}".encode()

    for kind in ("application/x-www-form-urlencoded", "application/json", "multipart/form-data"):
        answer = await service.client.request(
            "GET", "/", headers={"content-type": kind}, content=body()
        )
        assert answer.status_code == 401
        service.expect_request("credential_missing", "missing")
    assert asked == []


async def test_headers_of_a_proxy_change_nothing_about_who_calls(service: Service) -> None:
    """CVE-2026-40575: what only a proxy may say, anyone can write."""
    claims = [
        (b"x-forwarded-user", b"admin"),
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"x-forwarded-uri", b"/health"),
        (b"x-original-url", b"/scoped"),
        (b"x-auth-request-user", b"admin"),
        (b"x-http-method-override", b"OPTIONS"),
        (b"forwarded", b"for=127.0.0.1;by=trusted"),
        (b"host", b"localhost"),
    ]
    answer = await service.request(headers=claims)
    assert answer.json()["code"] == "credential_missing"
    service.expect_request("credential_missing", "missing")
    bad = service.token(owner=OTHER)
    answer = await service.request(f"Bearer {bad}", headers=claims)
    assert answer.json()["code"] == "signature_invalid"
    service.expect_request("signature_invalid")
    answer = await service.request(f"Bearer {service.token()}", headers=claims)
    assert answer.json()[:2] == ["https://login.example.com", "alice"]
    service.expect_request(None, "accepted")


async def test_a_scope_that_was_not_granted_is_not_made_up(service: Service) -> None:
    """Neither near misses nor what a caller adds to the request counts as the scope."""
    near = [
        "orders",
        "orders:read2",
        "ORDERS:READ",
        "orders:*",
        "*",
        "\torders:read",
        "orders:read,x",
    ]
    for scope in (None, "", *near, "orders:re ad", ["orders:read x"], near, "orders\u200b:read"):
        answer = await service.request(
            f"Bearer {service.token(scope=scope)}", path="/scoped?scope=orders:read"
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), scope
        service.expect_request("insufficient_scope")
    for scope in ("orders:read", "a orders:read  b", ["x", "orders:read"]):
        answer = await service.request(f"Bearer {service.token(scope=scope)}", path="/scoped")
        assert answer.status_code == 200
        service.expect_request(None, "accepted")
