# shellcheck shell=bash
# Sourced by the other scripts: one line per step, and packages of the system where we may install them.

step() { printf '==> %s\n' "$*"; }

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# Install Debian packages quietly; the log is shown when that fails.
install_packages() {
    local log
    log=$(mktemp)
    step "installing from Debian: $*"
    apt-get update -qq </dev/null >"$log" 2>&1 || true # one broken source need not concern us
    if ! DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" </dev/null >>"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# require WHAT PACKAGE...: install the packages, or say what to type.
require() {
    local what=$1
    shift
    if can_install; then
        install_packages "$@" || fail "$what could not be installed: see above"
    else
        fail "$what is missing. Type

    sudo apt-get install -y $*

and then the same make command again."
    fi
}
