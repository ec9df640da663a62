"""What a client under test finds on the web."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

from authkit.jose.signing import SigningKey

ISSUER = "https://login.example.com"
JWKS_URL = "https://keys.example.com/jwks"
KEY = SigningKey.generate("ES256", kid="a")
JWKS = json.dumps({"keys": [KEY.public_jwk()]}).encode()
OTHER_JWKS = json.dumps({"keys": [SigningKey.generate("ES256", kid="b").public_jwk()]}).encode()

OIDC = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"

BAD_ADDRESSES = [
    None,
    7,
    ["https://login.example.com"],
    {"https": 1},
    "",
    "login.example.com/jwks",
    "/jwks",
    "//login.example.com/jwks",
    "https:/login.example.com",
    "https:login.example.com",
    "https://",
    "https:///jwks",
    "https://:443/",
    "https://login.example.com:0/",
    "https://login.example.com:99999/",
    "https://login.example.com:port/",
    "https://login.example.com#",
    "https://login.example.com/#fragment",
    "https://user@login.example.com/",
    "https://user:password@login.example.com/",
    "https://login.example.com\\@evil.example/",
    "https://login.example.com\n/jwks",
    "\thttps://login.example.com/",
    " https://login.example.com/",
    "https://login.example.com/ jwks",
    "https://login.ex\x00ample.com/",
    "https://bücher.example/",
    "https://login%2eexample.com/",
    "https://-login.example.com/",
    "https://[::1/",
    "https://[zz]/",
    "https://" + "a" * 2048,
    "http://login.example.com/jwks",
    "http://169.254.169.254/latest/meta-data",
    "http://localhost.evil.example/",
    "http://127.0.0.1.evil.example/",
    "http://0x7f.0.0.1/",
    "http://127.1/",
    "http://0.0.0.0/",
    "http://[::]/",
    "http://10.0.0.1/",
    "ftp://localhost/jwks",
    "file:///etc/passwd",
    "data:application/json,{}",
    "javascript:alert(1)",
    "redis://localhost/",
]


class Web:
    """What the client under test finds on the web: an answer for each address.

    Attributes:
        pages: by address; an answer is a body, a status, (status, headers, body) or an error.
        asked: the requests, in order.
    """

    def __init__(self, http: ModuleType) -> None:
        self.http = http
        self.pages: dict[str, Any] = {}
        self.asked: list[Any] = []

    @property
    def urls(self) -> list[str]:
        return [str(request.url) for request in self.asked]

    def client(self) -> Any:
        return self.http.AsyncClient(transport=self.http.MockTransport(self.answer))

    async def answer(self, request: Any) -> Any:
        self.asked.append(request)
        page = self.pages.get(str(request.url), 404)
        if isinstance(page, BaseException):
            raise page
        if callable(page):
            page = await page(request)
        if isinstance(page, int):
            page = (page, {}, b"")
        if isinstance(page, bytes):
            page = (200, {}, page)
        status, headers, body = page
        return self.http.Response(status, headers=headers, content=body)

    def publish(self, issuer: str = ISSUER, jwks_uri: object = JWKS_URL) -> None:
        """Puts a discovery document and a key set up."""
        self.pages[issuer.removesuffix("/") + OIDC] = metadata(issuer, jwks_uri)
        self.pages[JWKS_URL] = JWKS


def metadata(issuer: object = ISSUER, jwks_uri: object = JWKS_URL) -> bytes:
    return json.dumps({"issuer": issuer, "jwks_uri": jwks_uri, "more": {"a": [1]}}).encode()
