"""The paved path loads no more than it needs."""

from __future__ import annotations

import subprocess
import sys

OPTIONAL = (
    "fastapi",
    "httpx",
    "prometheus_client",
    "pytest",
    "redis",
    "starlette",
    "typer",
    "uvicorn",
)


def modules_after(statement: str) -> set[str]:
    """The modules of a fresh interpreter after one statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, "-W", "error", "-c", program]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_core_loads_no_optional_package() -> None:
    """`import authkit, authkit_memory` loads no framework, HTTP client, driver or test tool."""
    loaded = modules_after("import authkit, authkit_memory")
    assert loaded.isdisjoint(OPTIONAL), loaded.intersection(OPTIONAL)


def test_importing_the_test_kit_does_not_load_pytest() -> None:
    """Only the plugin and the contract suites need pytest; a demo may use the local issuer."""
    assert "pytest" not in modules_after("import authkit.testing")
