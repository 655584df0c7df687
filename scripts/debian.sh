# Shared by the scripts that bring Debian packages for the tests; sourced, with LIST (their file) and `missing` set.

give_up() { # VERB WHY: the tests that need what is missing are skipped, which CI does not allow
    echo "test: these Debian packages $1: ${missing[*]}" >&2
    echo "      $2" >&2
    for package in "${missing[@]}"; do
        echo "      without $package, skipped: $(sed -n "s/^$package  *# *//p" "$LIST")" >&2
    done
    [ "${CI:-}" != true ] || exit 1
    exit 0
}

is_installed() { dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }
