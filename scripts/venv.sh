#!/usr/bin/env bash
# Makes .venv with the first Python of 3.11 or newer that it finds ($PYTHON, if set, is the only one tried).
# Debian and Ubuntu keep `venv` in a package of its own: installed here when root, named otherwise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    is_new_enough "$python" && break
    python=
done
if [ -z "$python" ]; then
    echo "setup: no Python of 3.11 or newer found (tried ${PYTHON:-python3, python3.13, python3.12, python3.11})." >&2
    echo "       Install one, or name it: make setup PYTHON=/path/to/python3" >&2
    exit 1
fi

if ! can_make_venv "$python"; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "setup: $python cannot make virtual environments; run: sudo apt-get install $package" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$package" >/dev/null
fi

echo "setup: .venv with $("$python" --version)"
"$python" -m venv .venv
