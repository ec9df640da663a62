"""The bench that every test of the verifier works on."""

from __future__ import annotations

import pytest

from tests.unit.verifier.bench import Bench


@pytest.fixture
def bench() -> Bench:
    """A fresh one for each test."""
    return Bench()
