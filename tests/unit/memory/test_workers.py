"""The warning where several worker processes would each have a memory of their own."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from authkit_memory import MemoryRateLimiter, MemoryRevocationStore, workers
from authkit_memory.workers import warn_of_several_workers, worker_count

Spawned = Callable[..., None]


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_warned", set())


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> Spawned:
    """Makes this process look as if a server had started it with such a configuration."""

    def spawned(module: str, **settings: Any) -> None:
        config = type("Config", (SimpleNamespace,), {"__module__": module})(**settings)
        process = SimpleNamespace(_kwargs={"config": config})
        monkeypatch.setattr(multiprocessing, "current_process", lambda: process)

    return spawned


def forked(num_workers: int | None, call: Callable[[], Any]) -> Any:
    """Calls from within the method of an arbiter, as a worker of gunicorn does."""
    source = (
        "class Arbiter:\n"
        "    def spawn_worker(self, worker):\n"
        "        return worker()\n"
        "arbiter = Arbiter()\n"
    )
    module: dict[str, Any] = {"__name__": "gunicorn.arbiter"}
    exec(source, module)
    module["arbiter"].num_workers = num_workers
    return module["arbiter"].spawn_worker(call)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The classes that the log names, with the count of workers."""
    assert all(
        (record.name, record.levelno) == ("authkit", logging.WARNING) for record in caplog.records
    )
    words = [record.getMessage().split() for record in caplog.records]
    return [f"{line[0]} {line[line.index('worker') - 1]}" for line in words]


class TestWorkerCount:
    def test_a_process_of_its_own_is_alone(self) -> None:
        """A script, a shell or a test is no worker."""
        assert worker_count() == 1

    @pytest.mark.parametrize(
        ("module", "settings", "expected"),
        [
            ("uvicorn.config", {"workers": 4, "reload": False}, 4),
            ("uvicorn.config", {"workers": 1, "reload": False}, 1),
            ("uvicorn.config", {"workers": None, "reload": False}, 1),
            ("uvicorn.config", {"workers": 4, "reload": True}, 1),
            ("hypercorn.config", {"workers": 3}, 3),
            ("hypercorn.config", {"workers": 1}, 1),
            ("uvicornish.config", {"workers": 4}, 1),
            ("training.config", {"workers": 8}, 1),
        ],
    )
    def test_a_spawned_worker_knows_its_servers_number(
        self, spawned: Spawned, module: str, settings: dict[str, Any], expected: int
    ) -> None:
        """It is in the configuration of the server, and in nobody else's."""
        spawned(module, **settings)
        assert worker_count() == expected

    @pytest.mark.parametrize("arguments", [{}, None, {"config": None}])
    def test_a_child_process_of_another_kind_is_no_worker(
        self, monkeypatch: pytest.MonkeyPatch, arguments: Any
    ) -> None:
        """A pool of processes that the application starts itself gives no alarm."""
        process = SimpleNamespace(_kwargs=arguments)
        monkeypatch.setattr(multiprocessing, "current_process", lambda: process)
        assert worker_count() == 1

    @pytest.mark.parametrize(("num_workers", "expected"), [(5, 5), (1, 1), (None, 1)])
    def test_a_forked_worker_knows_its_arbiters_number(
        self, num_workers: int | None, expected: int
    ) -> None:
        """It is asked of the arbiter from whose method the worker runs."""
        assert forked(num_workers, worker_count) == expected


class TestWarning:
    def test_is_said_once_for_each_class(
        self, spawned: Spawned, caplog: pytest.LogCaptureFixture
    ) -> None:
        """However many instances there are."""
        spawned("uvicorn.config", workers=2, reload=False)
        for _ in range(3):
            warn_of_several_workers(MemoryRevocationStore(), "so what")
        warn_of_several_workers(MemoryRateLimiter(), "so what")
        assert said(caplog) == ["MemoryRevocationStore 2", "MemoryRateLimiter 2"]

    def test_is_said_in_each_process(
        self,
        spawned: Spawned,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A process that was forked after the warning says it again for itself."""
        spawned("uvicorn.config", workers=2, reload=False)
        warn_of_several_workers(MemoryRevocationStore(), "so what")
        monkeypatch.setattr(os, "getpid", lambda: 1)
        warn_of_several_workers(MemoryRevocationStore(), "so what")
        assert said(caplog) == ["MemoryRevocationStore 2"] * 2

    def test_a_single_worker_hears_nothing(
        self, spawned: Spawned, caplog: pytest.LogCaptureFixture
    ) -> None:
        """There is nothing to warn of."""
        spawned("uvicorn.config", workers=1, reload=False)
        warn_of_several_workers(MemoryRevocationStore(), "so what")
        assert said(caplog) == []

    @pytest.mark.anyio
    @pytest.mark.parametrize("kind", [MemoryRevocationStore, MemoryRateLimiter])
    async def test_comes_when_a_backend_is_entered(
        self,
        spawned: Spawned,
        caplog: pytest.LogCaptureFixture,
        kind: type[MemoryRevocationStore] | type[MemoryRateLimiter],
    ) -> None:
        """Entering gives the backend itself, may be nested, and warns once."""
        spawned("uvicorn.config", workers=2, reload=False)
        backend = kind()
        assert said(caplog) == []
        async with backend as entered, backend:
            assert entered is backend
        assert said(caplog) == [f"{kind.__name__} 2"]
