"""`authkit revoke` does what it says, or says that it did not, and lets no id or secret out."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
import typer
from typer.testing import CliRunner, Result

from authkit.cli.revoke import revoke
from authkit.errors import BackendUnavailable, ConfigurationError
from authkit.interfaces import Revocation, RevocationReceipt, RevocationScope, TokenFacts
from authkit_memory import MemoryRevocationStore

ISSUER = "https://login.example.com"
URL = "redis://operator:hunter2@127.0.0.1:6379/0"
THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
WHOLE_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


class Store(MemoryRevocationStore):
    """A store in memory that can be told to fail, and counts the calls under way."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: dict[str, Exception] = {}
        self.asked: list[Revocation] = []
        self.most_at_once = self.at_once = 0

    async def revoke(self, revocation: Revocation) -> RevocationReceipt:
        self.asked.append(revocation)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if revocation.id in self.failing:
            raise self.failing[revocation.id]
        receipt = await super().revoke(revocation)
        return RevocationReceipt(
            revocation=receipt.revocation, effective_at=receipt.effective_at + 5
        )

    async def covers(self, **facts: Any) -> bool:
        return await self.find(token(**facts)) is not None


class Backends:
    """Stands in for RedisBackends, and keeps what it was made of."""

    def __init__(self) -> None:
        self.revocations = Store()
        self.url: str | None = None
        self.options: dict[str, Any] = {}
        self.is_open = False
        self.refusal: Exception | None = None

    def as_module(self) -> ModuleType:
        """What stands in for the package authkit_redis."""
        module = ModuleType("authkit_redis")
        module.RedisBackends = self  # type: ignore[attr-defined] # which is what it is for
        return module

    def from_url(self, url: str, **options: Any) -> Self:
        self.url, self.options = url, options
        return self

    async def __aenter__(self) -> Self:
        if self.refusal is not None:
            raise self.refusal
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open = False


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
def backends(monkeypatch: pytest.MonkeyPatch) -> Backends:
    made = Backends()
    monkeypatch.setitem(sys.modules, "authkit_redis", made.as_module())
    for name in [name for name in os.environ if name.startswith("AUTHKIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AUTHKIT_REDIS_URL", URL)
    monkeypatch.setenv("AUTHKIT_REDIS_PREFIX", "orders")
    return made


Command = Callable[..., Result]


@pytest.fixture
def command() -> Command:
    """Runs the command with arguments and standard input; only errors of its own are caught."""
    app = typer.Typer()
    app.command(context_settings={"allow_extra_args": True})(revoke)

    def run(*arguments: str, input: str | bytes = "") -> Result:
        result = CliRunner().invoke(app, arguments, input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        # Whatever happens, the password is not told.
        assert "hunter2" not in result.output
        return result

    return run


def audited(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines of the audit trail."""
    return [
        json.loads(record.getMessage())
        for record in caplog.records
        if record.name == "authkit_audit"
    ]


SCOPES = [
    ("token", "t-1", ()),
    ("session", "s-1", ()),
    ("subject", "alice", ()),
    ("client", "shop", ()),
    ("issuer", "", ("--yes",)),
    ("version", "alice", ("--minimum-version", "4")),
    ("key", THUMBPRINT, ()),
]


@pytest.mark.parametrize(("scope", "id", "more"), SCOPES)
def test_every_scope_is_revoked_put_on_record_and_lifted(
    scope: str,
    id: str,
    more: tuple[str, ...],
    backends: Backends,
    command: Command,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The token is covered, then it is not, and one audit line tells of each."""
    store = backends.revocations
    result = command(scope, "--issuer", ISSUER, "--reason", "stolen", *more, input=f"{id}\n")
    assert result.exit_code == 0, result.output
    assert asyncio.run(store.covers())
    assert result.stdout.startswith("revoked: ")
    assert id in result.stdout

    result = command(scope, "--issuer", ISSUER, "--lift", input=id)
    assert result.exit_code == 0, result.output
    assert not asyncio.run(store.covers())
    assert result.stdout.startswith("lifted: ")

    revoked, lifted = audited(caplog)
    assert (revoked["type"], lifted["type"]) == ("token.revoked", "revocation.lifted")
    for event in (revoked, lifted):
        assert event["outcome"] == "accepted"
        assert (event["issuer"], event["data"]["scope"], event["data"]["id"]) == (ISSUER, scope, id)
    assert revoked["data"]["reason"] == "stolen"
    assert not backends.is_open


def test_all_scopes_are_tested() -> None:
    """The list of this file is whole."""
    assert {scope for scope, _, _ in SCOPES} == set(RevocationScope)


def test_json_is_one_receipt_a_line_and_nothing_else(backends: Backends, command: Command) -> None:
    """What a program reads holds every member, null where it has no meaning."""
    result = command("subject", "--issuer", ISSUER, "--json", input="alice\nb\u00f6b\n")
    receipts = [json.loads(line) for line in result.stdout.splitlines()]
    assert [receipt["id"] for receipt in receipts] == ["alice", "b\u00f6b"]
    for receipt in receipts:
        assert receipt["scope"] == "subject"
        assert receipt["issuer"] == ISSUER
        assert receipt["minimum_version"] is None
        assert receipt["is_lifted"] is False
        assert receipt["expires_at"] == receipt["issued_until"] + 86_400
        assert receipt["effective_at"] == pytest.approx(receipt["issued_until"] + 5, abs=1)
    lifted = json.loads(
        command("subject", "--issuer", ISSUER, "--lift", "--json", input="alice").stdout
    )
    assert lifted["is_lifted"] is True
    assert lifted["issued_until"] is lifted["expires_at"] is None


def test_a_receipt_for_people_says_what_until_when_and_from_when(
    backends: Backends, command: Command
) -> None:
    """With its moments in UTC."""
    result = command(
        "subject", "--issuer", ISSUER, "--issued-until", "2026-03-01T10:30:00.5+01:00", input="al"
    )
    assert f"revoked: subject al of {ISSUER}\n" in result.stdout
    assert "issued until            2026-03-01T09:30:00.500Z" in result.stdout
    assert re.search(r"remembered until        \d{4}-\d\d-\d\dT[\d:.]{12}Z", result.stdout)
    assert re.search(r"in every process from   \d{4}-\d\d-\d\dT[\d:.]{12}Z on", result.stdout)


def test_the_version_is_in_the_receipt(backends: Backends, command: Command) -> None:
    """For people and for programs."""
    arguments = ("version", "--issuer", ISSUER, "--minimum-version", "7")
    assert "of a version below      7" in command(*arguments, input="alice").stdout
    assert json.loads(command(*arguments, "--json", input="a").stdout)["minimum_version"] == 7


def test_an_id_cannot_write_to_the_terminal(backends: Backends, command: Command) -> None:
    """Escape sequences and marks of direction are shown, not sent."""
    result = command("token", "--issuer", ISSUER, input="a\x1b[2J\\\u202eb")
    assert result.exit_code == 0
    assert r"token a\x1b[2J\\\u202eb of" in result.stdout
    assert backends.revocations.asked[0].id == "a\x1b[2J\\\u202eb"


@pytest.mark.parametrize("moment", ["1772357400", "1772357400.0", "2026-03-01T09:30:00Z"])
def test_a_moment_may_be_seconds_or_iso_8601(
    moment: str, backends: Backends, command: Command
) -> None:
    """Both name the same one."""
    command("client", "--issuer", ISSUER, "--issued-until", moment, input="shop")
    assert backends.revocations.asked[0].issued_until == 1_772_357_400


@pytest.mark.parametrize(
    "moment", ["2026-03-01T09:30:00", "yesterday", "nan", "inf", "-1", "1e9", "1_0", ""]
)
def test_no_other_moment_is_taken(moment: str, backends: Backends, command: Command) -> None:
    """A time without a zone least of all: it would be read as another one elsewhere."""
    result = command("client", "--issuer", ISSUER, f"--issued-until={moment}", input="shop")
    assert result.exit_code == 2
    assert "2026-03-01T09:30:00Z" in result.stderr
    assert not backends.revocations.asked


# Ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        (b"alice", ["alice"]),
        (b"alice\n", ["alice"]),
        (b"alice\r\nbob\r\n", ["alice", "bob"]),
        (b"\xef\xbb\xbfalice\n", ["alice"]),
        (b" alice \n", [" alice "]),
        ("a\u2028b\x0bc\x85d".encode(), ["a\u2028b\x0bc\x85d"]),
    ],
)
@pytest.mark.parametrize("way", ["standard input", "-", "file"])
def test_a_line_is_an_id(
    given: bytes, ids: list[str], way: str, backends: Backends, command: Command, tmp_path: Path
) -> None:
    """From standard input and from a file alike; nothing but the end of the line is left out."""
    file = tmp_path / "ids"
    file.write_bytes(given)
    options = {"standard input": (), "-": ("--id-file", "-"), "file": ("--id-file", str(file))}
    result = command(
        "subject", "--issuer", ISSUER, *options[way], input=b"" if way == "file" else given
    )
    assert result.exit_code == 0, result.output
    assert [one.id for one in backends.revocations.asked] == ids
    assert ("white space" in result.stderr) == (ids == [" alice "])


@pytest.mark.parametrize(
    ("scope", "given", "message"),
    [
        ("subject", b"", "there is no id in standard input"),
        ("subject", b"\n", "there is no id in standard input"),
        ("subject", b"alice\n\n", "line 2 of standard input is empty"),
        ("subject", b"alice\n\nbob\n", "line 2 of standard input is empty"),
        ("subject", b"al\xffice", "not UTF-8"),
        ("token", f"t-1\n{WHOLE_TOKEN}".encode(), "id 2 is a whole token"),
        ("key", b"2026-03-key", "id 1 is no thumbprint"),
        ("key", THUMBPRINT[:-1].encode(), "id 1 is no thumbprint"),
        ("key", b"AAAA", "id 1 is no thumbprint"),
    ],
)
def test_what_is_no_id_is_refused_before_anything_is_done(
    scope: str,
    given: bytes,
    message: str,
    backends: Backends,
    command: Command,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A revocation that takes nothing back must not look like one that does; nor is it quoted."""
    result = command(scope, "--issuer", ISSUER, input=given)
    assert result.exit_code == 2
    assert message in result.stderr
    assert WHOLE_TOKEN not in result.output
    assert not backends.revocations.asked
    assert not audited(caplog)


def test_a_file_that_cannot_be_read_is_said_so(
    backends: Backends, command: Command, tmp_path: Path
) -> None:
    """With its name."""
    result = command("token", "--issuer", ISSUER, "--id-file", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert "none cannot be read: No such file or directory" in result.stderr


def test_an_id_is_never_an_argument(backends: Backends, command: Command) -> None:
    """There is no place for it; and it is not repeated."""
    result = command("token", "t-1", "--issuer", ISSUER, input="t-1")
    assert result.exit_code == 2
    assert "standard input or --id-file" in result.stderr
    assert "t-1" not in result.output
    assert not backends.revocations.asked


def test_a_faulty_environment_is_told_before_an_id_is_asked_for(
    backends: Backends, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when somebody has typed it in."""
    monkeypatch.delenv("AUTHKIT_REDIS_PREFIX")
    result = command("token", "--issuer", ISSUER, "--id-file", "none")
    assert result.exit_code == 2
    assert "AUTHKIT_REDIS_PREFIX" in result.stderr
    assert "none" not in result.stderr


def test_without_standard_input_it_says_where_ids_come_from(
    backends: Backends, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a service whose standard input is closed."""
    monkeypatch.setattr("authkit.cli.given.sys", type("sys", (), {"stdin": None}))
    result = command("token", "--issuer", ISSUER)
    assert result.exit_code == 2
    assert "--id-file" in result.stderr


def test_a_terminal_is_asked_for_the_id(tmp_path: Path) -> None:
    """On standard error, for standard output holds receipts alone."""
    program = (
        "import sys, tests.edges.test_cli_revoke as here\n"
        "sys.modules['authkit_redis'] = here.Backends().as_module()\n"
        "from authkit.cli import main\n"
        "main()"
    )
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", program, "revoke", "subject", "--issuer", ISSUER, "--json"],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "AUTHKIT_REDIS_URL": URL, "AUTHKIT_REDIS_PREFIX": "orders"},
            cwd=Path(__file__).parents[2],
        ) as process:
            os.write(ours, b"alice\n")
            output, errors = process.communicate(timeout=50)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 0, errors
    assert json.loads(output)["id"] == "alice"
    question, event = errors.splitlines()
    assert question == b"id of the subject:"
    assert json.loads(event)["type"] == "token.revoked"


# Whole issuers, and what makes no sense -----------------------------------------------------------


def test_a_whole_issuer_needs_yes(
    backends: Backends, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it the command says what it means, and does nothing."""
    result = command(
        "issuer", "--issuer", ISSUER, "--issued-until", "1772357400", "--json", input="x"
    )
    assert result.exit_code == 2
    assert result.stdout == ""
    for part in (ISSUER, "2026-03-01T09:30:00", "remembered until", "--lift", "--yes"):
        assert part in result.stderr
    assert not backends.revocations.asked
    assert not audited(caplog)


def test_a_moment_that_no_calendar_has_is_shown_in_seconds(
    backends: Backends, command: Command
) -> None:
    """Not with a traceback."""
    result = command("issuer", "--issuer", ISSUER, "--max-token-lifetime-seconds", "1e15")
    assert result.exit_code == 2
    assert re.search(r"remembered until        10\d{14} seconds since the epoch", result.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("issuer", "--yes", "--id-file", "-"), "has no id"),
        (("token", "--issued-until", "1772357400"), "issued_until has no meaning"),
        (("version",), "minimum_version must be given"),
        (("subject", "--minimum-version", "3"), "minimum_version"),
        (("version", "--minimum-version", str(2**63)), "64 bits"),
        (("subject", "--issued-until", "9" * 400), "finite"),
        (("subject", "--issued-until", "1772357400000"), "horizon"),
        (("token", "--expires-at", "1772357400"), "--expires-at has passed"),
        (("subject", "--lift", "--issued-until", "1772357400"), "--lift"),
        (("token", "--lift", "--expires-at", "1772357400"), "--lift"),
        (("version", "--lift", "--minimum-version", "3"), "--lift"),
        (("user",), "user"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], message: str, backends: Backends, command: Command
) -> None:
    """With what is wrong, and nothing is revoked."""
    result = command(*arguments, "--issuer", ISSUER, input="alice")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert backends.revocations.stats()["revoked_total"] == 0


def test_the_issuer_must_be_named(backends: Backends, command: Command) -> None:
    """And must not be empty."""
    assert command("token", input="t-1").exit_code == 2
    assert command("token", "--issuer", "", input="t-1").exit_code == 2
    assert not backends.revocations.asked


# The environment ----------------------------------------------------------------------------------


def test_the_environment_says_where_and_with_what_secret(
    backends: Backends, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the secret's bytes one newline at the end is not one."""
    command("token", "--issuer", ISSUER, input="t-1")
    assert backends.url == URL
    assert backends.options == {
        "prefix": "orders",
        "secret": None,
        "max_token_lifetime_seconds": 86_400,
        "max_staleness_seconds": 5,
    }
    file = tmp_path / "secret"
    file.write_bytes(b"\x00\xff secret \n\n")
    monkeypatch.setenv("AUTHKIT_REDIS_PREFIX", "shop")
    monkeypatch.setenv("AUTHKIT_SECRET_FILE", str(file))
    monkeypatch.setenv("AUTHKIT_MAX_STALENESS_SECONDS", "2.5")
    monkeypatch.setenv("AUTHKIT_MAX_TOKEN_LIFETIME_SECONDS", "3600")
    command("token", "--issuer", ISSUER, input="t-1")
    assert backends.options == {
        "prefix": "shop",
        "secret": b"\x00\xff secret \n",
        "max_token_lifetime_seconds": 3_600,
        "max_staleness_seconds": 2.5,
    }
    command("token", "--issuer", ISSUER, "--max-staleness-seconds", "9", input="t-1")
    assert backends.options["max_staleness_seconds"] == 9


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AUTHKIT_REDIS_URL", None, "AUTHKIT_REDIS_URL is not set"),
        ("AUTHKIT_REDIS_URL", "", "AUTHKIT_REDIS_URL is set, but empty"),
        ("AUTHKIT_REDIS_PREFIX", None, "AUTHKIT_REDIS_PREFIX is not set"),
        ("AUTHKIT_REDIS_PREFIX", "", "AUTHKIT_REDIS_PREFIX is set, but empty"),
        ("AUTHKIT_SECRET_FILE", "", "AUTHKIT_SECRET_FILE is set, but empty"),
        ("AUTHKIT_SECRET_FILE", "none", "No such file or directory"),
        ("AUTHKIT_SECRET_FILE", ".", "Is a directory"),
        ("AUTHKIT_SECRET_FILE", "empty", "is empty"),
        ("AUTHKIT_SECRET_FILE", "newline", "is empty"),
        ("AUTHKIT_MAX_STALENESS_SECONDS", "soon", "Invalid value"),
    ],
)
def test_a_variable_that_is_missing_or_wrong_is_named(
    name: str,
    value: str | None,
    message: str,
    backends: Backends,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty one is not taken for one that is not set: that would hide a mistake."""
    (tmp_path / "empty").touch()
    (tmp_path / "newline").write_bytes(b"\n")
    monkeypatch.chdir(tmp_path)
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    result = command("token", "--issuer", ISSUER, input="t-1")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not backends.revocations.asked


def test_without_the_driver_it_says_what_to_install() -> None:
    """Not with a traceback."""
    program = "import sys; sys.modules['redis'] = None; from authkit.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", program, "revoke", "token", "--issuer", ISSUER],
        input="t-1",
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={**os.environ, "AUTHKIT_REDIS_URL": URL, "AUTHKIT_REDIS_PREFIX": "orders"},
    )
    assert result.returncode == 2
    assert "redis is not installed: pip install 'pyauthkit[redis]'" in result.stderr
    assert "Traceback" not in result.stderr


# Failures -----------------------------------------------------------------------------------------


def test_an_outage_is_not_known_to_be_done(
    backends: Backends, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    """Exit code 1, no receipt, and the attempt is on record: it may have been kept."""
    backends.revocations.failing["t-1"] = BackendUnavailable("revocations")
    result = command("token", "--issuer", ISSUER, input="t-1")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "revocations: did not answer. Whatever has no receipt may or may not" in result.stderr
    assert "doing all of it again is safe" in result.stderr
    (event,) = audited(caplog)
    assert (event["type"], event["outcome"]) == ("token.revoked", "unavailable")


def test_a_foreign_exception_is_an_outage(backends: Backends, command: Command) -> None:
    """Without its text, which may quote what it was given."""
    backends.revocations.failing["t-1"] = RuntimeError("hunter2")
    result = command("token", "--issuer", ISSUER, input="t-1")
    assert result.exit_code == 1
    assert "failed with RuntimeError" in result.stderr


@pytest.mark.parametrize(
    ("refusal", "code"),
    [(ConfigurationError("wrong password"), 2), (BackendUnavailable("revocations", "down"), 1)],
)
def test_backends_that_cannot_be_opened_are_said_so(
    refusal: Exception, code: int, backends: Backends, command: Command
) -> None:
    """A mistake is told from an outage."""
    backends.refusal = refusal
    result = command("token", "--issuer", ISSUER, input="t-1")
    assert result.exit_code == code
    assert str(refusal) in result.stderr


def test_many_are_revoked_some_at_once_and_in_order(
    backends: Backends, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them, with a receipt and an audit line each, and never too many under way."""
    ids = [f"t-{number}" for number in range(1_234)]
    result = command("token", "--issuer", ISSUER, "--json", input="\n".join(ids))
    assert result.exit_code == 0, result.stderr
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ids
    assert sorted(event["data"]["id"] for event in audited(caplog)) == sorted(ids)
    assert backends.revocations.most_at_once == 100


@pytest.mark.parametrize("error", [BackendUnavailable("revocations"), ConfigurationError("no")])
def test_many_end_at_the_first_failure_and_say_what_is_done(
    error: Exception, backends: Backends, command: Command
) -> None:
    """What has a receipt is done; where something is, exit code 2 would be a lie."""
    backends.revocations.failing["t-150"] = error
    ids = [f"t-{number}" for number in range(300)]
    result = command("token", "--issuer", ISSUER, "--json", input="\n".join(ids))
    assert result.exit_code == 1
    assert str(error) in result.stderr
    receipts = [json.loads(line)["id"] for line in result.stdout.splitlines()]
    assert receipts == [id for id in ids[:200] if id != "t-150"]
    assert len(backends.revocations.asked) == 200


def test_interrupted_it_says_what_is_not_known(
    backends: Backends, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C does not take back what is under way."""

    async def interrupted(self: Store, revocation: Revocation) -> RevocationReceipt:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(50)
        raise AssertionError

    monkeypatch.setattr(Store, "revoke", interrupted)
    # A shell starts what it runs in the background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = command("token", "--issuer", ISSUER, input="t-1")
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert "interrupted. Whatever has no receipt may or may not" in result.stderr


def test_what_could_not_be_put_on_record_is_said_so(
    backends: Backends, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revocation has its receipt, but the exit code is 1."""
    monkeypatch.setattr("authkit.cli.revoke._DRAIN_SECONDS", 0.05)

    async def write(self: object, events: object) -> None:
        raise BackendUnavailable("audit", "a log handler failed")

    monkeypatch.setattr("authkit.cli.revoke.LoggingAuditSink.write", write)
    result = command("token", "--issuer", ISSUER, "--json", input="t-1")
    assert json.loads(result.stdout)["id"] == "t-1"
    assert result.exit_code == 1
    assert "audit: not everything is on record" in result.stderr


def test_who_stops_reading_stops_no_revocation(
    backends: Backends, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are revoked, and the exit code says that receipts are missing."""

    def gone(order: Revocation, receipt: RevocationReceipt, *, is_lift: bool) -> str:
        raise BrokenPipeError

    monkeypatch.setattr("authkit.cli.revoke.receipt_line", gone)
    ids = [f"t-{number}" for number in range(250)]
    result = command("token", "--issuer", ISSUER, "--json", input="\n".join(ids))
    assert len(backends.revocations.asked) == 250
    assert result.exit_code == 1
    assert "all is done, but 250 receipts could not be written" in result.stderr


# Waiting, and the words ---------------------------------------------------------------------------


def test_wait_ends_when_it_holds_in_every_process(
    backends: Backends, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The staleness after the last receipt; a failure is not waited for."""
    slept: list[float] = []
    monkeypatch.setattr("authkit.cli.revoke.sleep", slept.append)
    arguments = ("token", "--issuer", ISSUER, "--max-staleness-seconds", "3")
    command(*arguments, input="t-1")
    assert slept == []
    command(*arguments, "--wait", input="t-1")
    assert slept == [3.0]
    backends.revocations.failing["t-1"] = BackendUnavailable("revocations")
    command(*arguments, "--wait", input="t-1")
    assert slept == [3.0]
