"""What no test may do, found out while it runs: talk to another machine, block the event loop."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import extract_stack
from typing import Any

import blockbuster.blockbuster as detector
import pytest

__all__ = ["blocking_calls_refused", "loopback_only"]


def _is_loopback(host: Any) -> bool:
    if host is None or host in ("", "localhost", b"localhost"):
        return True
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse(host: Any) -> None:
    # A BaseException: code under test that turns every Exception into an outage cannot hide it.
    pytest.fail(f"a test may reach loopback addresses only, not {host!r}")


@contextmanager
def loopback_only() -> Iterator[None]:
    """Refuses to connect to, send to, or look up anything that is not this machine."""

    def guarded(original: Callable[..., Any], address_index: int) -> Callable[..., Any]:
        def call(sock: socket.socket, *arguments: Any) -> Any:
            address = arguments[address_index]
            if sock.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
                _refuse(address[0])
            return original(sock, *arguments)

        return call

    def look_up(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(host: Any, *arguments: Any, **options: Any) -> Any:
            if not _is_loopback(host) and host != socket.gethostname():
                _refuse(host)
            return original(host, *arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        # sendto takes optional flags in the middle, so its address is the last argument.
        for name, index in (("connect", 0), ("connect_ex", 0), ("sendto", -1)):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), index))
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            patch.setattr(socket, name, look_up(getattr(socket, name)))
        yield


# What may block all the same: the function, and the function of a file within which it may.
HARMLESS = (
    # Where log records go is an application's choice; pytest's is the null device.
    ("io.TextIOWrapper.write", "logging/__init__.py", "emit"),
    ("io.BufferedWriter.write", "logging/__init__.py", "emit"),
    # Another thread imports the same module: httpcore tries for one that is not there at each use.
    ("threading.Lock.acquire", "<frozen importlib._bootstrap>", "_find_and_load"),
    # Hypothesis looks for the lines that made an example fail.
    ("os.path.abspath", "hypothesis/internal/scrutineer.py", "trace"),
)


class BlockingCall(detector.BlockingError):
    """A call that would have stopped the event loop; remembered, since it may be swallowed."""

    seen: list[str] = []  # noqa: RUF012 # what one process saw: the guard empties it

    def __init__(self, function: str) -> None:
        # The innermost two frames are this one and the detector's own.
        callers = [f"{frame.filename}:{frame.lineno}" for frame in extract_stack()[-3::-1]]
        super().__init__(function)
        self.seen.append(f"{function} <- " + " <- ".join(callers[:12]))


@contextmanager
def blocking_calls_refused(*packages: str) -> Iterator[list[str]]:
    """Refuses what blocks, if a frame of these packages calls it within a running event loop.

    Yields:
        The blocking functions that were called; whoever finds some in it fails the test.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "BlockingError", BlockingCall)
        with detector.blockbuster_ctx(packages) as detecting:
            for function, file, within in HARMLESS:
                detecting.functions[function].can_block_in(file, within)
            yield BlockingCall.seen
