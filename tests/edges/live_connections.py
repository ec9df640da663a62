"""What becomes of open connections when their token is revoked, on whatever store.

Subclass `LiveConnections` for a store, with a fixture `make_store`.
"""

# Annotations are not postponed here: FastAPI could not find the local names in those of routes.

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from authkit.clock import Clock, SystemClock
from authkit.errors import TokenRevoked
from authkit.fastapi import Auth
from authkit.interfaces import Revocation, RevocationScope, RevocationStore
from authkit.policy import ClaimMapping
from authkit.principal import Principal
from authkit.testing.loopback import LoopbackServer
from tests.unit.verifier.bench import ISSUER, Bench

__all__ = ["LiveConnections", "MakeStore"]

MakeStore = Callable[[Clock], RevocationStore]


class Service:
    """An app with a WebSocket, two kinds of streams, and a way to revoke; and a server around it.

    Attributes:
        closed: the sources of streams that were closed, by their caller's subject.
    """

    def __init__(self, make_store: MakeStore) -> None:
        self.bench = Bench()
        self.bench.clock = SystemClock()
        self.closed: list[str | None] = []
        self.auth = Auth()
        self._make_store = make_store
        self.app = FastAPI(lifespan=self.lifespan)
        self.add_routes(self.app, self.auth)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        store = self._make_store(self.bench.clock)
        async with self.bench.verifier(revocations=store) as self.verifier:
            with self.auth.using(self.verifier):
                yield

    def add_routes(self, app: FastAPI, auth: Auth) -> None:
        @app.websocket("/listen")
        async def listen(websocket: WebSocket, who: Annotated[Principal, Depends(auth)]) -> None:
            await websocket.accept()
            async with auth.watch(websocket, who):
                async for text in websocket.iter_text():
                    await websocket.send_text(text)

        async def news(who: Principal) -> AsyncIterator[str]:
            try:
                yield "first\n"
                await asyncio.Event().wait()
            finally:
                self.closed.append(who.subject)

        @app.get("/lines")
        async def lines(who: Annotated[Principal, Depends(auth)]) -> StreamingResponse:
            return StreamingResponse(auth.watch_stream(news(who), who))

        @app.get("/events", response_class=EventSourceResponse)
        async def events(who: Annotated[Principal, Depends(auth)]) -> AsyncIterator[str]:
            async for item in auth.watch_stream(news(who), who):
                yield item

        @app.post("/revoke/{scope}")
        async def revoke(scope: RevocationScope, who: Annotated[Principal, Depends(auth)]) -> None:
            await self.verifier.revoke(Revocation.of(who, scope))

    def headers(self, subject: str = "alice") -> dict[str, str]:
        """The credential of this caller, a new one for each call."""
        token = self.bench.token(sub=subject, jti=f"token of {subject}")
        return {"Authorization": f"Bearer {token}"}


class LiveConnections:
    """Tests that every store which feeds its subscribers must pass."""

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Makes the store of one process, in the loop that it serves; a Verifier enters it.

        What is revoked in one is known to all that it makes.
        """
        raise NotImplementedError

    @pytest.fixture
    def service(self, make_store: MakeStore) -> Service:
        return Service(make_store)

    @pytest.mark.parametrize("scope", [RevocationScope.TOKEN, RevocationScope.SUBJECT])
    async def test_the_sockets_of_a_revoked_caller_are_closed_at_once(
        self, service: Service, scope: RevocationScope
    ) -> None:
        """All of them, with 1008 and the reason, and nobody else's."""
        alice, bob = service.headers("alice"), service.headers("bob")
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(LoopbackServer(service.app))
            url = server.url.replace("http", "ws")

            async def opened(headers: dict[str, str]) -> Any:
                socket = await stack.enter_async_context(
                    connect(f"{url}/listen", additional_headers=headers, proxy=None)
                )
                await socket.send("hello")
                assert await socket.recv() == "hello"
                return socket

            hers = [await opened(alice) for _ in range(5)]
            his = await opened(bob)
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=server.url))
            answer = await client.post(f"/revoke/{scope}", headers=alice)
            assert answer.status_code == 200
            async with asyncio.timeout(2):
                for socket in hers:
                    with pytest.raises(ConnectionClosed) as caught:
                        await socket.recv()
                    assert caught.value.rcvd is not None
                    closing = (caught.value.rcvd.code, caught.value.rcvd.reason)
                    assert closing == (1008, "token_revoked")
            await his.send("still there")
            assert await his.recv() == "still there"

    @pytest.mark.parametrize("path", ["/lines", "/events"])
    async def test_the_stream_of_a_revoked_caller_ends_at_once(
        self, service: Service, path: str
    ) -> None:
        """The response is complete, its source is closed, and nobody else's is."""
        alice, bob = service.headers("alice"), service.headers("bob")
        async with (
            LoopbackServer(service.app) as server,
            httpx.AsyncClient(base_url=server.url) as client,
            client.stream("GET", path, headers=alice) as hers,
            client.stream("GET", path, headers=bob) as his,
        ):
            her_pieces, his_pieces = hers.aiter_text(), his.aiter_text()
            assert "first" in await anext(her_pieces)
            assert "first" in await anext(his_pieces)
            assert (await client.post("/revoke/token", headers=alice)).status_code == 200
            async with asyncio.timeout(2):
                assert "".join([piece async for piece in her_pieces]).strip() == ""
            assert service.closed == ["alice"]
        assert sorted(service.closed, key=str) == ["alice", "bob"]

    @pytest.mark.parametrize(
        "revocation",
        [
            {"scope": RevocationScope.TOKEN, "id": "t-1"},
            {"scope": RevocationScope.SESSION, "id": "s-1"},
            {"scope": RevocationScope.SUBJECT, "id": "alice"},
            {"scope": RevocationScope.CLIENT, "id": "web"},
            {"scope": RevocationScope.ISSUER, "id": ""},
            {"scope": RevocationScope.VERSION, "id": "alice", "minimum_version": 4},
            {"scope": RevocationScope.KEY},
        ],
        ids=lambda revocation: revocation["scope"],
    )
    async def test_every_scope_ends_what_it_covers(
        self, make_store: MakeStore, revocation: dict[str, Any]
    ) -> None:
        """A live token is asked for by all that its signature vouches for."""
        bench = Bench()
        bench.clock = SystemClock()
        issuer = bench.issuer(mapping=ClaimMapping(token_version=("ver",)))
        store = make_store(bench.clock)
        async with bench.verifier(issuer, revocations=store) as verifier:
            caller = await verifier.verify(bench.token(sid="s-1", ver=3))
            fields = {"id": bench.keys.keys[0].thumbprint, "issuer": ISSUER, **revocation}

            async def connection() -> None:
                async with asyncio.timeout(2), verifier.watch(caller):
                    await verifier.revoke(Revocation(**fields))
                    await asyncio.Event().wait()

            with pytest.raises(TokenRevoked) as caught:
                await connection()
            assert caught.value.scope == revocation["scope"]

    async def test_a_revocation_made_elsewhere_ends_it_too(self, make_store: MakeStore) -> None:
        """By another Verifier, which a store that is shared may have in another process."""
        bench = Bench()
        bench.clock = SystemClock()
        async with (
            bench.verifier(revocations=make_store(bench.clock)) as here,
            bench.verifier(revocations=make_store(bench.clock)) as there,
        ):
            caller = await here.verify(bench.token())

            async def connection() -> None:
                async with asyncio.timeout(5), here.watch(caller):
                    await there.revoke(Revocation.of(caller))
                    await asyncio.Event().wait()

            with pytest.raises(TokenRevoked):
                await connection()

    async def test_what_does_not_cover_a_token_leaves_it_alone(self, make_store: MakeStore) -> None:
        """A neighbour's revocation is only a sign to ask again."""
        bench = Bench()
        bench.clock = SystemClock()
        store = make_store(bench.clock)
        async with bench.verifier(revocations=store) as verifier:
            caller = await verifier.verify(bench.token())
            async with verifier.watch(caller) as watch:
                for number in range(20):
                    await verifier.revoke(
                        Revocation(scope=RevocationScope.TOKEN, issuer=ISSUER, id=f"x{number}")
                    )
                await asyncio.sleep(0.05)
            assert watch.ended is None
