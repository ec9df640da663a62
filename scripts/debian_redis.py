"""Installs Debian's Redis server for the full tier of the tests, where the machine has none.

    python scripts/debian_redis.py

Nothing happens where a `redis-server` is on the PATH, or REDIS_SERVER names one.  Where it
cannot be installed, this says why and ends well: the tests of that version are skipped, and
with CI=true they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["main"]

PACKAGE = "redis-server"
# What a package asks before it starts its service (Debian Policy 9.3.3.1); 101 is "you may not".
POLICY = Path("/usr/sbin/policy-rc.d")
REFUSAL = "#!/bin/sh\nexit 101\n"

FETCH_SECONDS = 180.0
INSTALL_SECONDS = 180.0
OPTIONS = (
    "-qq",
    "--assume-yes",
    "--no-install-recommends",
    *("-o", "Acquire::Retries=1"),
    *("-o", "Acquire::http::Timeout=20"),
    *("-o", "DPkg::Lock::Timeout=60"),
)


def apt_get(*arguments: str, seconds: float) -> bool:
    """Whether apt-get did as asked in time; what it prints goes to standard error."""
    try:
        answer = subprocess.run(
            ["apt-get", *OPTIONS, *arguments],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0


@contextmanager
def services_stay_off() -> Iterator[None]:
    """Lets no package start a service; a policy that is there already is left as it is."""
    try:
        with POLICY.open("x", encoding="ascii") as policy:
            policy.write(REFUSAL)
            os.fchmod(policy.fileno(), 0o755)
    except FileExistsError:
        yield
        return
    try:
        yield
    finally:
        POLICY.unlink()


def install() -> bool:
    """Fetches the package, which may be broken off at any time, and then unpacks it."""
    fetch = ("install", "--download-only", PACKAGE)
    if not apt_get(*fetch, seconds=FETCH_SECONDS):
        # The list of packages may be missing, or too old for what the mirrors have.
        if not apt_get("update", seconds=FETCH_SECONDS):
            return False
        if not apt_get(*fetch, seconds=FETCH_SECONDS):
            return False
    with services_stay_off():
        return apt_get("install", "--no-download", PACKAGE, seconds=INSTALL_SECONDS)


def main() -> None:
    """Installs the server if there is none, and says what it does."""
    if os.environ.get("REDIS_SERVER") or shutil.which("redis-server"):
        return
    by_hand = f"apt-get install --no-install-recommends {PACKAGE}"
    if shutil.which("apt-get") is None:
        say("no redis-server on the PATH, and no apt-get to install one; set REDIS_SERVER to one")
    elif os.geteuid() != 0:
        say(f"no redis-server on the PATH; have root run `{by_hand}`")
    else:
        say(f"installing the Debian package {PACKAGE}, and what it needs; its service stays off")
        if not install() or not shutil.which("redis-server"):
            say(f"the Debian package {PACKAGE} could not be installed; try `{by_hand}`")


def say(what: str) -> None:
    """Prints a line for whoever started the tests."""
    print(f"full tier: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
