"""`__all__` of every module agrees with what the module holds."""

from __future__ import annotations

import importlib
import importlib.resources
import inspect
import pkgutil
from types import ModuleType

import pytest

import authkit
import authkit_memory
import authkit_redis

PACKAGES = (authkit, authkit_memory, authkit_redis)


def module_names() -> list[str]:
    """Every module of the three packages, found in their folders."""
    names = [package.__name__ for package in PACKAGES]
    for package in PACKAGES:
        found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names += [module.name for module in found if not module.name.endswith("__main__")]
    return names


def own_public_names(module: ModuleType) -> set[str]:
    """The classes and functions without an underscore that the module itself defines."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", module_names())
def test_public_names_are_what_the_module_says(name: str) -> None:
    """`__all__` is there, names only what exists, and names all that is public."""
    module = importlib.import_module(name)
    assert isinstance(module.__all__, list)
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert not public.startswith("_") or public == "__version__"
        assert hasattr(module, public), f"{name} has no {public}"
    assert own_public_names(module) <= set(module.__all__)


@pytest.mark.parametrize("name", module_names())
def test_a_module_says_what_it_is_for(name: str) -> None:
    """The docstring of every module begins with one sentence of purpose."""
    first_line = (importlib.import_module(name).__doc__ or "").partition("\n")[0]
    assert first_line, f"{name} has no docstring"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_the_packages_are_typed(package: ModuleType) -> None:
    """Each package ships the marker that makes type checkers read its annotations (PEP 561)."""
    assert importlib.resources.files(package).joinpath("py.typed").is_file()
