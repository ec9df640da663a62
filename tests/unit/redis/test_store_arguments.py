"""What the revocations in Redis are made with is checked when they are made."""

from __future__ import annotations

import math
from typing import Any

import pytest

from authkit.errors import ConfigurationError
from authkit_redis import RedisBackends

NO_SENSE: list[Any] = ["5", True, None, math.nan, math.inf, 0, -1]


def backends(**options: Any) -> RedisBackends:
    return RedisBackends.from_url("redis://127.0.0.1:1", prefix="orders", **options)


@pytest.mark.parametrize("name", ["max_staleness_seconds", "max_token_lifetime_seconds"])
@pytest.mark.parametrize("value", NO_SENSE, ids=repr)
def test_a_time_is_a_positive_number(name: str, value: Any) -> None:
    """Text from the environment is not, nor is a truth value."""
    with pytest.raises(ConfigurationError, match=name):
        backends(**{name: value})


@pytest.mark.parametrize("value", ["", "false", "true", 0, 1, None], ids=repr)
def test_failing_open_is_said_in_so_many_words(value: Any) -> None:
    """The text `false` from the environment must not let anybody in."""
    with pytest.raises(ConfigurationError, match="insecure_fail_open must be True or False"):
        backends(insecure_fail_open=value)
    backends(insecure_fail_open=False)
