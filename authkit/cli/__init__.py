"""The command `authkit`."""

from __future__ import annotations

from authkit.cli.main import main

__all__ = ["main"]
