"""`authkit audit`: looks at the audit trail, hands it on, and checks that it is whole."""

from __future__ import annotations

import typer

from authkit.cli.audit.export import export
from authkit.cli.audit.tail import tail
from authkit.cli.audit.verify import verify

__all__ = ["audit"]

audit: typer.Typer = typer.Typer(
    help="Look at the audit trail, hand it on, and check that it is whole.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
audit.command("tail")(tail)
audit.command("export")(export)
audit.command("verify")(verify)
