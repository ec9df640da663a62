"""What the contract suites share: time, outages, abilities, and the promises of every backend."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, ClassVar, TypeVar

import pytest

from authkit.clock import Clock
from authkit.errors import BackendUnavailable
from authkit.interfaces import Observable, StateChange
from authkit.testing.clock import ManualClock
from authkit.testing.contracts.concurrency import ending_within

__all__ = ["Advance", "BackendContract", "Outage", "needs", "wait_until"]

T = TypeVar("T")
_Test = TypeVar("_Test", bound=Callable[..., Any])

Advance = Callable[[float], Awaitable[None]]
"""Lets so many seconds pass."""

Outage = Callable[[], AbstractAsyncContextManager[object]]
"""Takes down what the backend depends on, for as long as its `async with` lasts."""

A_FRACTION_OF_A_SECOND_PAST = 1_800_000_000.25
"""When the suites begin: what counts in whole seconds only is not right by chance."""

LONGEST_WAIT_SECONDS = 10.0
"""Beside `staleness_seconds`, what a test may wait for on a clock that it cannot move."""

_NEEDED = "needed_abilities"


def needs(*abilities: str) -> Callable[[_Test], _Test]:
    """Marks a test of abilities that not every backend has, by their class attributes."""

    def mark(test: _Test) -> _Test:
        setattr(test, _NEEDED, abilities)
        return test

    return mark


class BackendContract:
    """Promises of every backend; all suites inherit them.

    Attributes:
        interface: what a BackendUnavailable of this backend names.
        timeout_seconds: within which every call ends, an outage or not; in real time.
        staleness_seconds: how long the backend may go on answering from what it knew.
        clock_tolerance_seconds: how far the backend's clock may be from the fixture `clock`.
        can_skip_time: the backend takes its time from the fixture `clock`, a ManualClock, so
            that `advance` skips hours at once.
        can_fail: the fixture `outage` is overridden.
        is_observable: it is an Observable.
        is_context_manager: it has `__aenter__` and `__aexit__`.
    """

    pytestmark: ClassVar[pytest.MarkDecorator] = pytest.mark.anyio

    interface: ClassVar[str]
    timeout_seconds: float = 5.0
    staleness_seconds: float = 0.0
    clock_tolerance_seconds: float = 0.0
    can_skip_time: bool = True
    can_fail: bool = False
    is_observable: bool = False
    is_context_manager: bool = False

    abilities: ClassVar[Mapping[str, type]] = {
        "is_observable": Observable,
        "is_context_manager": AbstractAsyncContextManager,
    }

    def __init_subclass__(cls) -> None:
        """Leaves out of a backend's class the tests of what its attributes do not claim."""
        super().__init_subclass__()
        if cls.__module__.startswith(__package__):
            return  # a suite itself, or a part of one
        for name in dir(cls):
            homes = (vars(home).get(name) for home in cls.__mro__)
            test = next((found for found in homes if found is not None), None)
            needed = getattr(test, _NEEDED, None)
            if needed is not None:
                # pytest does not collect what is None.  A skip would say that something is missing.
                has_all = all(getattr(cls, ability) not in (False, None) for ability in needed)
                setattr(cls, name, test if has_all else None)

    @pytest.fixture
    def clock(self) -> Clock:
        """The clock to give to the backend.  Override it with a SystemClock for a real server."""
        return ManualClock(A_FRACTION_OF_A_SECOND_PAST)

    @pytest.fixture
    def advance(self, clock: Clock) -> Advance:
        """Lets time pass: moves a ManualClock, waits in earnest on any other clock."""
        if self.can_skip_time and not isinstance(clock, ManualClock):
            pytest.fail(
                "can_skip_time = True needs a ManualClock as the fixture `clock`; "
                "declare can_skip_time = False where the backend's time is the machine's"
            )

        async def advance(seconds: float) -> None:
            if isinstance(clock, ManualClock):
                clock.advance(seconds)
                await asyncio.sleep(0)
            elif seconds > LONGEST_WAIT_SECONDS + self.staleness_seconds:
                pytest.fail(f"a wait of {seconds:.0f} s: is staleness_seconds declared too low?")
            else:
                await asyncio.sleep(seconds)

        return advance

    @pytest.fixture
    def outage(self) -> Outage:
        """Override it, and declare `can_fail = True`, where the backend depends on something."""
        raise NotImplementedError("can_fail = True needs the fixture `outage`")

    @pytest.fixture
    def backend(self) -> Any:
        """The backend under test, by its interface's own fixture."""
        raise NotImplementedError

    async def use(self, backend: Any) -> None:
        """Makes one call, and checks its answer."""
        raise NotImplementedError

    async def in_time(self, call: Awaitable[T]) -> T:
        """The result of a call, which must end within `timeout_seconds`."""
        return await ending_within(self.timeout_seconds, call)

    async def assert_unavailable(self, call: Awaitable[object]) -> BackendUnavailable:
        """Checks that the call ends in time, with a BackendUnavailable that names the interface."""
        with pytest.raises(BackendUnavailable) as raised:
            await self.in_time(call)
        assert raised.value.interface == self.interface
        assert raised.value.retry_after_seconds >= 0
        return raised.value

    async def test_declares_the_abilities_that_it_has(self, backend: Any) -> None:
        """The Verifier finds abilities by their methods, so the suite must test exactly those."""
        found = {name: isinstance(backend, kind) for name, kind in self.abilities.items()}
        declared = {name: getattr(self, name) for name in self.abilities}
        assert declared == found

    @needs("is_context_manager")
    async def test_stays_open_until_the_last_exit(self, backend: Any) -> None:
        """Entered twice and left once, it still works."""
        async with backend:
            async with backend:
                await self.in_time(self.use(backend))
            await self.in_time(self.use(backend))

    @needs("is_context_manager")
    async def test_can_be_entered_again(self, backend: Any) -> None:
        """Entered, left and entered again, it works again."""
        async with backend:
            await self.in_time(self.use(backend))
        async with backend:
            await self.in_time(self.use(backend))

    @needs("is_context_manager")
    async def test_stays_open_when_one_of_two_owners_fails(self, backend: Any) -> None:
        """An exception that leaves an inner `async with` passes through and closes nothing."""
        async with backend:
            with pytest.raises(ZeroDivisionError):
                async with backend:
                    raise ZeroDivisionError
            await self.in_time(self.use(backend))

    @needs("is_observable")
    async def test_stats_are_figures_by_snake_case_name(self, backend: Any) -> None:
        """Every figure is a finite number under a snake_case name."""
        await self.use(backend)
        for name, value in backend.stats().items():
            assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
            assert isinstance(value, (int, float)), name
            assert math.isfinite(value), name

    @needs("is_observable")
    async def test_cumulative_stats_never_go_back(self, backend: Any) -> None:
        """A figure whose name ends in `_total` stays or grows from call to call."""
        before = _totals(backend)
        for _ in range(3):
            await self.use(backend)
            after = _totals(backend)
            sunk = {name: after.get(name) for name in before if after.get(name, -1) < before[name]}
            assert sunk == {}
            before = after

    @needs("is_observable")
    async def test_takes_several_listeners(self, backend: Any) -> None:
        """Listening changes no answer, however many listen."""
        for _ in range(3):
            backend.observe(lambda change: None)
        await self.use(backend)

    @needs("is_observable", "can_fail")
    async def test_tells_of_an_outage(self, backend: Any, outage: Outage, advance: Advance) -> None:
        """A listener hears that the state changed, although another listener raises."""
        heard: list[StateChange] = []

        def raises(change: StateChange) -> None:
            raise RuntimeError("a listener's own mistake")

        await self.use(backend)
        backend.observe(raises)
        backend.observe(heard.append)
        async with outage():
            await advance(self.staleness_seconds)
            with suppress(BackendUnavailable):
                await self.in_time(self.use(backend))
        assert heard
        for change in heard:
            assert change.interface == self.interface
            assert change.old != change.new
            assert math.isfinite(change.time)


async def wait_until(moment: float, clock: Clock, advance: Advance) -> None:
    """Waits until that time, in seconds since the epoch."""
    if moment > clock.time():
        await advance(moment - clock.time())


def _totals(backend: Any) -> dict[str, float]:
    return {name: value for name, value in backend.stats().items() if name.endswith("_total")}
