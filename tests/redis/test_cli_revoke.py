"""`authkit revoke` beside an app: what one says on the command line, the other refuses."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from authkit.interfaces import TokenFacts
from authkit_redis import RedisBackends
from tests.redis.servers import RedisServer, free_port

pytestmark = pytest.mark.anyio

# What a version of Redis could do differently is the store's matter, and tested with it.
on_one_version = True

ISSUER = "https://login.example.com"
SECRET = b"0123456789abcdef\x00\xff"
THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
ENOUGH_SECONDS = 10.0


def token(**facts: Any) -> TokenFacts:
    """A verified token of alice's."""
    return TokenFacts(
        **{
            "issuer": ISSUER,
            "token_id": "t-1",
            "subject": "alice",
            "client_id": "shop",
            "session_id": "s-1",
            "issued_at": 1_000.0,
            "expires_at": 2e9,
            "token_version": 3,
            "key_thumbprint": THUMBPRINT,
            **facts,
        }
    )


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    return file


def run(
    *arguments: str, id: str, url: str, secret_file: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The command, as an operator runs it, with one prefix for all of this file."""
    environment = {name: os.environ[name] for name in os.environ if name[:8] != "AUTHKIT_"}
    environment |= {"AUTHKIT_REDIS_URL": url, "AUTHKIT_REDIS_PREFIX": "shop"}
    if secret_file is not None:
        environment["AUTHKIT_SECRET_FILE"] = str(secret_file)
    program = "from authkit.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, "revoke", *arguments, "--issuer", ISSUER],
        input=id,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env=environment,
    )


def app(url: str) -> RedisBackends:
    """What an app has."""
    return RedisBackends.from_url(url, prefix="shop", secret=SECRET)


@pytest.mark.parametrize(
    ("scope", "id", "more"),
    [
        ("token", "t-1", ()),
        ("session", "s-1", ()),
        ("subject", "alice", ()),
        ("client", "shop", ()),
        ("issuer", "", ("--yes",)),
        ("version", "alice", ("--minimum-version", "4")),
        ("key", THUMBPRINT, ()),
    ],
)
async def test_an_app_learns_of_what_is_revoked_and_lifted(
    scope: str, id: str, more: tuple[str, ...], redis_server: RedisServer, secret_file: Path
) -> None:
    """A running one by its feed, and one that begins later from what Redis keeps."""
    url = redis_server.url
    async with app(url) as redis, redis.revocations as store:
        assert await store.wait_until_fresh(ENOUGH_SECONDS)
        feed = store.subscribe()
        assert await store.find(token()) is None

        arguments = (scope, "--json", *more)
        revoked = await asyncio.to_thread(run, *arguments, id=id, url=url, secret_file=secret_file)
        assert revoked.returncode == 0, revoked.stderr
        heard = await asyncio.wait_for(anext(feed), ENOUGH_SECONDS)
        assert (heard.scope.value, heard.issuer) == (scope, ISSUER)
        assert await store.find(token()) is not None
        receipt = json.loads(revoked.stdout)
        assert (receipt["scope"], receipt["id"]) == (scope, id)
        assert json.loads(revoked.stderr)["type"] == "token.revoked"

    async with app(url) as redis, redis.revocations as store:
        assert await store.find(token()) is not None
        lifted = await asyncio.to_thread(
            run, scope, "--lift", id=id, url=url, secret_file=secret_file
        )
        assert lifted.returncode == 0, lifted.stderr
        async with asyncio.timeout(ENOUGH_SECONDS):
            while await store.find(token()) is not None:  # noqa: ASYNC110 # no feed tells of it
                await asyncio.sleep(0.01)


async def test_a_list_of_a_thousand_is_revoked(
    redis_server: RedisServer, secret_file: Path, tmp_path: Path
) -> None:
    """With a receipt for each, and an app knows them all."""
    ids = [f"t-{number}" for number in range(1_000)]
    list_file = tmp_path / "ids"
    list_file.write_text("\n".join(ids))
    result = await asyncio.to_thread(
        run,
        "token",
        "--json",
        "--id-file",
        str(list_file),
        id="",
        url=redis_server.url,
        secret_file=secret_file,
    )
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ids
    async with app(redis_server.url) as redis, redis.revocations as store:
        assert await store.wait_until_fresh(ENOUGH_SECONDS)
        for id in ids:
            assert await store.find(token(token_id=id)) is not None
        assert await store.find(token(token_id="t-1000")) is None


def test_another_secret_than_that_of_the_apps_is_refused(
    redis_server: RedisServer, secret_file: Path
) -> None:
    """For it would take nothing back."""
    url = redis_server.url
    assert run("token", id="t-1", url=url, secret_file=secret_file).returncode == 0
    result = run("token", id="t-1", url=url)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "secret" in result.stderr


def test_a_server_that_is_not_there_is_an_outage(secret_file: Path) -> None:
    """Said soon, and without the password in the address."""
    url = f"redis://operator:hunter2@127.0.0.1:{free_port()}/0"
    result = run("token", id="t-1", url=url, secret_file=secret_file)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "doing all of it again is safe" in result.stderr
    assert "hunter2" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_password_is_not_shown(redis_binary: Path) -> None:
    """Nor is the right one; and nothing was done."""
    with RedisServer(redis_binary, password="correcthorse") as server:
        url = f"redis://:hunter2@127.0.0.1:{server.port}/0"
        result = run("token", id="t-1", url=url)
    assert result.returncode in (1, 2)
    assert result.stdout == ""
    assert "hunter2" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "url", ["http://operator:hunter2@127.0.0.1", "redis://operator:hunter2@127.0.0.1:port", "x"]
)
def test_an_address_that_makes_no_sense_is_refused(url: str) -> None:
    """Without being quoted."""
    result = run("token", id="t-1", url=url)
    assert result.returncode == 2
    assert "hunter2" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "option",
    ["--max-staleness-seconds=nan", "--max-staleness-seconds=0", "--max-token-lifetime-seconds=-1"],
)
def test_a_number_that_makes_no_sense_is_refused(option: str, redis_server: RedisServer) -> None:
    """By its name."""
    result = run("token", option, id="t-1", url=redis_server.url)
    assert result.returncode == 2
    assert option.partition("=")[0].removeprefix("--").replace("-", "_") in result.stderr


async def test_a_prefix_that_no_app_has_is_doubted(redis_server: RedisServer) -> None:
    """A mistyped one takes nothing back, whatever the receipt says of it."""
    doubted = run("subject", id="alice", url=redis_server.url)
    assert doubted.returncode == 0
    assert "no app has ever followed the revocations under the prefix shop" in doubted.stderr
    async with RedisBackends.from_url(redis_server.url, prefix="shop") as redis, redis.revocations:
        followed = run("subject", id="alice", url=redis_server.url)
    assert "no app" not in followed.stderr
