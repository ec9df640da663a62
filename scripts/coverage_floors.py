"""Holds the branch coverage of the last measured run to its floors."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

from coverage import Coverage

__all__ = ["main"]

# What decides whether a caller is let in: every branch of it is taken by a test.
WHOLE = {
    "authkit/interfaces",
    "authkit/jose",
    "authkit/policy",
    "authkit/token_cache",
    "authkit/verifier",
}
ELSEWHERE_PERCENT = 90.0


def area(file: str) -> str:
    """What a file counts for: the file or folder on a floor of authkit, or a whole backend."""
    parts = Path(file).with_suffix("").parts
    return "/".join(parts[:2]) if parts[0] == "authkit" else parts[0]


def main() -> int:
    """Prints the coverage of each area; returns how many are under their floor."""
    coverage = Coverage()
    coverage.load()
    report = Path(coverage.get_option("run:data_file")).with_name("coverage.json")  # type: ignore[arg-type] # a str
    coverage.json_report(outfile=str(report))
    covered: dict[str, int] = {}
    total: dict[str, int] = {}
    for file, data in json.loads(report.read_text(encoding="utf-8"))["files"].items():
        counts = data["summary"]
        name = area(file)
        covered[name] = covered.get(name, 0) + counts["covered_lines"] + counts["covered_branches"]
        total[name] = total.get(name, 0) + counts["num_statements"] + counts["num_branches"]

    failures = 0
    for name in sorted(total):
        percent = 100.0 * covered[name] / total[name] if total[name] else 100.0
        floor = 100.0 if name in WHOLE else ELSEWHERE_PERCENT
        is_low = percent < floor
        failures += is_low
        print(f"{percent:7.2f} %  {name}" + (f"  under its floor of {floor:g} %" if is_low else ""))
    for name in sorted(WHOLE - total.keys()):
        failures += 1
        print(f"      no  {name}: nothing of it was measured")
    if failures:
        lines = io.StringIO()
        coverage.report(file=lines, show_missing=True, skip_covered=True)
        print(lines.getvalue())
    return failures


if __name__ == "__main__":
    sys.exit(min(main(), 1))
