#!/usr/bin/env bash
# Makes .venv with the first Python of 3.11 or newer that it finds ($PYTHON, if set, is the only one tried). The
# system's own comes first: its updates keep it up, and it is built with profile-guided optimisation, which one compiled
# by hand or by pyenv seldom is; that is an eighth of the server's work.
# Debian and Ubuntu keep `venv` in a package of its own: installed here when root, named otherwise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
can_have_venv() { can_make_venv "$1" || { can_install && [[ "$(command -v "$1")" == /usr/bin/* ]]; }; }

chosen= without_venv=
for python in ${PYTHON:-/usr/bin/python3 python3 python3.13 python3.12 python3.11}; do
    is_new_enough "$python" || continue
    can_have_venv "$python" && chosen=$python && break
    without_venv=${without_venv:-$python}
done
python=${chosen:-$without_venv}
if [ -z "$python" ]; then
    tried=${PYTHON:-/usr/bin/python3, python3, python3.13, python3.12, python3.11}
    echo "setup: no Python of 3.11 or newer found (tried $tried)." >&2
    echo "       Install one, or name it: make setup PYTHON=/path/to/python3" >&2
    exit 1
fi

if ! can_make_venv "$python"; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if ! can_install; then
        echo "setup: $python cannot make virtual environments; run: sudo apt-get install $package" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$package" >/dev/null
fi

echo "setup: .venv with $("$python" --version)"
"$python" -m venv .venv
