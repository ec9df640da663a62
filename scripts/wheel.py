"""Builds the wheel, and tests it where the source folders cannot be imported.

For each supported Python of this machine: a second environment, the wheel in it, and the
tests that need nothing but the installed packages, copied away from the sources.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from environment import BUILD, ROOT, Environment, interpreters, locked, needed_for

__all__ = ["main"]

PACKAGES = ("authkit", "authkit_memory", "authkit_redis")
TESTS = (
    "tests/architecture/test_optional_imports.py",
    "tests/architecture/test_public_names.py",
    "tests/attacks",
    "tests/contracts",
    "tests/edges",
    "tests/unit",
)


def build() -> Path:
    """Builds the source distribution, and the wheel from that; returns the wheel."""
    target = BUILD / "dist"
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = target.glob("*.whl")
    return wheel


def install(wheel: Path, version: tuple[int, int], base_python: str) -> Environment:
    """Installs the wheel into an environment of its own."""
    path = BUILD / "wheel" / "{}.{}".format(*version)
    environment = Environment(path, base_python=base_python, version=version)
    with locked():
        environment.install(needed_for("wheel"))
        environment.pip("install", "--no-deps", "--force-reinstall", str(wheel))
    return environment


def test(environment: Environment, scratch: Path) -> bool:
    """Runs the tests on what is installed; `scratch` holds the tests and no source folder."""
    where = "import authkit, authkit_memory, authkit_redis; print(authkit.__file__)"
    answer = subprocess.run(
        [str(environment.python), "-c", where],
        cwd=scratch,
        capture_output=True,
        text=True,
        check=True,
    )
    if not Path(answer.stdout.strip()).is_relative_to(environment.path):
        sys.exit(f"not the wheel was imported but {answer.stdout}")
    present = [path for path in TESTS if (scratch / path).exists()]
    command = [str(environment.python), "-m", "pytest", "-q", *present]
    return subprocess.run(command, cwd=scratch, check=False).returncode == 0


def has_complete_types(environment: Environment, package: str, scratch: Path) -> bool:
    """Whether every public name of an installed package has a type that is known."""
    # The first Python on the PATH says which installation is looked at.  Without the other
    # setting, pyright asks the index whether there is a newer one.
    path = os.pathsep.join([str(environment.python.parent), os.environ["PATH"]])
    settings = os.environ | {"PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    options = ["--ignoreexternal", "--outputjson", "--verifytypes", package]
    command = [sys.executable, "-m", "pyright", *options]
    answer = subprocess.run(
        command, cwd=scratch, env=settings, capture_output=True, text=True, check=False
    )
    found = json.loads(answer.stdout)
    report = found["typeCompleteness"]
    installed = Path(report["packageRootDirectory"]).is_relative_to(environment.path)
    public = [symbol for symbol in report["symbols"] if symbol["isExported"]]
    unknown = [symbol for symbol in public if not symbol["isTypeKnown"]]
    for symbol in unknown:
        for diagnostic in symbol["diagnostics"]:
            print(f"{symbol['name']}: {diagnostic['message'].splitlines()[0]}")
    print(f"{package}: {len(unknown)} of {len(public)} public names have no known type")
    return installed and not unknown and not found["generalDiagnostics"]


def main() -> int:
    """Returns how many of the checks failed."""
    wheel = build()
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        ignored = shutil.ignore_patterns("node_modules", "__pycache__")
        shutil.copytree(ROOT / "tests", scratch / "tests", ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", scratch)
        for version, python in interpreters().items():
            print("-- {} on Python {}.{}".format(wheel.name, *version), flush=True)
            environment = install(wheel, version, python)
            failures += not test(environment, scratch)
            if version == sys.version_info[:2]:
                failures += sum(not has_complete_types(environment, p, scratch) for p in PACKAGES)
    return failures


if __name__ == "__main__":
    sys.exit(min(main(), 1))
