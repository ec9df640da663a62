"""The certified OpenID Provider of `tests/idp`: starts it, and plays its clients and users."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

__all__ = ["API", "Provider", "loopback_client", "running_provider"]

API = "urn:test:api"
"""The audience of its access tokens, unless another is asked for."""

_IDP = Path(__file__).parent.parent / "idp"
_REDIRECT = "http://127.0.0.1:9/callback"
_SERVICE = ("svc", "svc-secret-svc-secret-svc-secret")
_START_SECONDS = 30.0


def loopback_client(base_url: str = "") -> httpx.AsyncClient:
    """A client for this machine: no proxy, and no certificates, which take long to load."""
    return httpx.AsyncClient(base_url=base_url, trust_env=False, verify=False)


class Provider:
    """A running provider: what its clients and its users do, and its control port."""

    def __init__(self, process: subprocess.Popen[str], issuer: str, control: str) -> None:
        self._process = process
        self._control = control
        self.issuer = issuer

    async def service_token(self, scope: str = "items:read", *, resource: str = API) -> str:
        """An access token of the client `svc` by client credentials (RFC 6749 section 4.4)."""
        form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
        async with loopback_client() as client:
            reply = await client.post(f"{self.issuer}/token", data=form, auth=_SERVICE)
        reply.raise_for_status()
        return str(reply.json()["access_token"])

    async def login(self, user: str, *, scope: str = "openid profile items:read") -> dict[str, Any]:
        """What the client `spa` gets when `user` logs in and consents (code + PKCE, RFC 7636)."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        request = {
            "client_id": "spa",
            "response_type": "code",
            "redirect_uri": _REDIRECT,
            "scope": scope,
            "resource": API,
            "nonce": secrets.token_urlsafe(8),
            "state": secrets.token_urlsafe(8),
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        async with loopback_client(self.issuer) as browser:
            answer = await _authorization(browser, request, user)
            assert answer["state"] == request["state"]
            exchange = {
                "grant_type": "authorization_code",
                "client_id": "spa",
                "code": answer["code"],
                "code_verifier": verifier,
                "redirect_uri": _REDIRECT,
            }
            reply = await browser.post("/token", data=exchange)
        reply.raise_for_status()
        return dict(reply.json())

    async def rotate(self, *, keep: bool) -> None:
        """New signing keys; `keep` still publishes the old ones."""
        await self._control_call("POST", "/rotate", {"keep": keep})

    async def fault(self, **fault: Any) -> None:
        """Answers for keys and metadata by a `status`, `garbage` or a `delayMs`; nothing heals."""
        paths = ("/jwks", "/.well-known/openid-configuration")
        await self._control_call("POST", "/faults", dict.fromkeys(paths, fault) if fault else {})

    async def tweak(self, **claims: Any) -> None:
        """Signs these claims into every later JWT access token; None removes one."""
        await self._control_call("POST", "/tweak", claims)

    async def lifetime(self, seconds: int) -> None:
        """How long later tokens live."""
        await self._control_call("POST", "/ttl", {"access": seconds})

    async def hits(self, path: str = "/jwks") -> int:
        """How often a path was asked for."""
        return int((await self._control_call("GET", "/hits")).get(path, 0))

    async def heal(self) -> None:
        """Takes back all that the control port changed, except for rotations."""
        await self.fault()
        await self.tweak()
        await self.lifetime(300)
        await self._control_call("POST", "/hits/reset")

    def stop(self) -> None:
        """Ends the process; connections are refused from then on."""
        self._process.terminate()
        self._process.wait(5)

    async def _control_call(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        async with loopback_client(self._control) as client:
            reply = await client.request(method, path, json=body or {})
        reply.raise_for_status()
        return dict(reply.json())


async def _authorization(
    browser: httpx.AsyncClient, request: dict[str, str], user: str
) -> httpx.QueryParams:
    """Follows redirects and fills forms in, as a browser with a user would, until the callback."""
    reply = await browser.get("/auth", params=request)
    for _ in range(20):
        if not reply.is_redirect:
            action = re.search(r'<form[^>]* action="([^"]+)"', reply.text)
            assert action is not None, f"a page without a form: {reply.status_code} {reply.text}"
            form = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', reply.text))
            if form["prompt"] == "login":
                form |= {"login": user, "password": "any"}
            reply = await browser.post(html.unescape(action[1]), data=form)
        elif reply.headers["location"].startswith(_REDIRECT):
            return httpx.URL(reply.headers["location"]).params
        else:
            reply = await browser.get(reply.headers["location"])
    raise AssertionError("the login did not come to an end")


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Starts a provider on free ports, and ends it by its process id.

    Where Node.js or the provider's packages are missing, the test is skipped, and fails in CI.
    """
    process = subprocess.Popen(
        [_node(), str(_IDP / "idp.mjs")],
        env={},  # it is configured by its environment
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        try:
            where = _announcement(process)
            yield Provider(process, where["issuer"], where["control"])
        finally:
            process.terminate()


def _node() -> str:
    # That of the virtual environment, where the machine has none.
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    node = shutil.which("node", path=os.environ.get("PATH")) or shutil.which("node", path=places)
    if node is None:
        _missing("Node.js", "./scripts/test installs one")
    if not (_IDP / "node_modules" / "oidc-provider").is_dir():
        _missing("the package oidc-provider", "./scripts/test or `npm ci` in tests/idp installs it")
    return node


def _missing(what: str, remedy: str) -> NoReturn:
    reason = f"the OpenID Provider of the tests cannot start: {what} is missing; {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _announcement(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The line of JSON that the provider prints once it answers, after notices of its library."""
    assert process.stdout is not None
    printed = []
    too_slow = threading.Timer(_START_SECONDS, process.kill)
    too_slow.start()
    try:
        for line in process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
            printed.append(line)
    finally:
        too_slow.cancel()
    raise RuntimeError(f"the OpenID Provider did not start:\n{''.join(printed)}")
