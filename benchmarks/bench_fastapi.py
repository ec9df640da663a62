"""What Depends(auth) adds to a route, beside what any dependency adds: in process, no sockets."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import Depends, FastAPI

from authkit import Principal
from authkit.fastapi import Auth
from authkit.jose.signing import SigningKey
from benchmarks.baselines import token_of
from benchmarks.bench_verifier import verifier_with
from benchmarks.measure import Batch, Contender

__all__ = ["route_contenders"]

auth = Auth(trusted_proxies=())
app = FastAPI()


async def nothing() -> None:
    """The cheapest dependency there is."""


@app.get("/open route")
async def open_route() -> str:
    """Without a dependency."""
    return "ok"


@app.get("/empty dependency")
async def empty_dependency(_: Annotated[None, Depends(nothing)]) -> str:
    """Depends on something that does nothing."""
    return "ok"


@app.get("/Depends(auth)")
async def protected(_: Annotated[Principal, Depends(auth)]) -> str:
    """Depends on the caller."""
    return "ok"


async def receive() -> dict[str, Any]:
    """The end of a request without a body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: MutableMapping[str, Any]) -> None:
    """Takes a good answer."""
    if message.get("status", 200) != 200:
        raise AssertionError(f"the app answered {message['status']}")


def requests_to(path: str) -> Batch:
    """Calls the app as a server does."""
    fixed: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
    }
    fixed |= {"scheme": "http", "path": path, "raw_path": path.encode(), "root_path": ""}
    fixed |= {"query_string": b"", "client": ("192.0.2.1", 50_000), "server": ("192.0.2.2", 80)}

    async def run(tokens: Sequence[bytes]) -> None:
        for token in tokens:
            headers = [(b"host", b"test"), (b"authorization", b"Bearer " + token)]
            await app({**fixed, "headers": headers}, receive, send)

    return run


async def route_contenders(stack: AsyncExitStack) -> list[Contender]:
    """The three routes, the token of the protected one cached."""
    key = SigningKey.generate("RS256", kid="k")
    verifier = verifier_with([key], is_cached=True, is_whole=True)
    stack.enter_context(auth.using(await stack.enter_async_context(verifier)))
    names = ("open route", "empty dependency", "Depends(auth)")
    token = token_of(key)
    return [Contender(name=name, batch=requests_to(f"/{name}"), token=token) for name in names]
