"""The page of the audit events is what the catalogue says, and the catalogue has every event."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path
from typing import get_args

from authkit.audit.catalogue import CATALOGUE, EventName

ROOT = Path(__file__).parents[2]
EMITTING = ("append_control", "append_control_nowait", "ControlRecord", "_change")
DOTTED = tuple({f"{name.partition('.')[0]}." for name in CATALOGUE})


def emitted() -> set[str]:
    """Every dotted text that the code hands to a function that writes events, or names as one."""
    found: set[str] = set()
    for path in (ROOT / "authkit").rglob("*.py"):
        if path.name == "catalogue.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                word = node.value
                if word.startswith(DOTTED) and word.replace(".", "_").isidentifier():
                    found.add(word)
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in EMITTING:
                    arguments = [part for one in node.args[:2] for part in ast.walk(one)]
                    found |= {
                        part.value
                        for part in arguments
                        if isinstance(part, ast.Constant)
                        and isinstance(part.value, str)
                        and "." in part.value
                    }
    return found


def test_the_page_is_current() -> None:
    """scripts/audit_events.py would write it as it stands."""
    script = runpy.run_path(str(ROOT / "scripts" / "audit_events.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"]()


def test_every_event_is_in_the_catalogue() -> None:
    """The code writes the types of the catalogue, all of them and no others."""
    assert emitted() == set(CATALOGUE) == set(get_args(EventName))
