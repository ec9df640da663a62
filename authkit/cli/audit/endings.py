"""How the commands of the audit trail end when something is in their way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from authkit.errors import BackendUnavailable, ConfigurationError

__all__ = ["FAILED", "INTERRUPTED", "MISUSED", "ending", "say"]

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130


@contextmanager
def ending(command: str, *, when_nobody_reads: int) -> Iterator[None]:
    """Makes a line on standard error and an exit code of what a command cannot go on with.

    Args:
        command: its name, which begins the line.
        when_nobody_reads: the exit code where whoever reads the output has gone, which no line
            tells of.

    Raises:
        typer.Exit: with the code.
    """
    try:
        yield
    except ConfigurationError as error:
        say(command, str(error))
        raise typer.Exit(MISUSED) from error
    except BackendUnavailable as error:
        say(command, str(error))
        raise typer.Exit(FAILED) from error
    except BrokenPipeError as error:
        raise typer.Exit(when_nobody_reads) from error
    except OSError as error:
        say(command, f"the output cannot be written: {error.strerror or type(error).__name__}")
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error


def say(command: str, words: str) -> None:
    """A line on standard error, for people."""
    typer.echo(f"authkit audit {command}: {words}", err=True)
