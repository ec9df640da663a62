"""AssertingAuditSink: finds what was recorded, waits for it, and tells what came instead."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from authkit.interfaces import AuditEvent
from authkit.testing import AssertingAuditSink
from authkit.testing.contracts import AuditSinkContract, event_fields

ACCEPTED = AuditEvent(
    schema=1,
    producer="p",
    sequence=1,
    time=1_800_000_000.0,
    type="token.verified",
    outcome="accepted",
    code=None,
    issuer="https://issuer.test",
    subject="alice",
    client_id="web",
    token_hash=None,
    key_thumbprint=None,
    client_address=None,
    request_id=None,
    trace_id=None,
    data={"route": "/orders", "cached": True},
)
REFUSED = replace(ACCEPTED, sequence=2, outcome="refused", code="token_expired", subject=None)


@pytest.fixture
def sink() -> AssertingAuditSink:
    """A sink with one accepted and one refused event."""
    sink = AssertingAuditSink()
    asyncio.run(sink.write([ACCEPTED, REFUSED]))
    return sink


def _later(sink: AssertingAuditSink, event: AuditEvent) -> threading.Thread:
    """Writes from another thread's loop after a moment, as an app inside a TestClient does."""

    def write() -> None:
        time.sleep(0.02)
        asyncio.run(sink.write([event]))

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_the_events_are_those_written_in_order(sink: AssertingAuditSink) -> None:
    """`events` holds what arrived, oldest first."""
    assert sink.events == (ACCEPTED, REFUSED)


def test_an_event_is_found_by_its_fields(sink: AssertingAuditSink) -> None:
    """The first event that has all the fields is given back."""
    assert sink.assert_event(type="token.verified", outcome="refused") is REFUSED
    assert sink.assert_event(type="token.verified") is ACCEPTED


def test_none_means_that_the_field_is_none(sink: AssertingAuditSink) -> None:
    """`code=None` looks for an event without a code, not for any code."""
    assert sink.matching(code=None) == (ACCEPTED,)
    assert sink.matching(subject=None) == (REFUSED,)


def test_data_may_hold_more_than_was_asked_for(sink: AssertingAuditSink) -> None:
    """`data` compares the members that are named, and no others."""
    assert sink.matching(data={"route": "/orders"}) == (ACCEPTED, REFUSED)
    assert sink.matching(data={"route": "/orders", "cached": False}) == ()
    assert sink.matching(data={"unknown": None}) == ()


def test_a_missing_event_fails_with_a_list_of_what_arrived(sink: AssertingAuditSink) -> None:
    """The failure names what was wanted, and for each event the fields in which it differs."""
    with pytest.raises(AssertionError) as failure:
        sink.assert_event(timeout_seconds=0, outcome="refused", code="token_revoked")
    message = str(failure.value)
    assert "no audit event with outcome='refused', code='token_revoked'" in message
    assert "2 arrived" in message
    assert "#1 type='token.verified' outcome='accepted' code=None subject='alice'" in message
    assert "#2 type='token.verified' outcome='refused' code='token_expired'" in message
    assert message.endswith("differs in code")


def test_a_missing_event_says_so_when_nothing_arrived() -> None:
    """An empty sink fails too."""
    with pytest.raises(AssertionError, match="no audit event\n0 arrived"):
        AssertingAuditSink().assert_event(timeout_seconds=0)


def test_an_unexpected_event_fails_with_a_list_of_them(sink: AssertingAuditSink) -> None:
    """`assert_no_event` names the events that should not be there."""
    sink.assert_no_event(outcome="unavailable")
    with pytest.raises(AssertionError, match=r"with outcome='refused', but 1 arrived:\n  #2 "):
        sink.assert_no_event(outcome="refused")


def test_a_cleared_sink_is_empty(sink: AssertingAuditSink) -> None:
    """`clear` separates one part of a test from the next."""
    sink.clear()
    sink.assert_no_event()


@pytest.mark.parametrize("method", ["assert_event", "assert_no_event", "matching"])
def test_an_unknown_field_is_a_mistake_of_the_test(sink: AssertingAuditSink, method: str) -> None:
    """A misspelt field is a TypeError that lists the fields, never an event that is not found."""
    with pytest.raises(TypeError, match=r"no field outcom; it has .*outcome"):
        getattr(sink, method)(outcom="refused")


def test_a_synchronous_test_waits_for_an_event_of_another_thread() -> None:
    """`assert_event` waits for the trail, which writes after the reply was sent."""
    sink = AssertingAuditSink()
    asyncio.run(sink.write([ACCEPTED]))
    thread = _later(sink, REFUSED)
    assert sink.assert_event(code="token_expired") is REFUSED
    thread.join()


@pytest.mark.anyio
async def test_an_asynchronous_test_waits_without_blocking_its_loop() -> None:
    """`wait_for` lets the loop go on, so that the trail in it can write."""
    sink = AssertingAuditSink()

    async def write() -> None:
        await asyncio.sleep(0)
        await sink.write([ACCEPTED])
        await asyncio.sleep(0)
        await sink.write([REFUSED])

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        assert await sink.wait_for(code="token_expired") is REFUSED


@pytest.mark.anyio
async def test_an_asynchronous_test_can_wait_for_another_thread() -> None:
    """A write in another loop wakes the one that waits."""
    sink = AssertingAuditSink()
    thread = _later(sink, REFUSED)
    assert await sink.wait_for(code="token_expired") is REFUSED
    await asyncio.to_thread(thread.join)


@pytest.mark.anyio
async def test_waiting_ends_with_a_list_of_what_arrived(sink: AssertingAuditSink) -> None:
    """After the timeout the failure is that of `assert_event`."""
    with pytest.raises(AssertionError, match="code='key_not_found'\n2 arrived"):
        await sink.wait_for(timeout_seconds=0.01, code="key_not_found")


@pytest.mark.anyio
async def test_inside_a_loop_assert_event_does_not_wait(sink: AssertingAuditSink) -> None:
    """It could only wait in vain there, so it fails at once and says what to use."""
    assert sink.assert_event(code="token_expired") is REFUSED
    with pytest.raises(AssertionError, match=r"`await sink\.wait_for\(\.\.\.\)`"):
        sink.assert_event(timeout_seconds=60, code="key_not_found")


class TestAssertingAuditSinkContract(AuditSinkContract):
    """It is an AuditSink like any other."""

    @pytest.fixture
    def sink(self) -> AssertingAuditSink:
        return AssertingAuditSink()

    @pytest.fixture
    def written(
        self, sink: AssertingAuditSink
    ) -> Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]:
        async def written() -> Sequence[Mapping[str, Any]]:
            return list(map(event_fields, sink.events))

        return written
