"""The guards of the test suite catch what they are there for."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from types import ModuleType

import pytest

import authkit
from tests.guards import BlockingCall


def block() -> None:
    """Blocks, from a frame that is not authkit's."""
    time.sleep(0.001)


def in_authkit(source: str) -> ModuleType:
    """A module whose frames look as if they were authkit's own."""
    file = str(Path(authkit.__path__[0]) / "guarded.py")
    module = ModuleType("guarded")
    exec(compile(source, file, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "login.example.com"])
def test_a_connection_to_another_machine_fails_the_test(host: str) -> None:
    """Neither an address nor a name of another machine can be connected to."""
    with pytest.raises(pytest.fail.Exception, match="loopback addresses only"):
        socket.create_connection((host, 443), timeout=1)


def test_a_loopback_connection_is_allowed() -> None:
    """Servers that a test starts on this machine can be reached, by name too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("localhost", port), timeout=5):
            pass


@pytest.mark.anyio
async def test_an_asyncio_connection_to_another_machine_fails_the_test() -> None:
    """The event loop's own connections pass the same guard."""
    with pytest.raises(pytest.fail.Exception, match="loopback addresses only"):
        await asyncio.open_connection("192.0.2.1", 443)


@pytest.mark.anyio
async def test_a_blocking_call_of_authkit_is_found(blocking_calls: list[str]) -> None:
    """It raises at the call, and is remembered for when the code under test swallows that."""
    guarded = in_authkit("import time\nasync def block():\n    time.sleep(0.001)\n")
    with pytest.raises(BlockingCall):
        await guarded.block()
    (found,) = blocking_calls
    blocking_calls.clear()
    assert found.startswith(f"time.sleep <- {guarded.block.__code__.co_filename}:3")


@pytest.mark.anyio
async def test_a_blocking_call_of_the_test_itself_is_its_own_affair() -> None:
    """Only authkit's frames are watched: what a test does for itself may block."""
    block()


def test_blocking_outside_of_an_event_loop_is_allowed() -> None:
    """The commands may block as they like."""
    in_authkit("import time\ndef block():\n    time.sleep(0.001)\n").block()
