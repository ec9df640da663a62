"""What every test stands on: the event loop, the guards, hypothesis profiles, no silent skips."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from authkit.audit.log_lines import log_lines
from tests.guards import blocking_calls_refused, loopback_only

pytest_plugins = ["authkit.testing.plugin"]

IS_CI = os.environ.get("CI") == "true"

# Shared machines are slow now and then, so no example has a deadline: a test has one as a whole.
settings.register_profile("dev", max_examples=100, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=1_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if IS_CI else "dev"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests and fixtures run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    with loopback_only():
        yield


@pytest.fixture(scope="session")
def blocking_calls() -> Iterator[list[str]]:
    with blocking_calls_refused("authkit", "authkit_memory", "authkit_redis") as seen:
        yield seen


@pytest.fixture(autouse=True)
def _event_loop_never_blocked(blocking_calls: list[str]) -> Iterator[None]:
    blocking_calls.clear()
    yield
    assert not blocking_calls, "called in the event loop:\n" + "\n".join(blocking_calls)


@pytest.fixture(autouse=True)
def _no_lines_of_earlier_tests() -> None:
    # The audit trail logs in a thread; what one test has set off must not be read by the next.
    if log_lines._thread is not None:
        asyncio.run(log_lines.drain(5))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that is skipped has failed: something it needs is missing."""
    report = yield
    if IS_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not accept: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI a module that skips itself has failed too."""
    report = yield
    if IS_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not accept: {report.longrepr}"
    return report
