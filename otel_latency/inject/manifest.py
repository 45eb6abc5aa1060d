"""From a manifest to the same manifest with the agent in every pod; all of it, or an error and nothing.

What has the agent already comes back to the last byte, so a manifest may be injected as often as one likes. Objects of
other kinds pass, and are told of. Nothing but the insertions changes: not a comment, a quote or an indentation.

Cost: one parse, which takes a second for some 150 kB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import yaml
from yaml.nodes import Node

from otel_latency.config.document import Refused, in_our_words, refuse_control_characters
from otel_latency.errors import ConfigError
from otel_latency.inject import sidecar
from otel_latency.inject.layout import Edit, Layout, Loader, Unfit, apply, entry, items, scalar
from otel_latency.inject.sidecar import Options
from otel_latency.inject.workloads import Workload, is_empty, is_injected, refuse_clashes, variables, workloads

Outcome = Literal["injected", "unchanged", "passed"]
_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Injection:
    """What became of one object; `notes` are for people."""

    kind: str
    name: str
    line: int
    outcome: Outcome
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Injected:
    """The text, and what became of each object in it."""

    text: str
    objects: tuple[Injection, ...]


def inject(text: str, place: str, options: Options) -> Injected:
    """*text* with the sidecar. Raises ConfigError, which *place* and a line begin, when one pod cannot have it."""
    body = text.removeprefix(_MARK)  # PyYAML would not count it
    layout = Layout(body)
    edits: list[Edit] = []
    objects: list[Injection] = []
    try:
        for document in _documents(body):
            for workload in workloads(document):
                found, own = _inject(workload, layout, options)
                objects.append(found)
                edits += own
    except Refused as refused:
        raise ConfigError(f"{place}:{refused.line}:{refused.column}: {refused.text}") from None
    return Injected(text[: len(text) - len(body)] + apply(body, edits), tuple(objects))


def _documents(text: str) -> Iterator[Node]:
    """What stands in *text*. Raises Refused where that is no YAML."""
    refuse_control_characters(text)
    try:
        for document in yaml.compose_all(text, Loader=Loader):
            if not is_empty(document):
                yield document
    except yaml.MarkedYAMLError as error:
        raise in_our_words(error, text) from None
    except RecursionError:
        raise Refused(1, 1, "this is nested too deep: is it the right file?") from None


def _inject(workload: Workload, layout: Layout, options: Options) -> tuple[Injection, list[Edit]]:
    """What becomes of one object, and the edits for it. Raises Refused."""
    outcome: Outcome = "passed"
    edits: list[Edit] = []
    notes: list[str] = []
    try:
        pod = workload.pod()
        if pod is not None:
            outcome = "unchanged" if is_injected(pod) else "injected"
        if pod is not None and outcome == "injected":
            refuse_clashes(workload.kind, pod, options)
            edits, notes = _edits(pod, layout, options)
    except Unfit as unfit:
        start = unfit.node.start_mark
        raise Refused(start.line + 1, start.column + 1, f"{workload.title}: {unfit}") from None
    return Injection(workload.kind, workload.name, workload.line, outcome, tuple(notes)), edits


def _edits(pod: Node, layout: Layout, options: Options) -> tuple[list[Edit], list[str]]:
    """The insertions into *pod*, and what was left as it is."""
    edits: list[Edit] = []
    notes: list[str] = []
    for one in items(entry(pod, "containers")) if options.sets_env else ():
        known = variables(one)
        if taken := sorted(name for name in known if name.startswith("OTEL_EXPORTER_OTLP_") and "ENDPOINT" in name):
            notes.append(f"container {scalar(one, 'name')} sends where it did: {', '.join(taken)} is set")
            continue
        if entry(one, "envFrom") is not None:
            notes.append(f"container {scalar(one, 'name')} sends to the agent, whatever its envFrom says")
        edits.append(layout.extend(one, "env", sidecar.environment(known.get(sidecar.PROTOCOL, ""))))
    sequence = "initContainers" if options.is_native else "containers"
    # First among the init containers, so that those can send, too; last of the others: tools mean the first of them.
    edits.append(layout.extend(pod, sequence, [sidecar.container(options)], first=options.is_native))
    edits.append(layout.extend(pod, "volumes", sidecar.volumes(options)))
    return edits, notes
