"""The page about the commands names all that they take."""

from __future__ import annotations

from pathlib import Path

import typer
from typer.testing import CliRunner

from authkit.cli.audit.commands import audit
from authkit.cli.revoke import revoke
from authkit.interfaces import RevocationScope

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"


def test_the_help_and_the_page_name_every_option() -> None:
    """And every variable and scope."""
    app = typer.Typer(add_completion=False)
    app.command()(revoke)
    words = CliRunner().invoke(app, ["--help"]).output
    page = PAGE.read_text(encoding="utf-8")
    for parameter in typer.main.get_command(app).params:
        for option in parameter.opts:
            if option.startswith("--"):
                assert f"`{option}" in page, option
        if isinstance(parameter.envvar, str):
            assert f"`{parameter.envvar}`" in page
    for name in ("AUTHKIT_REDIS_URL", "AUTHKIT_REDIS_PREFIX", "AUTHKIT_SECRET_FILE"):
        assert name in words
        assert f"`{name}`" in page
    for scope in RevocationScope:
        assert f"`{scope.value}`" in page


def test_the_help_and_the_page_name_every_option_of_the_audit_commands() -> None:
    """And every command, and the variables that it needs."""
    page = PAGE.read_text(encoding="utf-8")
    group = typer.main.get_command(audit)
    for name in ("tail", "export", "verify"):
        assert f"\n## authkit audit {name}\n" in page
        section = page.partition(f"\n## authkit audit {name}\n")[2].partition("\n## ")[0]
        for parameter in group.commands[name].params:  # type: ignore[attr-defined] # a group's
            for option in parameter.opts:
                if option.startswith("-"):
                    assert f"`{option}" in section, option
        help = CliRunner().invoke(audit, [name, "--help"]).output
        for variable in ("AUTHKIT_REDIS_URL", "AUTHKIT_REDIS_PREFIX"):
            assert (variable in help) == (name != "verify")
