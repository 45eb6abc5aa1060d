#!/usr/bin/env bash
# Renew requirements.txt (the agent) and requirements-dev.txt (and what tests it): newest versions that pyproject.toml
# allows, for every platform and Python >= 3.11, with hashes and without the address they came from.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet --disable-pip-version-check uv

compile() {
    "$tools/bin/uv" pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
        --custom-compile-command "make lock" "$@"
}
# The larger set first: what the tests run with is what the agent gets.
compile pyproject.toml --group dev --output-file requirements-dev.txt
compile pyproject.toml --constraint requirements-dev.txt --output-file requirements.txt

if grep -n '://' requirements.txt requirements-dev.txt; then
    echo "a lock names an address: see the lines above" >&2
    exit 1
fi
