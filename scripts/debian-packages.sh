#!/usr/bin/env bash
# Installs the programs that tests/debian-packages.txt names, without starting any daemon and without removing anything.
# Not root, or not Debian: says which tests will be skipped, why, and what to run. Under CI=true a missing one is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly LIST=tests/debian-packages.txt POLICY=/usr/sbin/policy-rc.d

# shellcheck source=scripts/debian.sh
. scripts/debian.sh

missing=()
for package in $(sed 's/#.*//' "$LIST"); do
    is_installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || give_up "are missing" "This is not Debian or Ubuntu: install these programs yourself."
[ "$(id -u)" = 0 ] || give_up "are missing" "Run: sudo apt-get install --no-install-recommends ${missing[*]}"

echo "test: installing Debian packages: ${missing[*]}"
# Package scripts ask policy-rc.d before they start a daemon; 101 means no. One that is there already is left alone.
if [ ! -e "$POLICY" ]; then
    trap 'rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! is_installed postfix; then
    echo "postfix postfix/main_mailer_type select Local only" | debconf-set-selections
fi
# --no-remove: a machine's own mail server (exim4, say) is never thrown out for a test.
if ! { apt-get update -qq && apt-get install -qq --yes --no-remove --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    give_up "are missing" "apt-get failed, as shown above."
fi
rm -f "$log"

# What we brought in must not run after the next boot either: the tests start their own, with their own configuration.
if [ -d /run/systemd/system ]; then
    for package in "${missing[@]}"; do
        dpkg-query --listfiles "$package" | sed -nE 's!^(/usr)?/lib/systemd/system/([^/@]+\.(service|socket|timer))$!\2!p'
    done | xargs --no-run-if-empty systemctl disable --quiet 2>/dev/null || true
fi
