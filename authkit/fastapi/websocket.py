"""Ends a WebSocket when the token that opened it is good no longer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.status import WS_1008_POLICY_VIOLATION
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from authkit.errors import TokenExpired, TokenRevoked
from authkit.verifier import TokenWatch

__all__ = ["closed_with_token"]


@asynccontextmanager
async def closed_with_token(websocket: WebSocket, watch: TokenWatch) -> AsyncIterator[None]:
    """Runs the block until the token ends, then cancels it and closes with 1008."""
    try:
        async with watch:
            yield
    except (TokenExpired, TokenRevoked) as error:
        # The block may have verified a token itself: that is for whoever wrote it.
        if error is not watch.ended:
            raise
        await _close(websocket, error.code)


async def _close(websocket: WebSocket, reason: str) -> None:
    states = (websocket.application_state, websocket.client_state)
    if WebSocketState.DISCONNECTED not in states:
        # The caller may hang up at this very moment.
        with suppress(WebSocketDisconnect, RuntimeError):
            await websocket.close(WS_1008_POLICY_VIOLATION, reason)
