"""Checks the numbers that key providers and key sources are made with."""

from __future__ import annotations

import math

from authkit.errors import ConfigurationError

__all__ = ["check_number"]


def check_number(
    name: str, value: float, *, at_least: float = 0, above: float = -1, at_most: float = math.inf
) -> None:
    """Does nothing if `value` is a finite number within the bounds.

    Raises:
        ConfigurationError: it is not.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < at_least or value <= above:
        limit = f"of at least {at_least}" if above < 0 else f"above {above}"
        raise ConfigurationError(f"{name} must be a finite number {limit}")
    if value > at_most:
        raise ConfigurationError(f"{name} must be at most {at_most}")
