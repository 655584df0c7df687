#!/usr/bin/env bash
# Writes requirements/*.txt from pyproject.toml and requirements/*.in: every version, every hash, no index URL.
# Run by `make lock`. What is locked already stays unless `UPGRADE=1` is set. Extras stay in the lock: pip takes
# `coverage[toml]` for another package than `coverage`, and its newest release for one that is not pinned.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compile() { # NAME SOURCE...: requirements/NAME.txt
    local name=$1
    shift
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-emit-find-links --no-strip-extras --custom-compile-command "make lock" ${UPGRADE:+--upgrade} \
        --output-file "requirements/$name.txt" "$@"
    echo "requirements/$name.txt: $(grep -c '^[a-z0-9].*==' "requirements/$name.txt") packages"
}

compile runtime pyproject.toml --all-extras
# Each set is constrained by those it is installed beside, so that their order does not matter.
for name in build test lint docs fuzz profile lock; do
    compile "$name" "requirements/$name.in"
done

# A lock that names a host or a path of this machine works nowhere else.
if grep -nE '://|^ *-(f|i|-index|-extra|-find)|/(home|opt|root|tmp|work)/' requirements/*.txt; then
    echo "lock: the lines above name a host or a path; find out which setting of pip or uv wrote them" >&2
    exit 1
fi
