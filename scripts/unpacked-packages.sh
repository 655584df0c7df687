#!/usr/bin/env bash
# Unpacks the Debian packages that tests/debian-unpacked.txt names below .venv/.programs: nothing is installed, no script
# of theirs runs. Libraries that they need are installed where we are root. Without Debian, or a network, it says which
# tests will be skipped, and why. Under CI=true a missing one is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly LIST=tests/debian-unpacked.txt
programs=$PWD/.venv/.programs
readonly programs

# shellcheck source=scripts/debian.sh
. scripts/debian.sh

missing=()
for package in $(sed 's/#.*//' "$LIST"); do
    [ -e "$programs/.unpacked/$package" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || give_up "could not be unpacked" "This is not Debian or Ubuntu: these tests need its packages."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder" # apt fetches as a user of its own
if ! (cd "$folder" && { apt-get download -qq "${missing[@]}" || { [ "$(id -u)" = 0 ] && apt-get update -qq &&
    apt-get download -qq "${missing[@]}"; }; }) >"$folder/log" 2>&1; then
    tail -n 5 "$folder/log" >&2
    give_up "could not be unpacked" "apt-get download failed, as shown above; with old package lists, run: sudo apt-get update"
fi

libraries=()
for package in "${missing[@]}"; do
    for library in $(apt-cache depends "$package" | sed -nE 's/^ *Depends: (lib[^ <]+)$/\1/p'); do
        is_installed "$library" || libraries+=("$library")
    done
done
if [ ${#libraries[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || give_up "could not be unpacked" "Run: sudo apt-get install --no-install-recommends ${libraries[*]}"
    apt-get install -qq --yes --no-remove --no-install-recommends "${libraries[@]}" >"$folder/log" 2>&1 ||
        { tail -n 5 "$folder/log" >&2; give_up "could not be unpacked" "apt-get install ${libraries[*]} failed, as shown above."; }
fi

echo "test: unpacking Debian packages: ${missing[*]}"
mkdir -p "$programs/.unpacked"
for package in "${missing[@]}"; do
    dpkg-deb --extract "$folder/$package"_*.deb "$programs"
    touch "$programs/.unpacked/$package"
done
