"""What inject adds, taken away again: what is left must be what was there."""

from otel_latency.inject.sidecar import CONFIG_VOLUME, DATA_VOLUME, ENDPOINT, NAME, PROTOCOL
from otel_latency.inject.workloads import PODS

OURS = {NAME, DATA_VOLUME, CONFIG_VOLUME, ENDPOINT, PROTOCOL}


def pods(document):
    """The specs of the pods in *document*."""
    if document["kind"] == "List":
        return [pod for one in document["items"] for pod in pods(one)]
    path = PODS.get((document["apiVersion"], document["kind"]), ())
    for step in path:
        document = document[step]
    return [document] if path else []


def without_ours(document, originals):
    """*document* with what inject adds removed; lists that are empty then go where *originals* had none."""
    for pod, original in zip(pods(document), pods(originals), strict=True):
        for name in ("initContainers", "containers", "volumes"):
            _remove(pod, name, original)
        for one, before in zip(pod["containers"], original["containers"], strict=True):
            kept = {variable["name"] for variable in before.get("env") or []}
            _remove(one, "env", before, kept)
    return document


def _remove(mapping, name, original, kept=frozenset()):
    if name not in mapping or not isinstance(mapping[name], list):
        return
    left = [one for one in mapping[name] if one["name"] not in OURS - kept]
    if left or name in original:
        mapping[name] = left or original[name]
    else:
        del mapping[name]
