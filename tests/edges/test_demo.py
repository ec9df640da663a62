"""`authkit demo` sends real requests to a real server, and tells whether the answers were right."""

from __future__ import annotations

import io
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from rich.console import Console

import authkit.demo.run
from authkit.demo import run_demo, serve_demo
from authkit.demo.scenario import Step, scenario
from authkit.testing import LocalIssuer

PROMISED = [
    "no token",
    "good token",
    "missing scope",
    "tampered",
    "expired",
    "wrong audience",
    "alg: none",
    "key confusion",
    "unknown key",
    "rotated key",
    "revoked token",
    "revoked subject",
    "over the limit",
    "provider down, keys known",
    "provider never reached",
]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as a user runs it."""
    command = [sys.executable, "-c", "from authkit.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


def printed() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=120), text


def test_the_command_shows_every_outcome_and_succeeds() -> None:
    """A row for each, with status, code and microseconds; the exit code is 0."""
    result = run("demo")
    assert result.returncode == 0, result.stdout + result.stderr
    for name in PROMISED:
        assert re.search(rf"{re.escape(name)} +\d{{3}} +\w* +[\d,]+ +ok", result.stdout), name
    assert "18 of 18 answers as expected" in result.stdout


def test_an_unexpected_outcome_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo checks what it shows, and says what it expected."""

    def wrong(issuer: LocalIssuer, unreachable: LocalIssuer) -> Iterator[Step]:
        steps = scenario(issuer, unreachable)
        yield replace(next(steps), status=200, code=None)
        yield next(steps)

    monkeypatch.setattr(authkit.demo.run, "scenario", wrong)
    console, text = printed()
    assert run_demo(console) is False
    assert "1 of 2 answers as expected" in text.getvalue()
    assert "no token: expected 200" in text.getvalue()


@pytest.fixture
def served() -> Iterator[tuple[str, str]]:
    """The address of a demo that stays up, and the token that it printed."""
    console, text = printed()
    until = threading.Event()
    server = threading.Thread(target=serve_demo, args=(console, 0, until))
    server.start()
    try:
        while server.is_alive() and "Ctrl-C" not in text.getvalue():
            server.join(0.05)
        url = re.search(r"(http://\S+)/docs", text.getvalue())
        token = re.search(r"^(ey\S+)$", text.getvalue(), re.MULTILINE)
        assert url
        assert token
        yield url[1], token[1]
    finally:
        until.set()
        server.join()


def test_the_printed_token_opens_the_served_app(served: tuple[str, str]) -> None:
    """Until it is stopped."""
    url, token = served
    answer = httpx.get(f"{url}/orders", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["of"] == "alice"
    assert httpx.get(f"{url}/orders").status_code == 401


def test_swagger_ui_loads_nothing_from_elsewhere(served: tuple[str, str]) -> None:
    """Its page names addresses of the app alone, and the app serves them."""
    url, _ = served
    page = httpx.get(f"{url}/docs").text
    assets = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page)
    assert len(assets) >= 3
    for asset in assets:
        address = httpx.URL(url).join(asset)
        assert str(address).startswith(url), asset
        assert httpx.get(address).status_code == 200
    document = httpx.get(f"{url}/openapi.json").json()
    assert document["paths"]["/orders"]["get"]["security"] == [{"bearer": ["orders:read"]}]


def test_a_port_that_is_taken_is_said_so() -> None:
    """With what to do, and not with a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("demo", "--serve", "--port", str(taken.getsockname()[1]))
    assert result.returncode == 1
    assert "--port" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_command_explains_itself() -> None:
    """Without arguments, and with --help."""
    for arguments in ((), ("--help",), ("demo", "--help")):
        assert "demo" in run(*arguments).stdout


def test_without_its_extra_the_command_says_what_to_install() -> None:
    """Not with a traceback."""
    code = "import sys; sys.modules['typer'] = None; from authkit.cli import main; main()"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert result.returncode == 1
    assert "pip install 'pyauthkit[cli]'" in result.stderr
    assert "Traceback" not in result.stderr
