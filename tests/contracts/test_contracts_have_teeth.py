"""The suites pass an honest backend, and fail bad ones in the tests of what they break."""

from __future__ import annotations

import asyncio
import inspect
import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from authkit.clock import Clock, SystemClock
from authkit.testing.contracts.backend import Advance, BackendContract
from tests.contracts.bad_backends import (
    audit_sinks,
    key_sources,
    keys_found,
    keys_kept,
    keys_shared,
    limiter_costs,
    limiter_counting,
    limiter_time,
    revocation_abilities,
    revocation_coverage,
    revocation_keeping,
)
from tests.contracts.bad_backends.honest_audit_sink import Sinks
from tests.contracts.bad_backends.honest_key_provider import Providers
from tests.contracts.bad_backends.honest_key_source import Sources
from tests.contracts.bad_backends.honest_rate_limiter import Limiters
from tests.contracts.bad_backends.honest_revocation_store import Stores

TEETH: Mapping[type[BackendContract], Sequence[ModuleType]] = {
    Providers: (keys_found, keys_kept, keys_shared),
    Sources: (key_sources,),
    Limiters: (limiter_costs, limiter_counting, limiter_time),
    Sinks: (audit_sinks,),
    Stores: (revocation_coverage, revocation_keeping, revocation_abilities),
}


def _bad_backends() -> Iterator[tuple[type[Any], type[Any]]]:
    """Each suite with the honest backend, and with every bad one."""
    for suite, modules in TEETH.items():
        yield suite, vars(suite)["kind"]
        for module in modules:
            for kind in vars(module).values():
                if isinstance(kind, type) and kind.__module__ == module.__name__:
                    yield suite, kind


class ImpatientLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while there is work, and then jumps to the next timer.

    So a call that would wait for ever is found at once, and a slow machine finds no other.
    """

    def __init__(self) -> None:
        super().__init__(_ImpatientSelector(self))
        self.now = 0.0

    def time(self) -> float:
        return self.now


class _ImpatientSelector(selectors.SelectSelector):
    def __init__(self, loop: ImpatientLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen"
        self.loop.now += max(timeout, 0)
        return super().select(0)


async def failed_tests(suite: type[BackendContract]) -> set[str]:
    """The names of the tests that fail.

    Runs the whole suite in one event loop, without pytest: there are thousands of runs here,
    and pytest is at work on the suites in the modules beside this one.
    """
    failed = set()
    for name, test in _tests(suite):
        for arguments in _parameters(test):
            try:
                await _run(suite(), test, arguments)
            except (Exception, pytest.fail.Exception):
                failed.add(name)
    return failed


def _tests(suite: type[BackendContract]) -> list[tuple[str, Callable[..., Any]]]:
    functions = inspect.getmembers(suite, inspect.isfunction)
    return [(name, function) for name, function in functions if name.startswith("test_")]


async def _run(instance: BackendContract, test: Callable[..., Any], known: dict[str, Any]) -> None:
    result = _called(instance, test, known)
    if inspect.isawaitable(result):
        await asyncio.wait_for(result, 3600)


def _called(instance: BackendContract, function: Callable[..., Any], known: dict[str, Any]) -> Any:
    """Calls a test or a fixture with the fixtures that it asks for, each made once."""
    names = _argument_names(function)
    for name in names:
        if name not in known:
            fixture = inspect.unwrap(inspect.getattr_static(instance, name))
            known[name] = _called(instance, fixture, known)
    return function(instance, **{name: known[name] for name in names})


@cache
def _argument_names(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)[1:]


def _parameters(test: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """The arguments that `parametrize` gives to each run of a test."""
    marks = [mark.args for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    for values in product(*(mark[1] for mark in marks)):
        arguments: dict[str, Any] = {}
        for (names, _), value in zip(marks, values, strict=True):
            arguments |= (
                {names: value} if isinstance(names, str) else dict(zip(names, value, strict=True))
            )
        yield arguments


@pytest.mark.parametrize(
    ("suite", "kind"),
    [pytest.param(*pair, id=f"{pair[0].__name__}-{pair[1].__name__}") for pair in _bad_backends()],
)
def test_the_suite_fails_where_the_promise_is_broken(suite: type[Any], kind: type[Any]) -> None:
    """The tests that fail are those of the broken promise and no other; the honest one passes."""
    suite_of_kind = type(kind.__name__, (suite,), {"kind": kind, **kind.declares})
    with asyncio.Runner(loop_factory=ImpatientLoop) as runner:
        failed = runner.run(failed_tests(suite_of_kind))
    if kind.breaks_more:
        failed &= set(kind.breaks)
    assert failed == set(kind.breaks)


@pytest.mark.parametrize("suite", TEETH, ids=lambda suite: suite.__name__)
def test_every_promise_is_broken_by_some_backend(suite: type[Any]) -> None:
    """No test of a suite is without a bad backend that it finds."""
    tests = {name for name, _ in _tests(suite)}
    broken = {name for of, kind in _bad_backends() if of is suite for name in kind.breaks}
    assert tests - broken == set()


def test_what_a_backend_does_not_declare_is_not_collected() -> None:
    """Tests of an ability are there for the classes that declare it, and for no others."""

    class Lifting(Stores):
        is_lifting = True

    class NotLifting(Lifting):
        is_lifting = False

    class LiftingAgain(NotLifting):
        is_lifting = True

    name = "test_lifting_twice_is_lifting_once"
    with_a_test_of_its_own = type("WithATestOfItsOwn", (NotLifting,), {name: lambda self: None})
    suites = (Lifting, NotLifting, LiftingAgain, with_a_test_of_its_own)
    assert [name in dict(_tests(suite)) for suite in suites] == [True, False, True, True]


class WaitsInEarnest(Limiters):
    """Has the machine's clock, and says nothing of it."""

    @pytest.fixture
    def clock(self) -> Clock:
        return SystemClock()


@pytest.mark.parametrize(
    ("declared", "message"),
    [({}, "can_skip_time = False"), ({"can_skip_time": False}, "a wait of 3600 s")],
    ids=["undeclared", "declared"],
)
def test_nobody_waits_for_hours(declared: Mapping[str, object], message: str) -> None:
    """On a clock that cannot be moved, a wait that no suite can mean fails at once."""
    suite = type("Suite", (WaitsInEarnest,), dict(declared))

    async def wait(self: BackendContract, advance: Advance) -> None:
        await advance(3600)

    with pytest.raises(pytest.fail.Exception, match=message):
        asyncio.run(_run(suite(), wait, {}))


def test_a_failure_shows_what_was_compared(tmp_path: Path) -> None:
    """Run by pytest with the plugin, a failing test of a suite shows both values."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["authkit.testing.plugin"]\n')
    (tmp_path / "test_limiter.py").write_text(
        "from tests.contracts.bad_backends.honest_rate_limiter import Limiters\n"
        "from tests.contracts.bad_backends.limiter_counting import SaysWhatThereWas\n\n\n"
        "class TestLimiter(Limiters):\n"
        "    kind = SaysWhatThereWas\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", "counts_down"]
    root = {"PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(
        command, cwd=tmp_path, env=os.environ | root, capture_output=True, text=True, check=False
    )
    assert "assert [3, 2, 1, 0] == [2, 1, 0, 0]" in result.stdout
