"""The command `authkit`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command that the process was started with.

    What it needs beyond the library comes with the extra `cli`; without it, it says so.
    """
    try:
        from authkit.cli.commands import run
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed: pip install 'pyauthkit[cli]'")
    run()
