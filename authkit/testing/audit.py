"""An audit sink that a test asks what was recorded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any

from authkit.clock import SystemClock
from authkit.interfaces import AuditEvent, AuditSink

__all__ = ["AssertingAuditSink"]

_FIELDS = frozenset(field.name for field in fields(AuditEvent))
_SHOWN = ("type", "outcome", "code", "subject", "client_id", "issuer", "client_address", "data")


class AssertingAuditSink:
    """Keeps every event, and fails a test with a list of what arrived.

    The events that are looked for are described by fields of `AuditEvent`: `type`,
    `outcome`, `code`, `subject` and so on, each equal to what is given; `None` means that
    the field is None.  `data={...}` asks for these members and allows others.

    The audit trail writes from a task of its own, shortly after the call that it records.
    So a test waits for what it expects: `assert_event` does in a synchronous test, and
    `wait_for` does in an asynchronous one.  Events arrive in the order in which they
    happened: to know that something was not recorded, first see something later arrive.
    """

    def __init__(self) -> None:
        self._events: list[AuditEvent] = []
        self._wakers: list[Callable[[], object]] = []

    @property
    def events(self) -> tuple[AuditEvent, ...]:
        """Everything that has arrived, oldest first."""
        return tuple(self._events)

    async def write(self, events: Sequence[AuditEvent]) -> None:
        """Keeps the batch, and wakes those who wait, in whichever thread they are."""
        self._events.extend(events)
        for wake in tuple(self._wakers):
            wake()

    def clear(self) -> None:
        """Forgets what has arrived so far."""
        self._events.clear()

    def matching(self, **expected: Any) -> tuple[AuditEvent, ...]:
        """The events with these fields, oldest first.

        Raises:
            TypeError: an AuditEvent has no such field.
        """
        _check_names(expected)
        return tuple(event for event in self.events if not _differences(event, expected))

    def assert_event(self, *, timeout_seconds: float = 2.0, **expected: Any) -> AuditEvent:
        """The first event with these fields.

        Args:
            timeout_seconds: how long to wait for it.  Inside a running event loop it is not
                waited for at all, because the trail could not write meanwhile.
            expected: fields of AuditEvent.

        Raises:
            AssertionError: no such event arrived; the message lists those that did.
            TypeError: an AuditEvent has no such field.
        """
        may_wait = not _in_event_loop()
        clock = SystemClock()
        deadline = clock.monotonic() + timeout_seconds
        arrived = threading.Event()
        with self._woken(arrived.set):
            while True:
                found = self.matching(**expected)
                if found:
                    return found[0]
                remaining = deadline - clock.monotonic()
                if not may_wait or remaining <= 0:
                    break
                arrived.wait(remaining)
                arrived.clear()
        hint = "" if may_wait else "; `await sink.wait_for(...)` waits for one still to come"
        raise AssertionError(self._none_of(expected, hint))

    async def wait_for(self, *, timeout_seconds: float = 2.0, **expected: Any) -> AuditEvent:
        """As `assert_event`, for asynchronous tests: the event loop goes on meanwhile.

        Raises:
            AssertionError: no such event arrived in time; the message lists those that did.
            TypeError: an AuditEvent has no such field.
        """
        arrived = asyncio.Event()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, arrived.set)
        with self._woken(wake):
            try:
                async with asyncio.timeout(timeout_seconds):
                    while not (found := self.matching(**expected)):
                        await arrived.wait()
                        arrived.clear()
            except TimeoutError:
                raise AssertionError(self._none_of(expected)) from None
        return found[0]

    def assert_no_event(self, **expected: Any) -> None:
        """Nothing with these fields has arrived so far; without fields, nothing at all.

        Raises:
            AssertionError: something has; the message lists it.
            TypeError: an AuditEvent has no such field.
        """
        found = self.matching(**expected)
        if found:
            listed = "".join(f"\n  {_line(event)}" for event in found)
            raise AssertionError(
                f"expected no audit event{_described(expected)}, but {len(found)} arrived:{listed}"
            )

    @contextmanager
    def _woken(self, wake: Callable[[], object]) -> Iterator[None]:
        self._wakers.append(wake)
        try:
            yield
        finally:
            self._wakers.remove(wake)

    def _none_of(self, expected: Mapping[str, Any], hint: str = "") -> str:
        events = self.events
        head = f"no audit event{_described(expected)}{hint}\n{len(events)} arrived"
        return head + "".join(
            f"\n  {_line(event)}\n    differs in {', '.join(_differences(event, expected))}"
            for event in events
        )


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _check_names(expected: Mapping[str, Any]) -> None:
    unknown = expected.keys() - _FIELDS
    if unknown:
        raise TypeError(
            f"an AuditEvent has no field {', '.join(sorted(unknown))}; "
            f"it has {', '.join(sorted(_FIELDS))}"
        )


def _differences(event: AuditEvent, expected: Mapping[str, Any]) -> list[str]:
    return [name for name, value in expected.items() if not _agrees(name, event, value)]


def _agrees(name: str, event: AuditEvent, value: Any) -> bool:
    if name == "data":
        return bool(value.items() <= event.data.items())
    return bool(getattr(event, name) == value)


def _described(expected: Mapping[str, Any]) -> str:
    if not expected:
        return ""
    return " with " + ", ".join(f"{name}={value!r}" for name, value in expected.items())


def _line(event: AuditEvent) -> str:
    shown = ((name, getattr(event, name)) for name in _SHOWN)
    return f"#{event.sequence} " + " ".join(
        f"{name}={value!r}" for name, value in shown if value or name == "code"
    )


_: AuditSink = AssertingAuditSink()
