"""`authkit audit` says what is missing or wrong, and finds nothing where there is nothing."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from authkit.audit import chain_event
from authkit.cli.audit.commands import audit
from authkit.cli.audit.event_text import event_text
from authkit.event_lines import json_line
from authkit.interfaces import AuditEvent
from authkit.testing.contracts.audit_sink import FULL

KEY = b"k" * 32


class Run(NamedTuple):
    """What came of a command."""

    code: int
    output: str
    errors: str


Command = Callable[..., Run]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command within this process, where nothing is set; only its own errors are caught."""
    for name in [name for name in os.environ if name.startswith("AUTHKIT_")]:
        monkeypatch.delenv(name)
    program = typer.main.get_command(audit)

    def run(*arguments: str | Path, given: bytes | None = b"") -> Run:
        stdin = None if given is None else io.TextIOWrapper(io.BytesIO(given))
        monkeypatch.setattr(sys, "stdin", stdin)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            program([str(one) for one in arguments], prog_name="authkit audit")
        assert isinstance(ended.value.code, int)
        return Run(ended.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_bytes(KEY)
    return file


def chained(*events: AuditEvent, key: bytes = KEY) -> bytes:
    """A trail of these events."""
    lines, previous = [], ""
    for sequence, event in enumerate(events, start=1):
        numbered = replace(event, sequence=sequence)
        previous = chain_event(key, previous, numbered)
        lines.append(json_line(replace(numbered, chain=previous)).encode() + b"\n")
    return b"".join(lines)


TRAIL = chained(FULL, FULL, FULL)


# Verifying ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (KEY, KEY),
        (KEY + b"\n", KEY),
        (b"k" * 64 + b"\n", b"k" * 64),
        (b"k" * 31 + b"\n", b"k" * 31 + b"\n"),
        (b"k" * 40 + b"\n\n", b"k" * 40 + b"\n"),
        (b"k" * 40 + b"\r", b"k" * 40 + b"\r"),
    ],
)
def test_the_key_is_the_bytes_of_its_file_without_one_newline(
    given: bytes, key: bytes, key_file: Path, command: Command
) -> None:
    """Unless there would be too few without it."""
    key_file.write_bytes(given)
    checked = command("verify", "-", "--key-file", key_file, given=chained(FULL, key=key))
    assert checked.code == 0, checked.errors


@pytest.mark.parametrize("given", [b"", b"hunter2\n", b"hunter2" * 10, b"hunter2" * 100_000])
def test_what_is_no_key_is_refused(given: bytes, key_file: Path, command: Command) -> None:
    """Before the trail is looked at, and without showing it."""
    key_file.write_bytes(given)
    checked = command("verify", "none", "--key-file", key_file)
    assert (checked.code, checked.output) == (2, "")
    assert "which has 32 to 64 bytes" in checked.errors
    assert "hunter2" not in checked.errors


@pytest.mark.parametrize("which", ["key", "trail", "anchors"])
@pytest.mark.parametrize(
    ("name", "why"), [("none", "No such file or directory"), ("", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_named(
    which: str, name: str, why: str, key_file: Path, command: Command, tmp_path: Path
) -> None:
    """And is no finding: nothing was verified."""
    file = tmp_path / name
    arguments = {
        "key": ("-", "--key-file", file),
        "trail": (file, "--key-file", key_file),
        "anchors": ("-", "--key-file", key_file, "--anchor", file),
    }
    checked = command("verify", *arguments[which], given=TRAIL)
    assert (checked.code, checked.output) == (2, "")
    assert f"{file} cannot be read: {why}" in checked.errors


def test_a_trail_without_an_event_is_not_said_to_be_whole(
    key_file: Path, command: Command, tmp_path: Path
) -> None:
    """As where the export before the pipe has failed."""
    checked = command("verify", "-", "--key-file", key_file)
    assert (checked.code, checked.output) == (2, "")
    assert "there is no event in standard input" in checked.errors
    (tmp_path / "empty").touch()
    checked = command("verify", tmp_path / "empty", "--key-file", key_file, "--json")
    assert (checked.code, checked.output) == (2, "")


def test_anchors_without_an_anchor_are_refused(
    key_file: Path, command: Command, tmp_path: Path
) -> None:
    """They would prove nothing, and look as if they did."""
    file = tmp_path / "anchors"
    file.write_bytes(TRAIL)
    checked = command("verify", "-", "--key-file", key_file, "--anchor", file, given=TRAIL)
    assert (checked.code, checked.output) == (2, "")
    assert f"there is no anchor in {file}" in checked.errors


def test_without_standard_input_it_says_so(key_file: Path, command: Command) -> None:
    """As for a service whose standard input is closed."""
    checked = command("verify", "-", "--key-file", key_file, given=None)
    assert checked.code == 2
    assert "there is no standard input" in checked.errors


def test_a_line_without_an_end_does_not_fill_the_memory(
    key_file: Path,
) -> None:
    """It is read no further than an event can reach."""
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            "import resource as r; from authkit.cli import main; import authkit.cli.commands;"
            "used = int(open('/proc/self/statm').read().split()[0]) * r.getpagesize();"
            "r.setrlimit(r.RLIMIT_AS, (used + 50_000_000, -1)); main()",
            *("audit", "verify", "/dev/zero", "--key-file", str(key_file)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert process.returncode == 1
    assert process.stderr.startswith("authkit audit verify: not_an_event: line 1 is not")


def test_a_name_in_a_fault_cannot_write_to_the_terminal(key_file: Path, command: Command) -> None:
    """It is whatever the line says."""
    event = replace(FULL, producer="\x1b[2J\u202e" + "long" * 100, sequence=3)
    given = json_line(event).encode() + b"\n"
    for option in ((), ("--json",)):
        checked = command("verify", "-", "--key-file", key_file, *option, given=given)
        assert checked.code == 1
        assert checked.errors.rstrip("\n").isprintable()
        assert checked.output.rstrip("\n").isprintable()
    event = replace(FULL, producer="\x1b[2J\u202e" + "long" * 100)
    checked = command("verify", "-", "--key-file", key_file, given=chained(event))
    assert checked.code == 0
    assert r"  \x1b[2J\u202elong" in checked.output
    assert all(line.isprintable() for line in checked.output.split("\n"))


@pytest.mark.parametrize("how", ["full", "gone"])
def test_a_finding_that_cannot_be_written_is_not_said_to_be_a_fault(
    how: str, key_file: Path, tmp_path: Path
) -> None:
    """An exit code of 1 would be read as one."""
    file = tmp_path / "trail"
    file.write_bytes(TRAIL)
    reading, gone = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        process = subprocess.run(
            [
                *(sys.executable, "-c", "from authkit.cli import main; main()"),
                *("audit", "verify", str(file), "--key-file", str(key_file)),
            ],
            stdout=full if how == "full" else gone,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=50,
        )
    finally:
        os.close(full)
        os.close(gone)
    assert process.returncode == 2
    assert process.stderr.startswith("authkit audit verify: the output cannot be written: ")
    assert process.stderr.count("\n") == 1


def test_interrupted_it_has_found_nothing(
    key_file: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a fault nor its absence."""

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("authkit.audit.verification.ChainVerification.feed", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        checked = command("verify", "-", "--key-file", key_file, given=TRAIL)
    finally:
        signal.signal(signal.SIGINT, before)
    assert checked == (130, "", "")


def test_verifying_needs_neither_redis_nor_its_driver(key_file: Path, tmp_path: Path) -> None:
    """An auditor's machine has neither."""
    file = tmp_path / "trail"
    file.write_bytes(TRAIL)
    process = without_driver("verify", str(file), "--key-file", str(key_file))
    assert process.returncode == 0, process.stderr


# The environment ----------------------------------------------------------------------------------


def without_driver(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command where the extra `redis` is not installed."""
    program = "import sys; sys.modules['redis'] = None; from authkit.cli import main; main()"
    kept = {name: os.environ[name] for name in os.environ if name[:8] != "AUTHKIT_"}
    url = "redis://operator:hunter2@127.0.0.1"
    return subprocess.run(
        [sys.executable, "-c", program, "audit", *arguments],
        env={**kept, "AUTHKIT_REDIS_URL": url, "AUTHKIT_REDIS_PREFIX": "shop"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.parametrize("name", ["tail", "export"])
def test_without_the_driver_it_says_what_to_install(name: str) -> None:
    """Not with a traceback."""
    process = without_driver(name)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == (
        f"authkit audit {name}: redis is not installed: pip install 'pyauthkit[redis]'\n"
    )


@pytest.mark.parametrize("name", ["tail", "export"])
@pytest.mark.parametrize("variable", ["AUTHKIT_REDIS_URL", "AUTHKIT_REDIS_PREFIX"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_missing_is_named(
    name: str,
    variable: str,
    value: str | None,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty one is not taken for one that is not set."""
    monkeypatch.setenv("AUTHKIT_REDIS_URL", "redis://operator:hunter2@127.0.0.1")
    monkeypatch.setenv("AUTHKIT_REDIS_PREFIX", "shop")
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    ran = command(name)
    assert (ran.code, ran.output) == (2, "")
    assert f"authkit audit {name}: {variable} is " in ran.errors
    assert "hunter2" not in ran.errors


@pytest.mark.parametrize("name", ["tail", "export"])
@pytest.mark.parametrize(
    ("url", "prefix"), [("http://a:hunter2@127.0.0.1", "shop"), ("redis://127.0.0.1", "{}")]
)
def test_a_variable_that_makes_no_sense_is_refused(
    name: str, url: str, prefix: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address without being quoted."""
    monkeypatch.setenv("AUTHKIT_REDIS_URL", url)
    monkeypatch.setenv("AUTHKIT_REDIS_PREFIX", prefix)
    ran = command(name)
    assert (ran.code, ran.output) == (2, "")
    assert "hunter2" not in ran.errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "--follow"), "--follow has no meaning without --group"),
        (("export", "--consumer", "one"), "--consumer has no meaning without --group"),
        (("export", "--group", ""), "group must be a text"),
        (("export", "--group", "siem", "--consumer", ""), "consumer must be a text"),
        (("export", "--output", "/none/trail"), "/none/trail cannot be written: No such file"),
        (("export", "--output", "/"), "/ cannot be written: Is a directory"),
        (("tail", "--count", "-1"), "Invalid value"),
        (("verify", "-"), "--key-file"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], message: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is wrong."""
    monkeypatch.setenv("AUTHKIT_REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("AUTHKIT_REDIS_PREFIX", "shop")
    ran = command(*arguments)
    assert (ran.code, ran.output) == (2, "")
    assert message in ran.errors


def test_without_standard_output_it_says_so(
    key_file: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a service whose standard output is closed."""
    monkeypatch.setattr(sys, "stdout", None)
    ran = command("verify", "-", "--key-file", key_file, given=TRAIL)
    assert ran.code == 2
    assert "there is no standard output" in ran.errors


# What people read ---------------------------------------------------------------------------------


def words(**changes: Any) -> list[str]:
    """The columns of an event."""
    return event_text(json_line(replace(FULL, **changes)).encode()).split()


def test_a_column_is_a_word_whatever_is_in_it() -> None:
    """Nothing, an empty text, spaces and a very long text among them."""
    nothing = words(code=None, subject="", client_address="a b", issuer="x" * 1_000, data={})
    assert nothing[3:6] == ["-", '""', r"a\x20b"]
    assert nothing[6] == "x" * 120 + "..."
    blank = words(subject="\u115f\u1160\u2800\u3164\uffa0")[4]
    assert blank == r"\u115f\u1160\u2800\u3164\uffa0"
    assert words(data={"a b": "\n", "c": 1.5, "d": None, "e": True})[-4:] == [
        r"a\x20b=\n",
        "c=1.5",
        "d=-",
        "e=True",
    ]


def test_a_moment_that_no_calendar_has_is_shown_in_seconds() -> None:
    """Not with a traceback."""
    assert words(time=1e15)[0] == "1000000000000000s"
    assert len(words(time=1e300)[0]) == 24


def test_json_is_strict_and_in_ascii(key_file: Path, command: Command) -> None:
    """Whatever the names of producers."""
    trail = chained(replace(FULL, producer="b\u00f6b\x9b"))
    checked = command("verify", "-", "--key-file", key_file, "--json", given=trail)
    assert checked.output.isascii()
    assert json.loads(checked.output)["producers"][0]["producer"] == "b\u00f6b\x9b"
