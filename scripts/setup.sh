#!/usr/bin/env bash
# Make .venv with everything that the project needs. `make setup` runs this when a lock or a build file has changed.
#
# As root on Debian it installs what the system lacks; otherwise it says what to type. Only Python 3.11 with venv is
# needed: without a compiler the package works too, on the Python forms of its inner loops.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/system.sh
. scripts/system.sh

PIP=(.venv/bin/python -m pip --quiet --disable-pip-version-check --no-input)

python_is_right() { python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }

can_make_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

can_compile() {
    local include
    include=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')
    command -v gcc >/dev/null && [ -e "$include/Python.h" ]
}

is_compiled() { .venv/bin/python -c 'import otel_latency._native, otel_latency.ingest._scanner' 2>/dev/null; }

command -v python3 >/dev/null || require "Python" python3 python3-venv
python_is_right || fail "python3 is $(python3 --version): the project needs Python 3.11 or later, first on the PATH."
can_make_venv || require "Python's venv" python3-venv

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    step "virtual environment .venv ($(python3 --version))"
    rm -rf .venv
    python3 -m venv .venv
fi

step "packages of requirements-dev.txt"
"${PIP[@]}" install --require-hashes -r requirements-dev.txt

if ! can_compile && can_install; then
    install_packages gcc libc6-dev python3-dev || true
fi
step "otel-latency"
"${PIP[@]}" install --no-deps --no-build-isolation --editable .
is_compiled || step "without its compiled parts (slower, same results); for them: apt-get install gcc libc6-dev python3-dev"
# pip compiles what it installs, but not what it links to: uncompiled sources cost each start 0.1 s and the agent 0.7 MiB.
.venv/bin/python -m compileall -q otel_latency
