# Sourced by the scripts beside it: finds a Python, and has environment.py prepare .venv with it.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

# Prints the first Python that is new enough and whole; $PYTHON, if set, is the only candidate.
find_python() {
    found=
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        found=$candidate
        "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1 || continue
        printf '%s\n' "$candidate"
        return 0
    done
    if [ -n "$found" ]; then
        echo "$found has no venv module; install it (on Debian: apt-get install python3-venv)." >&2
    else
        echo "Python 3.11 or newer is needed, and ${PYTHON:-python3} is not; set PYTHON to one." >&2
    fi
    return 1
}

# prepare PURPOSE: makes .venv fit for it (at once if it is already), and puts its programs first on the PATH.
prepare() {
    python=$(find_python)
    "$python" -I scripts/environment.py "$1"
    PATH=$root/.venv/bin:$PATH
    export PATH
}
