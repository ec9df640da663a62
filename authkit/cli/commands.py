"""The commands, their options and their exit codes."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from authkit.cli.audit.commands import audit
from authkit.cli.revoke import revoke

__all__ = ["run"]

_app = typer.Typer(
    help="authkit: who calls your service, and taking that answer back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@_app.callback()
def _commands() -> None:
    """authkit: who calls your service, and taking that answer back."""


@_app.command("demo")
def _demo(
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the app up, with Swagger UI and a token to try.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="With --serve: the port on 127.0.0.1; 0 is a free one."
        ),
    ] = 8000,
) -> None:
    """Send real requests to a protected app, and show what is answered.

    Exits with 1 if one answer is not the expected one.
    """
    # Loaded for this command alone: it brings a web framework and a server along.
    from authkit.demo import run_demo, serve_demo

    console = Console()
    if not serve:
        raise typer.Exit(0 if run_demo(console) else 1)
    try:
        serve_demo(console, port)
    except OSError as error:
        typer.echo(
            f"port {port} cannot be used: {error.strerror}; choose another with --port", err=True
        )
        raise typer.Exit(1) from error


# What is too much on the command line is for the command itself to refuse: it may be an id, which
# the parser would show, and which belongs elsewhere.
_app.command("revoke", context_settings={"allow_extra_args": True})(revoke)
_app.add_typer(audit, name="audit")


def run() -> None:
    """Runs the command that the process was started with."""
    _app()
