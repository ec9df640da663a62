"""Ends a WebSocket when the token that opened it expires."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.status import WS_1008_POLICY_VIOLATION
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from authkit.clock import Clock
from authkit.principal import Principal

__all__ = ["closed_on_expiry"]

# The wall clock may be set, and a timer stands still while the machine sleeps: so no single
# timer is trusted with a whole token lifetime.
_LONGEST_WAIT_SECONDS = 60.0


@asynccontextmanager
async def closed_on_expiry(
    websocket: WebSocket, principal: Principal, clock: Clock
) -> AsyncIterator[None]:
    """Runs the block until `principal.expires_at`, then cancels it and closes with 1008."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None
    deadline = asyncio.timeout(None)

    def look() -> None:
        nonlocal timer
        left = principal.expires_at - clock.time()
        if left <= 0:
            deadline.reschedule(loop.time())
        else:
            timer = loop.call_later(min(left, _LONGEST_WAIT_SECONDS), look)

    try:
        async with deadline:
            look()
            yield
    except TimeoutError:
        # One that the block raised of its own is not ours.
        if not deadline.expired():
            raise
    finally:
        if timer is not None:
            timer.cancel()
    if deadline.expired():
        await _close(websocket)


async def _close(websocket: WebSocket) -> None:
    states = (websocket.application_state, websocket.client_state)
    if WebSocketState.DISCONNECTED not in states:
        # The caller may hang up at this very moment.
        with suppress(WebSocketDisconnect, RuntimeError):
            await websocket.close(WS_1008_POLICY_VIOLATION, "token_expired")
