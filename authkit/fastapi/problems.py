"""Refusals as problem documents (RFC 9457), and how they get out of any FastAPI app as such."""

from __future__ import annotations

from typing import Any, NoReturn

from fastapi import HTTPException
from fastapi.exception_handlers import http_exception_handler
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.exceptions import WebSocketException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.status import WS_1008_POLICY_VIOLATION

from authkit.errors import (
    AuthkitError,
    BackendUnavailable,
    ClaimRejected,
    CredentialMalformed,
    CredentialMissing,
    InsufficientScope,
    RateLimited,
    RequirementNotMet,
    StepUpRequired,
    TokenRefused,
)
from authkit.fastapi.challenges import challenge, explanation, retry_after, status_code

__all__ = ["AuthProblem", "problem_response", "raise_refusal"]

_TITLES: tuple[tuple[type[AuthkitError], str], ...] = (
    (CredentialMissing, "Authentication required"),
    (CredentialMalformed, "Malformed credential"),
    (TokenRefused, "Token refused"),
    (StepUpRequired, "Stronger authentication required"),
    (InsufficientScope, "Insufficient scope"),
    (RequirementNotMet, "Requirement not met"),
    (RateLimited, "Too many requests"),
    (BackendUnavailable, "Verification unavailable"),
)

# The members that an error has of its own, under its own names.
_MEMBERS: tuple[tuple[type[AuthkitError], tuple[str, ...]], ...] = (
    (ClaimRejected, ("claim", "reason")),
    (InsufficientScope, ("scopes", "is_any")),
    (RequirementNotMet, ("requirement", "names")),
    (StepUpRequired, ("max_age_seconds", "acr_values")),
)


class AuthProblem(HTTPException):
    """A refused request, on its way to become a response.

    It is raised from the error of authkit by every dependency of an `Auth`.  Where an app
    says nothing about it, it becomes a problem document.  An app's own handler for
    AuthProblem, for HTTPException or for the status wins.

    Attributes:
        error: why the request is refused.
        problem: the members of the problem document.
        status_code: 400, 401, 403, 429 or 503.
        detail: one sentence for people.
        headers: `WWW-Authenticate` or `Retry-After`, and `Cache-Control`.
    """

    def __init__(self, error: AuthkitError, *, realm: str | None = None) -> None:
        self.error = error
        self.problem: dict[str, Any] = _document(error)
        super().__init__(
            status_code(error), detail=self.problem["detail"], headers=_headers(error, realm)
        )


def problem_response(error: AuthkitError, *, realm: str | None = None) -> Response:
    """The response that a dependency of an Auth would have given, for code that calls a Verifier.

    A ConfigurationError becomes a 500 that says nothing of its cause.
    """
    return _response(AuthProblem(error, realm=realm))


def raise_refusal(error: AuthkitError, connection: HTTPConnection, realm: str | None) -> NoReturn:
    """Refuses the request at hand because of `error`.

    A WebSocket is denied with a whole response where the server can do that, and else
    closed with 1008 before it was accepted, which servers turn into a bare 403.

    Raises:
        AuthProblem: the app answers with the problem document.
        WebSocketException: the app closes the WebSocket.
        AuthkitError: `error` itself where it is no caller's concern, as a ConfigurationError.
    """
    if status_code(error) == 500:
        raise error
    scope = connection.scope
    if scope["type"] == "websocket" and "websocket.http.response" not in (
        scope.get("extensions") or ()
    ):
        raise WebSocketException(WS_1008_POLICY_VIOLATION, error.code) from error
    _have_a_handler(scope.get("starlette.exception_handlers"))
    raise AuthProblem(error, realm=realm) from error


def _have_a_handler(known: Any) -> None:
    """Puts the handler for AuthProblem where the app at hand looks for one.

    An app is built before any request, and a dependency does not know of it sooner, so
    nothing could be installed then.  The table is the app's own, so this happens once.
    Without it the default handler of HTTPException still gives the right status and headers.
    """
    if not (isinstance(known, tuple) and known and isinstance(known[0], dict)):
        return
    handlers = known[0]
    if AuthProblem in handlers:
        return
    general = handlers.get(HTTPException, handlers.get(StarletteHTTPException))
    # A handler that the app has of its own for every HTTPException is what the app wants.
    if (
        general is http_exception_handler
        or getattr(general, "__func__", None) is ExceptionMiddleware.http_exception
    ):
        handlers[AuthProblem] = _handle


async def _handle(connection: HTTPConnection, problem: AuthProblem) -> Response:
    return _response(problem)


def _response(problem: AuthProblem) -> Response:
    return JSONResponse(
        problem.problem,
        status_code=problem.status_code,
        headers=problem.headers,
        media_type="application/problem+json",
    )


def _headers(error: AuthkitError, realm: str | None) -> dict[str, str]:
    # A cache that keys on the address alone must not answer one caller with the refusal of
    # another (RFC 6585 section 4 demands it of 429).
    headers = {"Cache-Control": "no-store"}
    demanded = challenge(error, realm)
    if demanded is not None:
        headers["WWW-Authenticate"] = demanded
    seconds = retry_after(error)
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    return headers


def _document(error: AuthkitError) -> dict[str, Any]:
    title = next((title for kind, title in _TITLES if isinstance(error, kind)), "Internal error")
    document: dict[str, Any] = {
        "type": f"urn:authkit:error:{error.code}",
        "title": title,
        "status": status_code(error),
        "detail": explanation(error),
        "code": error.code,
    }
    for kind, names in _MEMBERS:
        if isinstance(error, kind):
            document |= {name: getattr(error, name) for name in names}
    seconds = retry_after(error)
    if seconds is not None:
        document["retry_after_seconds"] = seconds
    return document
