"""The map of the floors holds, and a wrong map or a wrong import does not pass."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("authkit", "authkit_memory", "authkit_redis")


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter on the packages in a folder."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their map, to be spoiled."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_import_goes_down() -> None:
    """The packages as they are keep all contracts of the map."""
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("place", ["authkit/unplaced.py", "authkit/jose/unplaced.py"])
def test_a_file_on_no_floor_fails(copy: Path, place: str) -> None:
    """Each file must be given its floor."""
    (copy / place).write_text('"""A file that the map does not know."""\n')
    result = lint(copy)
    assert "1 broken" in result.stdout
    assert "unplaced" in result.stdout


@pytest.mark.parametrize(
    ("place", "statement"),
    [
        ("authkit/clock.py", "import authkit.interfaces"),
        ("authkit/clock.py", "import authkit.errors"),
        ("authkit/policy/requirement.py", "from authkit import Principal"),
        ("authkit/interfaces.py", "import authkit.verifier"),
        ("authkit/principal.py", "import joserfc"),
        ("authkit/principal.py", "import authkit_memory"),
        ("authkit/testing/__init__.py", "import authkit_redis"),
        ("authkit/testing/__init__.py", "import pytest"),
        ("authkit_memory/__init__.py", "import authkit.verifier"),
        ("authkit_memory/__init__.py", "from authkit import Principal"),
        ("authkit_memory/__init__.py", "import authkit_redis"),
    ],
)
def test_an_import_that_leaves_its_place_fails(copy: Path, place: str, statement: str) -> None:
    """Upwards, sideways, and past the one door of a third-party package."""
    with (copy / place).open("a") as file:
        file.write(f"\n{statement}\n")
    assert re.search(r"[1-9]\d* broken", lint(copy).stdout)


def test_every_third_party_package_has_one_door() -> None:
    """What is imported from outside is behind a contract that names its importers."""
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    outside = {name for name in graph.modules if graph.is_module_squashed(name)}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    doors = {
        name
        for contract in contracts["contracts"]
        for name in contract.get("protected_modules", ())
    }
    assert outside - sys.stdlib_module_names - doors == set()
