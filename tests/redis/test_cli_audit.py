"""`authkit audit` on the trail of an app in a real Redis: shown, exported, found tampered with."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from authkit.audit import AuditTrail, FileAuditSink, RequestRecord, chain_event
from authkit.cli.audit.commands import audit
from authkit.event_lines import event_of_line, json_line
from authkit_redis.audit_streams.keys import AuditKeys
from tests.redis.audit_events import made, opened
from tests.redis.servers import RedisServer, free_port

ISSUER = "https://login.example.com"
KEY = bytes(range(31)) + b"\n" + bytes(range(32))  # with a newline in it
PREFIX = "shop"
LOG = AuditKeys(PREFIX).log(0)
PRODUCERS = ("orders-1", "orders-2")
ENOUGH_SECONDS = 30


# A trail adds to its producer's name what makes it unique.
_RUN = re.compile(r"(orders-\d)-[0-9a-f]{16}")


class Run(NamedTuple):
    """What came of a command."""

    code: int
    output: bytes
    errors: str


Command = Callable[..., Run]


@pytest.fixture
def environment(redis_server: RedisServer) -> dict[str, str]:
    """What an operator has set."""
    kept = {name: os.environ[name] for name in os.environ if name[:8] != "AUTHKIT_"}
    return {**kept, "AUTHKIT_REDIS_URL": redis_server.url, "AUTHKIT_REDIS_PREFIX": PREFIX}


@pytest.fixture
def command(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Command:
    """Runs a command within this process; only errors of its own are caught."""
    for name in [name for name in os.environ if name.startswith("AUTHKIT_")]:
        monkeypatch.delenv(name)
    for name in ("AUTHKIT_REDIS_URL", "AUTHKIT_REDIS_PREFIX"):
        monkeypatch.setenv(name, environment[name])
    program = typer.main.get_command(audit)

    def run(*arguments: str, given: bytes = b"") -> Run:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            program(arguments, prog_name="authkit audit")
        output, errors = capfdbinary.readouterr()
        assert isinstance(ended.value.code, int)
        return Run(ended.value.code, output, errors.decode())

    return run


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_bytes(KEY + b"\n")
    return file


def record(subject: str, **changes: Any) -> RequestRecord:
    """That somebody was let in."""
    fields: dict[str, Any] = {
        "time": 1_772_357_400.25,
        "outcome": "accepted",
        "code": None,
        "issuer": ISSUER,
        "subject": subject,
        "client_id": "shop",
        "key_thumbprint": None,
        "token_hash": None,
        "client_address": "192.0.2.7",
        "request_id": "r-1",
        "trace_id": None,
        "data": None,
    }
    return RequestRecord(**(fields | changes))


def app_ran(
    url: str, anchors: Path | None = None, *, records: Sequence[RequestRecord] | None = None
) -> None:
    """Two processes of an app, one after the other: eight requests of each, and their anchors."""
    records = [record(f"user-{number}") for number in range(8)] if records is None else records

    async def run(producer: str) -> None:
        async with opened(url, prefix=PREFIX) as sink:
            trail = AuditTrail(
                sink,
                chain_key=KEY,
                anchor_sink=None if anchors is None else FileAuditSink(anchors),
                producer=producer,
            )
            async with trail:
                for one in records:
                    trail.append_request(one)

    for producer in PRODUCERS:
        asyncio.run(run(producer))


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    return tmp_path / "anchors"


@pytest.fixture
def trail(redis_server: RedisServer, anchors: Path, command: Command) -> list[bytes]:
    """The exported lines of an app."""
    app_ran(redis_server.url, anchors)
    exported = command("export")
    assert exported.code == 0, exported.errors
    assert "18 events exported" in exported.errors
    return exported.output.splitlines(keepends=True)


@contextmanager
def started(
    *arguments: str, environment: dict[str, str], **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process of its own."""
    # A shell starts what it runs in the background with Ctrl-C ignored.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from authkit.cli import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, "audit", *arguments],
        env=environment,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def pending(server: RedisServer, group: str = "siem") -> int:
    """How many events the group was given and has not acknowledged."""
    return int(server.command("XPENDING", LOG, group)[0])


# Verifying ----------------------------------------------------------------------------------------


def test_a_whole_trail_passes_with_a_line_for_each_producer(
    trail: list[bytes], anchors: Path, key_file: Path, command: Command
) -> None:
    """With anchors nothing is left to be said; without, that a cut would not be seen."""
    arguments = ("verify", "-", "--key-file", str(key_file))
    checked = command(*arguments, "--anchor", str(anchors), given=b"".join(trail))
    assert (checked.code, checked.errors) == (0, "")
    assert _RUN.sub(r"\1", checked.output.decode()).splitlines() == [
        "nothing is wrong with 18 events of 2 producers",
        "  orders-1: events 1 to 9, ended cleanly, anchored until 9",
        "  orders-2: events 1 to 9, ended cleanly, anchored until 9",
    ]
    unanchored = command(*arguments, given=b"".join(trail))
    assert unanchored.code == 0
    assert b": events 1 to 9, ended cleanly, no anchor\n" in unanchored.output
    assert "no --anchor was given: if events were cut off at the end" in unanchored.errors


def test_a_program_gets_the_finding_as_json(
    trail: list[bytes], anchors: Path, key_file: Path, command: Command
) -> None:
    """One object, of the same members whatever was found."""
    arguments = ("verify", "-", "--json", "--key-file", str(key_file), "--anchor", str(anchors))
    whole = json.loads(command(*arguments, given=b"".join([*trail, trail[-1]])).output)
    assert (whole["is_intact"], whole["fault"]) == (True, None)
    assert (whole["lines"], whole["absent"]) == (19, [])
    assert whole["producers"][1] == {
        "producer": json.loads(trail[-1])["producer"],
        "first": 1,
        "last": 9,
        "events": 9,
        "repeated": 1,
        "unproven": 0,
        "is_ended": True,
        "anchored_until": 9,
    }
    broken = command(*arguments, given=b"".join(trail[:4] + trail[5:]))
    assert broken.code == 1
    found = json.loads(broken.output)
    assert found.keys() == whole.keys()
    assert found["is_intact"] is False
    assert found["fault"] == {
        "kind": "gap",
        "line": 5,
        "producer": json.loads(trail[0])["producer"],
        "sequence": 6,
        "message": broken.errors.strip().removeprefix("authkit audit verify: gap: "),
    }


def _changed(line: bytes, **members: Any) -> bytes:
    return json.dumps({**json.loads(line), **members}).encode() + b"\n"


def _producer(line: bytes) -> str:
    return str(json.loads(line)["producer"])


Tampering = Callable[[list[bytes]], list[bytes]]

TAMPERINGS: dict[str, tuple[Tampering, str]] = {
    "edited": (
        lambda lines: [*lines[:2], lines[2].replace(b"user-2", b"user-9"), *lines[3:]],
        "line 3: event 3 of orders-1",
    ),
    "its number edited": (
        lambda lines: [*lines[:2], lines[2].replace(b'sequence":3', b'sequence":4'), *lines[3:]],
        "line 3: event 4 of orders-1",
    ),
    "taken out": (lambda lines: lines[:4] + lines[5:], "line 5: event 6 of orders-1"),
    "beginning cut off": (lambda lines: lines[3:], "line 1: event 4 of orders-1"),
    "put elsewhere": (
        lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
        "event 3 of orders-1",
    ),
    "another one in its place": (
        lambda lines: [*lines[:-1], _changed(lines[2], producer=_producer(lines[-1]))],
        "line 18: event 3 of orders-2",
    ),
    "an older one again, changed": (
        lambda lines: [*lines, lines[2].replace(b"user-2", b"user-9")],
        "line 19: event 3 of orders-1",
    ),
    "without its chain": (
        lambda lines: [_changed(line, chain=None) for line in lines],
        "line 1: event 1 of orders-1 has no chain value",
    ),
    "a line of another program": (
        lambda lines: [*lines[:2], b'{"level":"info"}\n', *lines[2:]],
        "line 3 is not an audit event",
    ),
    "a line that is no JSON": (lambda lines: [*lines, b"\x1b[2J\n"], "line 19 is not an audit"),
    "an empty line": (lambda lines: [*lines[:1], b"\n", *lines[1:]], "line 2 is not an audit"),
    "a torn line": (lambda lines: [*lines[:-1], lines[-1][:99]], "line 18 is not an audit event"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_and_named(
    name: str, trail: list[bytes], key_file: Path, command: Command, tmp_path: Path
) -> None:
    """By its first line, in a file that an operator has, without any anchor."""
    tamper, named = TAMPERINGS[name]
    file = tmp_path / "trail.jsonl"
    file.write_bytes(b"".join(tamper(trail)))
    checked = command("verify", str(file), "--key-file", str(key_file))
    assert (checked.code, checked.output) == (1, b"")
    assert named in _RUN.sub(r"\1", checked.errors)
    assert checked.errors.startswith("authkit audit verify: ")
    assert checked.errors.count("\n") == 1
    assert "\x1b" not in checked.errors


@pytest.mark.parametrize("kept", [17, 12, 9, 4])
def test_a_tail_that_was_cut_off_is_found_with_anchors_only(
    kept: int, trail: list[bytes], anchors: Path, key_file: Path, command: Command
) -> None:
    """And without them it is said that it could not be."""
    arguments = ("verify", "-", "--key-file", str(key_file))
    cut = b"".join(trail[:kept])
    found = command(*arguments, "--anchor", str(anchors), given=cut)
    assert found.code == 1
    assert "an anchor names event 9 of" in found.errors
    unseen = command(*arguments, given=cut)
    assert unseen.code == 0
    assert "this cannot be seen" in unseen.errors


def test_a_trail_that_was_written_anew_does_not_have_the_anchored_event(
    trail: list[bytes], anchors: Path, key_file: Path, command: Command
) -> None:
    """By somebody who has the key, even: the anchors are out of his reach."""
    forged, previous = [], ""
    for line in trail[:9]:
        event = event_of_line(line.replace(b"user-2", b"user-9"))
        if event.type == "audit.anchor":
            event = replace(event, data={**event.data, "previous": previous})
        previous = chain_event(KEY, previous, event)
        forged.append(json_line(replace(event, chain=previous)).encode() + b"\n")
    given = b"".join(forged + trail[9:])
    arguments = ("verify", "-", "--key-file", str(key_file))
    assert command(*arguments, given=given).code == 0
    found = command(*arguments, "--anchor", str(anchors), given=given)
    assert found.code == 1
    assert "line 9: event 9 of orders-1-" in found.errors
    assert "is not the one that an anchor names" in found.errors


def test_a_trimmed_trail_is_said_to_be_one(
    trail: list[bytes], anchors: Path, key_file: Path, command: Command
) -> None:
    """Its first event is not proven, and a producer that is all gone is named."""
    arguments = ("verify", "-", "--key-file", str(key_file), "--trimmed", "--anchor", str(anchors))
    checked = command(*arguments, given=b"".join(trail[11:]))
    assert checked.code == 0, checked.errors
    text = _RUN.sub(r"\1", checked.output.decode())
    assert "orders-2: events 3 to 9, ended cleanly, anchored until 9, event 3 itself un" in text
    assert "orders-1: no event is left" in text


def test_an_event_that_nothing_proves_is_not_said_to_be_right(
    trail: list[bytes], anchors: Path, key_file: Path, command: Command
) -> None:
    """Neither silently among others that are, nor alone."""
    arguments = ("verify", "-", "--key-file", str(key_file), "--trimmed")
    ghost = _changed(trail[2], producer="ghost")
    given = b"".join([*trail, ghost])
    checked = command(*arguments, "--anchor", str(anchors), given=given)
    assert checked.code == 0
    lines = checked.output.decode().splitlines()
    assert lines[0] == "nothing is wrong with 18 events of 2 producers; nothing proves 1 more"
    assert lines[-1] == "  ghost: event 3 alone, which nothing proves"
    assert "of 1 producer one event is left, and nothing proves it" in checked.errors
    found = json.loads(command(*arguments, "--json", given=given).output)
    assert found["unproven"] == ["ghost"]
    alone = command(*arguments, given=ghost)
    assert (alone.code, alone.output) == (2, b"")
    assert "nothing proves any event" in alone.errors
    replaced = command(*arguments, "--anchor", str(anchors), given=b"".join([*trail[9:], trail[7]]))
    assert replaced.code == 1
    assert "but the trail ends with event 8, which nothing proves" in replaced.errors


def test_another_key_fits_nothing(trail: list[bytes], command: Command, tmp_path: Path) -> None:
    """Which is said to be likely; and neither key is shown."""
    file = tmp_path / "other"
    file.write_bytes(b"another key of the right length!!")
    checked = command("verify", "-", "--key-file", str(file), given=b"".join(trail))
    assert checked.code == 1
    assert "line 1: event 1 of orders-1-" in checked.errors
    assert "is this the right key?" in checked.errors
    assert "another key" not in checked.errors


def test_anchors_of_another_key_are_not_taken(
    trail: list[bytes], anchors: Path, key_file: Path, command: Command
) -> None:
    """Nor those that somebody has changed."""
    anchors.write_bytes(anchors.read_bytes().replace(b"orders-2", b"orders-3"))
    arguments = ("--key-file", str(key_file), "--anchor", str(anchors))
    checked = command("verify", "-", *arguments, given=b"".join(trail))
    assert checked.code == 1
    assert "line 2 of the anchors does not fit the key" in checked.errors


# Exporting ----------------------------------------------------------------------------------------


def test_all_is_exported_as_it_is_kept(
    trail: list[bytes], redis_server: RedisServer, command: Command
) -> None:
    """Byte for byte, as often as one likes, and Redis is left as it was."""
    kept = [fields[1] + b"\n" for _, fields in redis_server.command("XRANGE", LOG, "-", "+")]
    keys = redis_server.command("KEYS", "*")
    assert trail == kept
    assert command("export").output.splitlines(keepends=True) == kept
    assert redis_server.command("KEYS", "*") == keys
    assert redis_server.command("XINFO", "GROUPS", LOG) == []


def test_many_streams_are_exported_in_order_over_many_pages(
    redis_server: RedisServer, command: Command
) -> None:
    """All producers of all streams, each in its order, and by the time of writing."""
    producers = [f"producer-{number}" for number in range(8)]

    async def write() -> None:
        async with opened(redis_server.url, prefix=PREFIX, streams=4) as sink:
            for first in (1, 401, 801):
                for producer in producers:
                    await sink.write(made(first, first + 399, producer))

    asyncio.run(write())
    redis_server.command("XADD", LOG, "*", "theirs", "1")
    events = [json.loads(line) for line in command("export").output.splitlines()]
    for producer in producers:
        own = [event["sequence"] for event in events if event["producer"] == producer]
        assert own == list(range(1, 1201))
    # One batch after the other was written, so they are one after the other.
    assert [(event["sequence"] - 1) // 400 for event in events] == sorted(
        (event["sequence"] - 1) // 400 for event in events
    )
    assert command("tail", "--json", "--count", "9600").output.count(b"\n") == 9600


def test_a_group_goes_on_where_it_ended(redis_server: RedisServer, command: Command) -> None:
    """Each group gets all of it, each event once where nothing fails."""
    app_ran(redis_server.url)
    first = command("export", "--group", "siem")
    assert (first.code, first.output.count(b"\n")) == (0, 18)
    assert pending(redis_server) == 0
    nothing = command("export", "--group", "siem")
    assert (nothing.code, nothing.output) == (0, b"")
    assert "0 events exported" in nothing.errors
    other = command("export", "--group", "archive", "--consumer", "nightly")
    assert other.output == first.output


def test_a_file_is_appended_to(
    redis_server: RedisServer, command: Command, tmp_path: Path, key_file: Path
) -> None:
    """What a crash has torn there is cut off; and the whole of it verifies."""
    file = tmp_path / "siem.jsonl"
    arguments = ("export", "--group", "siem", "--output", str(file))
    app_ran(redis_server.url, records=[record("alice")])
    umask = os.umask(0)
    try:
        assert command(*arguments) == (0, b"", "authkit audit export: 4 events exported\n")
    finally:
        os.umask(umask)
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(file.read_bytes() + b'{"schema":1,"produ')
    redis_server.command("XGROUP", "SETID", LOG, "siem", "0")
    assert command(*arguments).code == 0
    assert file.read_bytes().count(b"\n") == 8
    checked = command("verify", str(file), "--key-file", str(key_file))
    assert checked.code == 0, checked.errors
    assert b": events 1 to 2, ended cleanly, no anchor, 2 repeated\n" in checked.output


def test_a_file_that_cannot_be_written_leaves_the_batch_to_the_next(
    redis_server: RedisServer, environment: dict[str, str], tmp_path: Path
) -> None:
    """As where the disk is full: the events stay the group's, and come again."""
    app_ran(redis_server.url)
    file = tmp_path / "full.jsonl"
    limited = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (2_000, r.RLIM_INFINITY)); "
    program = f"{limited}from authkit.cli import main; main()"
    arguments = ("audit", "export", "--group", "siem", "--output", str(file))
    failed = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        check=False,
        timeout=ENOUGH_SECONDS,
    )
    assert failed.returncode == 1
    assert b"the output cannot be written: File too large" in failed.stderr
    assert b"0 events exported" in failed.stderr
    assert file.read_bytes() == b""
    assert pending(redis_server) == 18


def test_what_nobody_reads_is_not_acknowledged(
    redis_server: RedisServer, environment: dict[str, str], command: Command
) -> None:
    """The reader of a pipe has gone: the batch comes again, and no traceback is shown."""
    app_ran(redis_server.url)
    reading, writing = os.pipe()
    os.close(reading)
    with started("export", "--group", "siem", environment=environment, stdout=writing) as process:
        os.close(writing)
        _, errors = process.communicate(timeout=ENOUGH_SECONDS)
    assert process.returncode == 1
    assert errors == b"authkit audit export: 0 events exported\n"
    assert pending(redis_server) == 18
    again = command("export", "--group", "siem")
    assert (again.code, again.output.count(b"\n")) == (0, 18)
    assert pending(redis_server) == 0


def test_trimming_waits_for_the_group(redis_server: RedisServer, command: Command) -> None:
    """What it has not acknowledged stays, however little is to be kept."""

    async def write(first: int, last: int) -> None:
        async with opened(redis_server.url, prefix=PREFIX, max_events=100) as sink:
            await sink.write(made(first, last))

    asyncio.run(write(1, 50))
    assert command("export", "--group", "siem").code == 0
    asyncio.run(write(51, 2_000))
    exported = command("export", "--group", "siem")
    events = [json.loads(line)["sequence"] for line in exported.output.splitlines()]
    assert events == list(range(51, 2_001))


def test_a_pipe_leads_from_the_export_to_the_verification(
    redis_server: RedisServer, environment: dict[str, str], anchors: Path, key_file: Path
) -> None:
    """`authkit audit export | authkit audit verify -`, as it is typed."""
    app_ran(redis_server.url, anchors)
    authkit = f"{sys.executable} -c 'from authkit.cli import main; main()' audit"
    checked = subprocess.run(
        f"set -o pipefail; {authkit} export |"
        f" {authkit} verify - --key-file {key_file} --anchor {anchors}",
        shell=True,
        executable="/bin/bash",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENOUGH_SECONDS,
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stderr == "authkit audit export: 18 events exported\n"
    assert checked.stdout.startswith("nothing is wrong with 18 events of 2 producers")


def test_an_export_that_follows_acknowledges_as_it_goes_and_ends_on_interrupt(
    redis_server: RedisServer, environment: dict[str, str]
) -> None:
    """As a service that feeds a SIEM."""
    app_ran(redis_server.url, records=[record("alice")])
    with started("export", "--group", "siem", "--follow", environment=environment) as process:
        assert process.stdout is not None
        for _ in range(4):
            assert json.loads(process.stdout.readline())["producer"].startswith(PRODUCERS)
        asyncio.run(_write_one(redis_server.url, record("bob")))
        assert json.loads(process.stdout.readline())["subject"] == "bob"
        assert json.loads(process.stdout.readline())["type"] == "audit.anchor"
        deadline = time.monotonic() + ENOUGH_SECONDS
        while pending(redis_server) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert pending(redis_server) == 0
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=ENOUGH_SECONDS)
    assert process.returncode == 130
    assert errors == b"authkit audit export: 6 events exported\n"


async def _write_one(url: str, one: RequestRecord) -> None:
    async with opened(url, prefix=PREFIX) as sink:
        trail = AuditTrail(sink, chain_key=KEY, producer="orders-3")
        async with trail:
            trail.append_request(one)


# Looking at it ------------------------------------------------------------------------------------


def test_the_newest_events_are_shown_in_columns(
    redis_server: RedisServer, command: Command
) -> None:
    """Ten of them if nothing else is said, oldest first, the same things below each other."""
    app_ran(redis_server.url)
    shown = command("tail")
    assert (shown.code, shown.errors) == (0, "")
    lines = shown.output.decode().splitlines()
    assert len(lines) == 10
    assert lines[-2].split() == [
        "2026-03-01T09:30:00.250Z",
        "token.verified",
        "accepted",
        "-",
        "user-7",
        "192.0.2.7",
        ISSUER,
        "client_id=shop",
        "request_id=r-1",
    ]
    assert lines[-1].split()[1] == "audit.anchor"
    assert "is_last=True" in lines[-1]
    assert len({line.index(" accepted ") for line in lines}) == 1
    raw = command("tail", "--count", "1", "--json").output
    assert json.loads(raw)["type"] == "audit.anchor"
    assert command("tail", "--count", "0") == (0, b"", "")


def test_an_event_cannot_write_to_the_terminal(redis_server: RedisServer, command: Command) -> None:
    """Nor look like another one: escapes, marks of direction, line breaks, spaces are spelled."""
    hostile = "\x1b]0;x\x07\x1b[2J\r\n2026 \u202e\x9b1mb\\\x7f"
    app_ran(redis_server.url, records=[record(hostile, client_address="-" * 10_000)])
    # As it is, or by a program that does not mind.
    raw = json.dumps({"subject": hostile}, ensure_ascii=False).encode() + b"\x1b[2J\n\x9b forged"
    redis_server.command("XADD", LOG, "*", "e", raw)
    for arguments in (("tail",), ("tail", "--json"), ("export",), ("export", "--group", "siem")):
        ran = command(*arguments)
        assert ran.code == 0
        text = ran.output.decode()
        assert all(line.isprintable() for line in text.split("\n"))
        assert len(text.splitlines()) == 5
    shown = command("tail").output.decode().splitlines()
    assert r" \x1b]0;x\x07\x1b[2J\r\n2026\x20\u202e\x9b1mb\\\x7f " in shown[0]
    assert shown[-1].startswith("not an audit event: ")
    assert "5 events exported, 1 of them not as authkit writes them" in command("export").errors


def test_a_line_that_is_no_line_forges_none(
    redis_server: RedisServer, command: Command, tmp_path: Path, key_file: Path
) -> None:
    """An event behind a line break in an entry is no event in the export, nor to who verifies."""
    app_ran(redis_server.url, records=[record("alice")])
    [first, *_] = command("export").output.splitlines()
    for raw in (b"{}\n" + first, first + b"\n" + first, b"\x1b[2J\r" + first, first + b"\n"):
        redis_server.command("XADD", LOG, "*", "e", raw)
    file = tmp_path / "trail"
    exported = command("export", "--group", "siem", "--output", str(file))
    assert exported.errors.endswith(": 8 events exported, 4 of them not as authkit writes them\n")
    lines = file.read_bytes().splitlines()
    assert (len(lines), lines.count(first)) == (8, 1)
    checked = command("verify", str(file), "--key-file", str(key_file))
    assert (checked.code, checked.output) == (1, b"")
    assert checked.errors.startswith("authkit audit verify: not_an_event: line 5 ")
    assert checked.errors.rstrip("\n").isprintable()


def test_what_is_too_large_for_an_event_is_said(
    redis_server: RedisServer, command: Command
) -> None:
    """It is neither shown nor exported; a group is done with it."""
    app_ran(redis_server.url, records=[record("alice")])
    redis_server.command("XADD", LOG, "*", "e", b"\x1b" * 2_000_000)
    said = "too large for an event passed over"
    for arguments in (("export",), ("export", "--group", "siem")):
        exported = command(*arguments)
        assert (exported.code, exported.output.count(b"\n")) == (0, 4)
        assert exported.errors.endswith(f": 4 events exported; 1 {said}\n")
    assert pending(redis_server) == 0
    assert command("export", "--group", "siem").errors == (
        "authkit audit export: 0 events exported\n"
    )
    assert command("tail").output.count(b"\n") == 4


def test_new_events_are_shown_as_they_come(
    redis_server: RedisServer, environment: dict[str, str]
) -> None:
    """Until it is interrupted, which is how it ends."""
    app_ran(redis_server.url, records=[record("alice")])
    with started("tail", "-f", "-n", "1", environment=environment) as process:
        assert process.stdout is not None
        assert b" audit.anchor " in process.stdout.readline()
        asyncio.run(_write_one(redis_server.url, record("bob")))
        assert b" bob " in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=ENOUGH_SECONDS)
    assert (process.returncode, errors) == (130, b"")


def test_a_reader_that_goes_ends_it_quietly(
    redis_server: RedisServer, environment: dict[str, str]
) -> None:
    """`authkit audit tail | head -1`."""
    app_ran(redis_server.url, records=[record("alice" * 20) for _ in range(400)])
    with started("tail", "--count", "800", environment=environment) as process:
        assert process.stdout is not None
        assert b" token.verified " in process.stdout.readline()
        process.stdout.close()
        process.wait(ENOUGH_SECONDS)
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (0, b"")


def test_without_an_event_it_says_so(command: Command) -> None:
    """It may be the wrong prefix."""
    assert command("tail") == (
        0,
        b"",
        "authkit audit tail: there are no events under the prefix shop\n",
    )
    assert command("export") == (0, b"", "authkit audit export: 0 events exported\n")


# What may be in the way ---------------------------------------------------------------------------


READING = [("tail",), ("tail", "--follow"), ("export",), ("export", "--group", "siem")]


@pytest.mark.parametrize("arguments", READING)
def test_a_server_that_is_not_there_is_an_outage(
    arguments: tuple[str, ...], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said soon, and without the password in the address."""
    url = f"redis://operator:hunter2@127.0.0.1:{free_port()}/0"
    monkeypatch.setenv("AUTHKIT_REDIS_URL", url)
    ran = command(*arguments)
    assert (ran.code, ran.output) == (1, b"")
    assert f"authkit audit {arguments[0]}: audit: " in ran.errors
    assert "hunter2" not in ran.errors


@pytest.mark.parametrize("arguments", READING)
def test_a_user_that_is_not_let_in_is_told(
    arguments: tuple[str, ...],
    redis_server: RedisServer,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waiting would not help."""
    monkeypatch.setenv(
        "AUTHKIT_REDIS_URL", f"redis://operator:hunter2@127.0.0.1:{redis_server.port}/0"
    )
    ran = command(*arguments)
    assert (ran.code, ran.output) == (2, b"")
    assert "hunter2" not in ran.errors


@pytest.mark.parametrize("arguments", READING)
def test_the_data_of_another_program_are_not_read(
    arguments: tuple[str, ...], redis_server: RedisServer, command: Command
) -> None:
    """And no traceback is shown."""
    redis_server.command("SET", LOG, "theirs")
    ran = command(*arguments)
    assert (ran.code, ran.output) == (1, b"")
    assert "WRONGTYPE" in ran.errors
