"""Every error of the family as a response: status, challenge, body, and who may change it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.security import SecurityScopes
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from authkit.errors import (
    AlgorithmNotAllowed,
    AudienceMismatch,
    AuthkitError,
    BackendUnavailable,
    ClaimRejected,
    ConfigurationError,
    CredentialMalformed,
    CredentialMissing,
    InsufficientScope,
    IssuerNotTrusted,
    RateLimited,
    RequirementNotMet,
    SignatureInvalid,
    StepUpRequired,
    TokenExpired,
    TokenMalformed,
    TokenRevoked,
)
from authkit.fastapi import Auth, AuthProblem, problem_response
from authkit.principal import Principal

pytestmark = pytest.mark.anyio

GOOD = {"Authorization": "Bearer good"}

# The error, the status, the challenge, Retry-After, and the members of the body beside the usual.
ANSWERS: list[tuple[AuthkitError, int, str | None, str | None, dict[str, Any]]] = [
    (CredentialMissing(), 401, "Bearer", None, {}),
    (
        CredentialMalformed("one header only"),
        400,
        'Bearer error="invalid_request", error_description="one header only"',
        None,
        {},
    ),
    (
        TokenMalformed("three parts are needed", code="token_opaque"),
        401,
        'Bearer error="invalid_token", error_description="three parts are needed"',
        None,
        {},
    ),
    (
        AlgorithmNotAllowed(),
        401,
        'Bearer error="invalid_token", error_description='
        '"the token\'s algorithm is not one that its issuer is trusted with"',
        None,
        {},
    ),
    (
        IssuerNotTrusted(),
        401,
        'Bearer error="invalid_token", error_description="the token\'s issuer is not trusted here"',
        None,
        {},
    ),
    (
        SignatureInvalid(),
        401,
        'Bearer error="invalid_token", error_description="the token\'s signature is not valid"',
        None,
        {},
    ),
    (
        TokenExpired(),
        401,
        'Bearer error="invalid_token", error_description="the claim \'exp\' is expired"',
        None,
        {"claim": "exp", "reason": "expired"},
    ),
    (
        AudienceMismatch(),
        401,
        'Bearer error="invalid_token", error_description="the claim \'aud\' is mismatch"',
        None,
        {"claim": "aud", "reason": "mismatch"},
    ),
    (
        ClaimRejected("sub", "missing"),
        401,
        'Bearer error="invalid_token", error_description="the claim \'sub\' is missing"',
        None,
        {"claim": "sub", "reason": "missing"},
    ),
    (
        TokenRevoked("subject"),
        401,
        'Bearer error="invalid_token", error_description="the token is revoked"',
        None,
        {},
    ),
    (
        StepUpRequired(max_age_seconds=300.9, acr_values=["phr", "mfa"]),
        401,
        'Bearer error="insufficient_user_authentication", error_description='
        '"a more recent or stronger authentication is required", '
        'acr_values="phr mfa", max_age="300"',
        None,
        {"max_age_seconds": 300.9, "acr_values": ["phr", "mfa"]},
    ),
    (
        StepUpRequired(max_age_seconds=5),
        401,
        'Bearer error="insufficient_user_authentication", error_description='
        '"a more recent or stronger authentication is required", max_age="5"',
        None,
        {"max_age_seconds": 5, "acr_values": []},
    ),
    (
        StepUpRequired(acr_values=["mfa"]),
        401,
        'Bearer error="insufficient_user_authentication", error_description='
        '"a more recent or stronger authentication is required", acr_values="mfa"',
        None,
        {"max_age_seconds": None, "acr_values": ["mfa"]},
    ),
    (
        InsufficientScope(["b", "a"]),
        403,
        'Bearer error="insufficient_scope", error_description="the token needs the scopes a b", '
        'scope="a b"',
        None,
        {"scopes": ["a", "b"], "is_any": False},
    ),
    (
        InsufficientScope(["a"], is_any=True),
        403,
        'Bearer error="insufficient_scope", '
        'error_description="the token needs one of the scopes a", scope="a"',
        None,
        {"scopes": ["a"], "is_any": True},
    ),
    (
        RequirementNotMet("roles", ["admin"]),
        403,
        'Bearer error="insufficient_scope", '
        'error_description="the caller does not have the roles admin"',
        None,
        {"requirement": "roles", "names": ["admin"]},
    ),
    (RateLimited(["api"], 1.2), 429, None, "2", {"retry_after_seconds": 2}),
    (RateLimited(["api"], 0.0), 429, None, "1", {"retry_after_seconds": 1}),
    (RateLimited(["api"], float("inf")), 429, None, "86400", {"retry_after_seconds": 86400}),
    (RateLimited(["api"], float("nan")), 429, None, "1", {"retry_after_seconds": 1}),
    (
        BackendUnavailable("keys", "10.0.0.7 refused", code="key_unknown_unconfirmed"),
        503,
        None,
        "5",
        {"retry_after_seconds": 5},
    ),
]


def app_with(auth: Auth) -> FastAPI:
    app = FastAPI()

    @app.get("/", dependencies=[Depends(auth)])
    async def root() -> str:
        return "in"

    return app


@pytest.mark.parametrize(
    ("error", "status", "demanded", "retry", "members"),
    ANSWERS,
    ids=[f"{answer[0].code}-{number}" for number, answer in enumerate(ANSWERS)],
)
async def test_each_error_has_its_answer(
    auth: Auth,
    verifier: Any,
    client_of: Any,
    error: AuthkitError,
    status: int,
    demanded: str | None,
    retry: str | None,
    members: dict[str, Any],
) -> None:
    """RFC 6750 section 3, RFC 9470 section 3, RFC 9457 section 3; nothing is cached."""
    verifier.tokens["good"] = error
    async with client_of(app_with(auth)) as client:
        answer = await client.get("/", headers=GOOD)
    assert answer.status_code == status
    assert answer.headers.get("www-authenticate") == demanded
    assert answer.headers.get("retry-after") == retry
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body.pop("title")
    assert body.pop("detail")
    assert body == {
        "type": f"urn:authkit:error:{error.code}",
        "status": status,
        "code": error.code,
        **members,
    }


@pytest.mark.parametrize(
    ("error", "secret"),
    [
        (BackendUnavailable("keys", "10.0.0.7 refused"), "10.0.0.7"),
        (BackendUnavailable("revocations"), "revocations"),
        (TokenRevoked("subject"), "subject"),
        (RateLimited(["vip_plan"], 3), "vip_plan"),
        (ConfigurationError("the secret is swordfish"), "swordfish"),
    ],
)
def test_the_inside_of_the_service_stays_inside(error: AuthkitError, secret: str) -> None:
    """Which backend failed and how far a revocation reaches are for the operator."""
    answer = problem_response(error)
    assert secret not in bytes(answer.body).decode() + str(answer.headers)


def test_a_problem_response_is_what_a_dependency_would_have_given() -> None:
    """For code that calls a Verifier by hand."""
    answer = problem_response(InsufficientScope(["a"]), realm="shop")
    assert answer.status_code == 403
    assert answer.headers["www-authenticate"].startswith(
        'Bearer realm="shop", error="insufficient_scope", '
    )
    assert answer.media_type == "application/problem+json"
    assert json.loads(bytes(answer.body))["scopes"] == ["a"]


def test_a_mistake_of_the_service_is_a_500_that_says_nothing() -> None:
    """Also for errors that somebody derives from the root of the family."""
    for error in (ConfigurationError("swordfish"), AuthkitError("swordfish")):
        answer = problem_response(error)
        assert answer.status_code == 500
        assert "www-authenticate" not in answer.headers


async def test_an_error_that_is_no_answer_passes_as_itself(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """A ConfigurationError from the verifier is seen in the log of the server."""
    verifier.tokens["good"] = ConfigurationError("enter the Verifier")
    async with client_of(app_with(auth)) as client:
        with pytest.raises(ConfigurationError) as caught:
            await client.get("/", headers=GOOD)
    assert caught.value.__cause__ is None


async def test_a_subclass_of_an_error_is_answered_like_it(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """A check of one's own may narrow an error, with a code of its own."""

    class TenantMismatch(ClaimRejected):
        pass

    verifier.tokens["good"] = TenantMismatch("tenant", "mismatch")
    async with client_of(app_with(auth)) as client:
        answer = await client.get("/", headers=GOOD)
    assert (answer.status_code, answer.json()["code"]) == (401, "tenant_mismatch")


async def test_the_realm_stands_first_and_is_quoted(verifier: Any, client_of: Any) -> None:
    """RFC 9110 sections 5.6.4 and 11.5."""
    auth = Auth(realm='the "shop" \\ back', trusted_proxies=())
    with auth.using(verifier):
        async with client_of(app_with(auth)) as client:
            missing = await client.get("/")
            forged = await client.get("/", headers={"Authorization": "Bearer x.y.z"})
    realm = r'Bearer realm="the \"shop\" \\ back"'
    assert missing.headers["www-authenticate"] == realm
    assert forged.headers["www-authenticate"].startswith(realm + ', error="invalid_token", ')


async def test_names_that_a_challenge_cannot_hold_do_not_break_it(
    auth: Auth, verifier: Any, client_of: Any
) -> None:
    """RFC 6750 section 3 allows neither quotes nor backslashes nor anything but ASCII."""
    verifier.tokens["good"] = RequirementNotMet("roles", ['a"b\\c\r\nX-Evil: 1 ü'])
    async with client_of(app_with(auth)) as client:
        answer = await client.get("/", headers=GOOD)
    assert answer.headers["www-authenticate"] == (
        'Bearer error="insufficient_scope", '
        'error_description="the caller does not have the roles a\'b/c??X-Evil: 1 ?"'
    )
    assert "x-evil" not in answer.headers


async def test_no_answer_repeats_what_was_presented(auth: Auth, client_of: Any) -> None:
    """A refusal may end up in logs and on screens."""
    secret = "eyJhbGciOiJub25lIn0.c2VjcmV0.c2ln"
    async with client_of(app_with(auth)) as client:
        for value in (f"Bearer {secret}", f"Bearer  {secret}", f"Bearer {secret},", f"X {secret}"):
            answer = await client.get(f"/?access_token={secret}", headers={"Authorization": value})
            assert answer.status_code in (400, 401)
            assert secret not in answer.text + str(answer.headers)
            assert "c2VjcmV0" not in answer.text + str(answer.headers)


# Who may change the answer ------------------------------------------------------------------------


async def test_an_apps_own_handler_for_auth_problems_wins(auth: Auth, client_of: Any) -> None:
    """It has the error, the problem document and the headers at hand."""
    app = app_with(auth)

    @app.exception_handler(AuthProblem)
    async def mine(request: Request, problem: AuthProblem) -> Response:
        return JSONResponse(
            {"mine": problem.error.code, "status": problem.problem["status"]},
            status_code=problem.status_code,
            headers=problem.headers,
        )

    async with client_of(app) as client:
        answer = await client.get("/")
    assert answer.json() == {"mine": "credential_missing", "status": 401}
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "kind", [HTTPException, StarletteHTTPException, 401], ids=["fastapi", "starlette", "status"]
)
async def test_an_apps_own_handler_for_http_errors_is_respected(
    auth: Auth, client_of: Any, kind: Any
) -> None:
    """An app that gives all its errors one form gives it to ours too."""
    app = app_with(auth)

    @app.exception_handler(kind)
    async def mine(request: Request, error: StarletteHTTPException) -> Response:
        return PlainTextResponse(f"mine: {error.detail}", error.status_code, error.headers)

    async with client_of(app) as client:
        for _ in range(2):
            answer = await client.get("/")
            assert answer.status_code == 401
            assert answer.text == "mine: no bearer token was presented"
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_other_http_errors_keep_their_form(auth: Auth, client_of: Any) -> None:
    """Only refusals of ours are answered as problems."""
    app = app_with(auth)

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout")

    async with client_of(app) as client:
        await client.get("/")
        assert (await client.get("/teapot")).json() == {"detail": "short and stout"}
        assert (await client.get("/nowhere")).json() == {"detail": "Not Found"}


@pytest.mark.parametrize("known", [None, (), ([],), "odd"], ids=repr)
async def test_where_no_handler_can_be_placed_status_and_headers_hold(
    auth: Auth, known: Any
) -> None:
    """The default handler has all it needs, should Starlette change its insides."""
    request = Request({"type": "http", "headers": [], "starlette.exception_handlers": known})
    with pytest.raises(AuthProblem) as caught:
        await auth(request, SecurityScopes())
    problem = caught.value
    assert isinstance(problem.__cause__, CredentialMissing)
    answer = await http_exception_handler(request, problem)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert json.loads(bytes(answer.body)) == {"detail": "no bearer token was presented"}


async def test_a_route_of_plain_starlette_gets_problems_too(auth: Auth, client_of: Any) -> None:
    """Whoever calls an Auth by hand there has no handler to install either."""

    async def endpoint(request: StarletteRequest) -> Response:
        who: Principal = await auth(request, SecurityScopes())
        return PlainTextResponse(str(who.subject))

    app = Starlette(routes=[Route("/", endpoint)])
    async with client_of(app) as client:
        assert (await client.get("/", headers=GOOD)).text == "alice"
        answer = await client.get("/")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_answer_to_head_has_the_challenge(auth: Auth) -> None:
    """HEAD is refused like GET (RFC 9110 section 9.3.2)."""
    app = FastAPI()
    app.api_route("/", methods=["HEAD"], dependencies=[Depends(auth)])(_nothing)
    answer = TestClient(app).head("/")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def _nothing() -> None: ...
