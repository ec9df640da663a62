"""Checks that mypy refuses every line of tests/typing/rejected.py that says so, and no other.

A line says so with a comment that names mypy's error code: `...  # refused: arg-type`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

__all__ = ["main"]

REJECTED = Path("tests/typing/rejected.py")


def expected(source: str) -> set[tuple[int, str]]:
    """The lines, with their error codes, that the source says mypy refuses."""
    return {
        (number, code)
        for number, line in enumerate(source.splitlines(), start=1)
        for marked in re.findall(r"# refused: ([a-z, -]+)$", line)
        for code in marked.split(", ")
    }


def refused(path: Path) -> set[tuple[int, str]]:
    """The lines, with their error codes, that mypy does refuse."""
    command = [sys.executable, "-m", "mypy", "--no-pretty", "--hide-error-context", str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    pattern = re.compile(rf"^{re.escape(str(path))}:(\d+): error: .*\[([a-z-]+)\]$", re.MULTILINE)
    found = {(int(number), code) for number, code in pattern.findall(output)}
    if output.count(": error: ") != len(pattern.findall(output)):
        print(output)  # an error elsewhere: the verdicts here cannot be trusted
        return set()
    return found


def main() -> int:
    """Prints what differs; returns the number of differences."""
    wanted, found = expected(REJECTED.read_text(encoding="utf-8")), refused(REJECTED)
    for number, code in sorted(wanted - found):
        print(f"{REJECTED}:{number}: mypy accepts what should be refused as {code}")
    for number, code in sorted(found - wanted):
        print(f"{REJECTED}:{number}: mypy refuses this as {code}, and no comment expects it")
    print(f"{len(wanted & found)} of {len(wanted)} misuses are type errors")
    return len(wanted ^ found) or not wanted


if __name__ == "__main__":
    sys.exit(min(main(), 1))
