"""Scopes and roles as a test gives them."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["listed"]


def listed(label: str, names: Collection[str]) -> list[str]:
    """The names, in their order.

    Raises:
        TypeError: they are one string, whose letters would be taken for names.
    """
    if isinstance(names, str):
        raise TypeError(f"{label} must be a list of names, not one string: [{names!r}]")
    return list(names)
