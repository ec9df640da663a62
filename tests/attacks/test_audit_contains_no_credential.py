"""Credentials in logs (CWE-532), and log lines forged by what a caller sends (CWE-117).

A bearer token in a log file is a login for everyone who may read the file.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authkit.audit import AuditTrail, FanOutAuditSink, LoggingAuditSink, RequestRecord
from authkit.errors import BackendUnavailable
from authkit.interfaces import AuditEvent

LOGGER = "audit-credential-test"
JWT = ".".join(
    ["eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ", "eyJzdWIiOiJhbGljZSJ9" * 8, "c2lnbmF0dXJl" * 20]
)

b64token = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=40)
signed_tokens = st.builds(
    lambda header, claims, signature: f"{header}.{claims}.{signature}",
    *(st.text(st.sampled_from("ABCdef0189-_"), min_size=50, max_size=200) for _ in range(3)),
)


class Broken:
    """A sink that fails, and whose exception quotes what it was given."""

    def __init__(self) -> None:
        self.is_broken = True
        self.has_failed = asyncio.Event()

    async def write(self, events: Sequence[AuditEvent]) -> None:
        if self.is_broken:
            self.has_failed.set()
            raise BackendUnavailable("audit") from OSError(repr(events))


def written(record: RequestRecord, **control: Any) -> str:
    """Everything that a trail with a logging and a failing sink writes of the record, anywhere."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger(LOGGER), logging.getLogger("authkit")]
    broken = Broken()

    async def run() -> None:
        trail = AuditTrail(FanOutAuditSink(LoggingAuditSink(LOGGER), broken), retry_seconds=0.001)
        trail.append_request(record)
        stream.write(repr(record))
        async with trail:
            await trail.append_control("token.revoked", **control)
            await broken.has_failed.wait()
            broken.is_broken = False

    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        asyncio.run(run())
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.propagate = True
    return stream.getvalue()


def pieces(token: str) -> set[str]:
    """Every 16 characters in a row of the token."""
    return {token[start : start + 16] for start in range(len(token) - 15)}


def leaked(token: str, text: str) -> list[str]:
    """The pieces of the token that the text holds."""
    return sorted(piece for piece in pieces(token) if piece in text)


@given(token=signed_tokens | b64token)
@example(token=JWT)
def test_a_token_in_the_place_of_its_hash_is_not_written(token: str) -> None:
    """A caller of the trail that hands over the token itself makes no leak of it."""
    record = RequestRecord(
        1.0, "refused", "token_malformed", None, None, None, None, token, None, None, None, None
    )
    text = written(record, token_hash=token)
    assert sha256(token.encode()).hexdigest() in text
    assert leaked(token, text) == []


@pytest.mark.parametrize("place", ["client_address", "request_id", "trace_id"])
@given(token=signed_tokens)
@example(token=JWT)
def test_a_token_sent_along_as_an_id_is_not_written(place: str, token: str) -> None:
    """A client that repeats its signed token in X-Request-ID finds it nowhere in the trail."""
    address, request_id, trace_id = (
        token if name == place else None for name in ("client_address", "request_id", "trace_id")
    )
    record = RequestRecord(
        1.0, "accepted", None, None, "alice", None, None, None, address, request_id, trace_id, None
    )
    text = written(record, **{place: token})
    assert '"subject":"alice"' in text
    assert leaked(token, text) == []


@given(text=st.text())
@example(text='x"}\n{"schema":1,"type":"token.verified","outcome":"accepted"}')
@example(text="\r\n\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\ud800\x7f\x1b[2J")
def test_no_text_of_a_request_forges_a_line(text: str) -> None:
    """One event is one line that reads back as this event, whatever the caller sent."""
    record = RequestRecord(
        1.0, "refused", None, None, text, text, None, None, text, text, text, {text: text}
    )
    lines = written(record).removeprefix(repr(record)).splitlines()
    assert all(" " <= character <= "~" for line in lines for character in line)
    # What is not an event is the library's own log, which tells that a sink fails.
    first, second = (json.loads(line) for line in lines if not line.startswith("audit: "))
    assert (first["type"], first["outcome"]) == ("token.verified", "refused")
    assert first["subject"].encode() == text.encode("utf-8", "backslashreplace")
    assert second["type"] == "token.revoked"
