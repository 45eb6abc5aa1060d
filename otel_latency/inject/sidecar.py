"""The sidecar as a pod gets it: the container, its volumes, and what the application's containers are told.

`deploy/` ships the same container for Kustomize; a test holds the two together. There is no readinessProbe: a sidecar
that is not ready takes its pod out of every Service, and an observer must never do that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otel_latency.inject.layout import Value

NAME: Final = "otel-latency"
WEB_PORT_NAME: Final = "latency-http"
DATA_VOLUME: Final = "otel-latency-data"
CONFIG_VOLUME: Final = "otel-latency-config"
DATA_LIMIT: Final = "384Mi"  # beyond store.max_bytes, 256MiB, there are a write-ahead log and what is put aside
OTLP_PORTS: Final = {"grpc": 4317, "http": 4318}
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be chosen. `config` is a ConfigMap that holds otel-latency.yaml; without it the defaults hold.

    A native sidecar is up before the application and stops after it; it needs Kubernetes 1.29. An ordinary container
    has neither, but a pod starts without it, too, when its image cannot be pulled.
    """

    image: str
    config: str = ""
    is_native: bool = True
    sets_env: bool = True
    web_port: int = 14318  # the agent's own 8080 is the port that applications like best


def container(options: Options) -> dict[str, Value]:
    """The sidecar; what it listens on besides the web port can only be reached within the pod."""
    lifetime: dict[str, Value] = {"restartPolicy": "Always"} if options.is_native else {}
    mounts: list[Value] = [{"name": DATA_VOLUME, "mountPath": "/data"}]
    if options.config:
        mounts.append({"name": CONFIG_VOLUME, "mountPath": "/etc/otel-latency", "readOnly": True})
    return {
        "name": NAME,
        "image": options.image,
        **lifetime,
        "env": [
            {"name": "OTEL_LATENCY_WEB__HOST", "value": "0.0.0.0"},
            {"name": "OTEL_LATENCY_WEB__PORT", "value": str(options.web_port)},
        ],
        "ports": [{"name": WEB_PORT_NAME, "containerPort": options.web_port}],
        "startupProbe": _probe(period=1, threshold=60),
        "livenessProbe": _probe(period=10, threshold=3),
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts,
    }


def volumes(options: Options) -> list[Value]:
    data: Value = {"name": DATA_VOLUME, "emptyDir": {"sizeLimit": DATA_LIMIT}}
    if not options.config:
        return [data]
    return [data, {"name": CONFIG_VOLUME, "configMap": {"name": options.config}}]


def environment(protocol: str) -> list[Value]:
    """Where an application sends: *protocol* is the one that it has chosen, or nothing."""
    if protocol == "grpc":
        return [{"name": ENDPOINT, "value": f"http://127.0.0.1:{OTLP_PORTS['grpc']}"}]
    address: Value = {"name": ENDPOINT, "value": f"http://127.0.0.1:{OTLP_PORTS['http']}"}
    return [address] if protocol else [address, {"name": PROTOCOL, "value": "http/protobuf"}]


def _probe(*, period: int, threshold: int) -> Value:
    return {
        "httpGet": {"path": "/health/live", "port": WEB_PORT_NAME},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": threshold,
    }
