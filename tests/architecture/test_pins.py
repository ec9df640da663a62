"""Every development dependency is pinned, and no pin says where it comes from."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]


def normalised(name: str) -> str:
    """A distribution's name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    """What constraints.txt pins, by name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {normalised(name): version for name, version in pins}


def test_the_pins_are_names_and_versions_only() -> None:
    """A constraints file works with whatever index a machine is set up for."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[\w.-]+==[\w.+!]+", line)] == []


def test_every_dependency_of_the_project_is_pinned() -> None:
    """What pyproject.toml asks for, in the base, an extra or a group, has an exact version."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [
        *tables["project"]["dependencies"],
        *chain.from_iterable(tables["project"]["optional-dependencies"].values()),
        *chain.from_iterable(tables["dependency-groups"].values()),
    ]
    names = {normalised(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in asked}
    assert names - pinned().keys() == set()


def test_the_lock_of_the_openid_provider_names_no_address() -> None:
    """npm finds each package by name and checks what it gets by the hash in the lock."""
    lock = json.loads((ROOT / "tests" / "idp" / "package-lock.json").read_text(encoding="utf-8"))
    packages = [package for path, package in lock["packages"].items() if path]
    assert not any("resolved" in package for package in packages)
    assert all(package["integrity"].startswith("sha512-") for package in packages)
