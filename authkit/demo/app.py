"""The protected app of the demo, on the in-memory backends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Security
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from authkit import (
    Principal,
    RateLimit,
    RemoteKeyProvider,
    Revocation,
    RevocationScope,
    TrustedIssuer,
    Verifier,
)
from authkit.fastapi import Auth
from authkit.interfaces import AuditSink
from authkit.testing import LocalIssuer
from authkit_memory import MemoryRateLimiter, MemoryRevocationStore

__all__ = ["AUDIENCE", "BURST", "COOLDOWN_SECONDS", "demo_app"]

AUDIENCE = "orders-api"
BURST = 20
# Short, so that the demo need not wait half a minute to show a rotation.
COOLDOWN_SECONDS = 0.2

auth: Auth = Auth(trusted_proxies=())


def demo_app(issuer: LocalIssuer, unreachable: LocalIssuer, audit: AuditSink) -> FastAPI:
    """An app that trusts two issuers.

    Args:
        issuer: serves its keys on loopback.
        unreachable: an issuer whose key server never answers.
        audit: where the audit trail goes.
    """

    def trusted(one: LocalIssuer) -> TrustedIssuer:
        keys = RemoteKeyProvider(
            one.issuer,
            jwks_url=one.jwks_url,
            cooldown_seconds=COOLDOWN_SECONDS,
            insecure_loopback_http=True,
        )
        return TrustedIssuer(one.issuer, AUDIENCE, keys=keys)

    verifier = Verifier(
        trusted(issuer),
        trusted(unreachable),
        revocations=MemoryRevocationStore(),
        limiter=MemoryRateLimiter(),
        limits=[RateLimit(name="api", rate=60, per_seconds=60, burst=BURST, by="subject")],
        audit=audit,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with verifier:
            with auth.using(verifier):
                yield

    app = FastAPI(
        title="authkit demo",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    _add_swagger_ui(app)

    @app.get("/orders")
    async def orders(
        caller: Annotated[Principal, Security(auth, scopes=["orders:read"])],
    ) -> dict[str, object]:
        """The orders, for callers with the scope `orders:read`."""
        return {"orders": ["tea", "biscuits"], "of": caller.subject}

    @app.post("/logout")
    async def logout(caller: Annotated[Principal, Security(auth)]) -> dict[str, float]:
        """Revokes the token that it is called with."""
        receipt = await verifier.revoke(Revocation.of(caller, reason="logout"))
        return {"effective_at": receipt.effective_at}

    @app.post("/lock/{subject}")
    async def lock(
        subject: str, caller: Annotated[Principal, Security(auth, scopes=["admin"])]
    ) -> dict[str, float]:
        """Revokes every token of a subject, for callers with the scope `admin`."""
        revocation = Revocation(
            scope=RevocationScope.SUBJECT, issuer=caller.issuer, id=subject, reason="locked"
        )
        return {"effective_at": (await verifier.revoke(revocation)).effective_at}

    return app


def _add_swagger_ui(app: FastAPI) -> None:
    """Swagger UI, its files from an installed package: the page loads nothing from elsewhere."""
    app.mount("/swagger", StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url="/swagger/swagger-ui-bundle.js",
            swagger_css_url="/swagger/swagger-ui.css",
            swagger_favicon_url="/swagger/favicon-32x32.png",
        )
