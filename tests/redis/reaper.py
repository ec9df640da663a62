"""Ends what tests have started, even if the test run itself is killed."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from pathlib import Path

__all__ = ["reaper"]

# Reads `+pid` and `-pid` until the other end of the pipe is closed, however that came about.
_WATCH = """
trap '' INT TERM HUP
pids=
while read -r line; do
    pid=${line#?}
    case $line in
        +*) pids="$pids $pid " ;;
        -*) pids="${pids%% $pid *} ${pids#* $pid }" ;;
    esac
done
[ -z "${pids# }" ] || kill -KILL $pids 2>/dev/null
rm -rf "$1"
"""


class _Reaper:
    """A shell that outlives the test run for a moment, and cleans up after it.

    Not PR_SET_PDEATHSIG: that goes by the thread that started a process, and tests use threads.
    """

    def __init__(self) -> None:
        self._shell: subprocess.Popen[str] | None = None
        self._folder: Path | None = None
        self._pids: set[int] = set()
        self._lock = threading.Lock()

    def new_folder(self) -> Path:
        """A folder that is removed when the test run ends, if not before."""
        with self._lock:
            self._begin()
            return Path(tempfile.mkdtemp(dir=self._folder))

    def watch(self, pid: int) -> None:
        """Puts a process on the list of those to kill when the test run ends."""
        with self._lock:
            self._begin()
            self._pids.add(pid)
            self._tell(f"+{pid}")

    def forget(self, pid: int) -> None:
        """Takes a process that has ended off the list, before its number is another's."""
        with self._lock:
            if pid in self._pids:
                self._pids.remove(pid)
                self._tell(f"-{pid}")

    def _begin(self) -> None:
        if self._shell is None:
            self._folder = Path(tempfile.mkdtemp(prefix="redis-tests-"))
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _WATCH, "reaper", str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )

    def _tell(self, line: str) -> None:
        assert self._shell is not None
        assert self._shell.stdin is not None
        print(line, file=self._shell.stdin, flush=True)


reaper = _Reaper()
