#!/usr/bin/env bash
# Have the real programs that tests/e2e talks to. As root on Debian they are installed, without being started as
# services; otherwise the tests that need them skip, and say why.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/system.sh
. scripts/system.sh

POLICY=/usr/sbin/policy-rc.d

missing=()
command -v prometheus >/dev/null || missing+=(prometheus)
command -v prometheus-alertmanager >/dev/null || missing+=(prometheus-alertmanager)
command -v strace >/dev/null || missing+=(strace)
command -v mkfs.ext4 >/dev/null || missing+=(e2fsprogs)
command -v faketime >/dev/null || missing+=(faketime)
command -v chromium >/dev/null || missing+=(chromium)
[ ${#missing[@]} -gt 0 ] || exit 0

if ! can_install; then
    step "tests that need them will skip; for all tests: sudo apt-get install -y ${missing[*]}"
    exit 0
fi

if [ ! -e "$POLICY" ]; then
    trap 'rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$POLICY" # Debian's way to say: start no service while installing
    chmod +x "$POLICY"
fi
install_packages "${missing[@]}" || step "tests that need ${missing[*]} will skip"
if [ -d /run/systemd/system ]; then
    systemctl disable --quiet "${missing[@]}" || true
fi
