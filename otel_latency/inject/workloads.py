"""The objects of a manifest: their kinds and names, the pods they make, and what speaks against a sidecar there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from yaml.nodes import MappingNode, Node, ScalarNode

from otel_latency.inject.layout import Unfit, entry, items, scalar
from otel_latency.inject.sidecar import CONFIG_VOLUME, DATA_VOLUME, NAME, OTLP_PORTS, WEB_PORT_NAME, Options

_TEMPLATE: Final = ("spec", "template", "spec")
PODS: Final = {
    ("v1", "Pod"): ("spec",),
    ("apps/v1", "Deployment"): _TEMPLATE,
    ("apps/v1", "StatefulSet"): _TEMPLATE,
    ("apps/v1", "DaemonSet"): _TEMPLATE,
    ("batch/v1", "Job"): _TEMPLATE,
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE),
}
"""Where the pod's spec is, by apiVersion and kind; other groups have kinds of the same names and other shapes."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One object of a manifest; `line` counts from 1."""

    node: Node
    kind: str
    name: str
    line: int
    path: Sequence[str]

    @property
    def title(self) -> str:
        """How people call it."""
        return " ".join(filter(None, (self.kind or "this object", self.name)))

    def pod(self) -> Node | None:
        """The spec of its pods; None for a kind that we know no pods of. Raises Unfit when it is not there."""
        node = self.node
        for step in self.path:
            inner = entry(node, step)
            if inner is None:
                raise Unfit(node, f"{step} is missing: add it, down to the containers")
            node = inner
        return node if self.path else None


def workloads(document: Node) -> Iterator[Workload]:
    """The objects of one document, those of a List one by one."""
    api, kind = (_plain(document, key) for key in ("apiVersion", "kind"))
    if (api, kind) == ("v1", "List"):
        for one in items(entry(document, "items")):
            yield from workloads(one)
        return
    metadata = _value(document, "metadata")
    name = _plain(metadata, "name") or _plain(metadata, "generateName")
    yield Workload(document, kind, name, int(document.start_mark.line) + 1, PODS.get((api, kind), ()))


def _value(node: Node | None, name: str) -> Node | None:
    """Like `entry`, for objects of any shape."""
    pairs = node.value if isinstance(node, MappingNode) else ()
    return next((value for key, value in pairs if key.value == name), None)


def _plain(node: Node | None, name: str) -> str:
    value = _value(node, name)
    return value.value if isinstance(value, ScalarNode) else ""


def containers(pod: Node) -> list[Node]:
    """All of a pod's containers, init containers first."""
    return [*items(entry(pod, "initContainers")), *items(entry(pod, "containers"))]


def is_injected(pod: Node) -> bool:
    """Whether the pod has our sidecar. Raises Unfit when another container has its name."""
    for one in containers(pod):
        if scalar(one, "name") == NAME:
            if WEB_PORT_NAME in [scalar(port, "name") for port in items(entry(one, "ports"))]:
                return True
            raise Unfit(one, f"a container that is not the agent is called {NAME}: rename it")
    return False


def refuse_clashes(kind: str, pod: Node, options: Options) -> None:
    """Raises Unfit when the pod would not run with the sidecar, or run otherwise than before."""
    if not items(entry(pod, "containers")):
        raise Unfit(pod, "containers is missing: add the application's")
    if scalar(pod, "hostNetwork").lower() == "true":
        cure = "send to the gateway in place of a sidecar"
        raise Unfit(pod, f"hostNetwork is true, so that two pods on a node would want the same ports: {cure}")
    if "windows" in {scalar(pod, "os", "name"), scalar(pod, "nodeSelector", "kubernetes.io/os")}:
        raise Unfit(pod, "its nodes run Windows, and the agent's image does not: send to the gateway")
    if not options.is_native and _runs_to_an_end(kind, pod):
        raise Unfit(pod, "an ordinary container would keep the pod from ending: leave out --ordinary")
    _refuse_ports(pod, options)
    for volume in items(entry(pod, "volumes")):
        if scalar(volume, "name") in {DATA_VOLUME, CONFIG_VOLUME}:
            raise Unfit(volume, f"a volume is called {scalar(volume, 'name')} already: rename it")


def _runs_to_an_end(kind: str, pod: Node) -> bool:
    return kind in {"Job", "CronJob"} or scalar(pod, "restartPolicy") in {"Never", "OnFailure"}


def _refuse_ports(pod: Node, options: Options) -> None:
    ours = {str(options.web_port): "choose another with --port", **dict.fromkeys(map(str, OTLP_PORTS.values()), "")}
    for one in containers(pod):
        for port in items(entry(one, "ports")):
            number = scalar(port, "containerPort")
            if number in ours and scalar(port, "protocol") in {"", "TCP"}:
                cure = ours[number] or "move it, or send to the gateway in place of a sidecar"
                raise Unfit(port, f"container {scalar(one, 'name')} listens on {number}, as the agent would: {cure}")
            if scalar(port, "name") == WEB_PORT_NAME:
                raise Unfit(port, f"a port is called {WEB_PORT_NAME} already: rename it")


def variables(one: Node) -> dict[str, str]:
    """The variables that a container sets, with their values as far as they stand here."""
    return {scalar(variable, "name"): scalar(variable, "value") for variable in items(entry(one, "env"))}


def is_empty(document: Node | None) -> bool:
    """Whether nothing stands between two `---`."""
    return document is None or (isinstance(document, ScalarNode) and document.value == "")
