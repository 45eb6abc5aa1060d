"""From the result of a rule's expression to alerts and series: what the engine does to values, without its memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote_plus

from otel_latency.errors import EvaluationError
from otel_latency.records import Alert, Labels
from otel_latency.rules.promql.labels import canonical
from otel_latency.rules.promql.nodes import METRIC_NAME, Node
from otel_latency.rules.promql.show import show
from otel_latency.rules.promql.values import Element, Semantics, Value, Vector
from otel_latency.rules.rule import AlertingRule, RecordingRule
from otel_latency.rules.state import AlertState, Breach
from otel_latency.rules.template import Template, parse
from otel_latency.rules.template.values import Query

NO_VECTOR: Final = "rule result is not a vector or scalar"
ALERT_NAME: Final = "alertname"
ALERT_STATE: Final = "alertstate"


@dataclass(frozen=True, slots=True)
class Outside:
    """What alerts say about where they come from."""

    labels: Mapping[str, str]
    url: str


class AlertTexts:
    """The templates of a rule's labels and annotations, ready to be filled in."""

    def __init__(self, rule: AlertingRule, outside: Outside, semantics: Semantics) -> None:
        self._name = rule.name
        self._outside = outside
        compiled = partial(parse, alert=rule.name, semantics=semantics)
        self._labels = [(name, compiled(text)) for name, text in rule.labels]
        self._annotations = [(name, compiled(text)) for name, text in rule.annotations]

    def breach(self, element: Element, at_ms: int, query: Query) -> Breach:
        """The alert that *element* stands for; templates see its labels as the expression left them."""
        fill = partial(self._filled, element, at_ms, query)
        labels = {name: value for name, value in element.labels if name != METRIC_NAME}
        labels |= fill(self._labels)
        labels[ALERT_NAME] = self._name
        return Breach(canonical(labels), tuple(fill(self._annotations).items()), element.value)

    def _filled(
        self, element: Element, at_ms: int, query: Query, templates: Sequence[tuple[str, Template]]
    ) -> dict[str, str]:
        seen = dict(element.labels)
        return {
            name: template.render(
                labels=seen,
                value=element.value,
                external_labels=self._outside.labels,
                external_url=self._outside.url,
                query=query,
                now=at_ms / 1000,
            )
            for name, template in templates
        }


def vector(value: Value) -> Vector:
    """A rule's result as elements: a scalar is one without labels."""
    if isinstance(value, str):
        raise EvaluationError(NO_VECTOR)
    return value if isinstance(value, list) else [Element((), value)]


def breaches(texts: AlertTexts, elements: Iterable[Element], at_ms: int, query: Query) -> dict[Labels, Breach]:
    """The alerts of an evaluation by their labels. Raises EvaluationError when two would be one."""
    found: dict[Labels, Breach] = {}
    for element in elements:
        breach = texts.breach(element, at_ms, query)
        if breach.labels in found:
            raise EvaluationError("vector contains metrics with the same labelset after applying alert labels")
        found[breach.labels] = breach
    return found


def recorded(rule: RecordingRule, elements: Iterable[Element]) -> dict[Labels, float]:
    """The series that a recording rule makes of its result. Raises EvaluationError when two would be one."""
    found: dict[Labels, float] = {}
    for element in elements:
        labels = canonical({**dict(element.labels), METRIC_NAME: rule.name, **dict(rule.labels)})
        if labels in found:
            raise EvaluationError("vector contains metrics with the same labelset after applying rule labels")
        found[labels] = element.value
    return found


def alert_series(rule: AlertingRule, alerts: Iterable[AlertState]) -> dict[Labels, float]:
    """ALERTS and ALERTS_FOR_STATE of the alerts that are pending or firing; the latter tells whole seconds."""
    found: dict[Labels, float] = {}
    for alert in alerts:
        if not alert.is_active:
            continue
        # As in Prometheus, a label whose template came to nothing shows here as it stands in the file.
        labels = {**dict(rule.labels), **dict(alert.labels)}
        found[canonical({**labels, METRIC_NAME: "ALERTS", ALERT_STATE: alert.state.value})] = 1.0
        found[canonical({**labels, METRIC_NAME: "ALERTS_FOR_STATE"})] = float(alert.active_at_ms // 1000)
    return found


def link(node: Node, outside: Outside) -> str:
    """Where people can look at an expression, as Prometheus has it."""
    return f"{outside.url}/graph?g0.expr={quote_plus(show(node))}&g0.tab=1"


def sent_alert(alert: AlertState, outside: Outside, at_ms: int, valid_ms: int, generator_url: str = "") -> Alert:
    """What the notifiers get at *at_ms*; a firing alert counts as resolved once nothing was heard for *valid_ms*."""
    ends_at_ms = at_ms + valid_ms if alert.resolved_at_ms is None else alert.resolved_at_ms
    assert alert.fired_at_ms is not None
    return Alert(
        labels={**outside.labels, **dict(alert.labels)},
        annotations=dict(alert.annotations),
        starts_at=alert.fired_at_ms / 1000,
        ends_at=ends_at_ms / 1000,
        is_firing=alert.resolved_at_ms is None,
        value=alert.value,
        generator_url=generator_url,
        valid_for=valid_ms / 1000,
        active_at=alert.active_at_ms / 1000,
    )
