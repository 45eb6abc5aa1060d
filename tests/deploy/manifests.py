"""Manifests as a cluster would get them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OLDEST, NEWEST = "1.29", "1.37"
OF_THE_OPERATOR = {"PodMonitor", "PrometheusRule"}


def render(folder):
    """What `kubectl apply -k` would send."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    out = subprocess.run([kubectl, "kustomize", os.fspath(folder)], capture_output=True, text=True, check=True).stdout
    return list(yaml.safe_load_all(out))


def containers(pod):
    return [*pod.get("initContainers", ()), *pod["containers"]]


def violations(pod):
    """What the Pod Security Standard `restricted` has against *pod*."""
    outer = pod.get("securityContext", {})
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    found += [one["name"] for one in pod.get("volumes", ()) if not {"configMap", "emptyDir"} & one.keys()]
    for one in containers(pod):
        own = {**outer, **one.get("securityContext", {})}
        demands = {
            "runAsNonRoot": own.get("runAsNonRoot") is True and own.get("runAsUser") != 0,
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "seccompProfile": own.get("seccompProfile") == {"type": "RuntimeDefault"},
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
            "privileged": "privileged" not in own,
            "hostPort": not any("hostPort" in port for port in one.get("ports", ())),
        }
        found += [f"{one['name']}: {name}" for name, is_met in demands.items() if not is_met]
    return found
