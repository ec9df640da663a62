"""Keys for the tests of `authkit.jose`: one of each algorithm, made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from authkit.jose.signing import SigningKey


@pytest.fixture(scope="session")
def signer() -> Callable[[str], SigningKey]:
    """Gives the session's signing key for an algorithm."""
    return cache(SigningKey.generate)
