"""What `/api/v1/rules` and `/api/v1/alerts` say of an engine, in the shapes of Prometheus' own HTTP API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from otel_latency.rules.engine import RunningGroup, RunningRule
from otel_latency.rules.promql.show import show
from otel_latency.rules.rule import AlertingRule
from otel_latency.rules.state import AlertState, State
from otel_latency.rules.template.numerals import scientific

Json = dict[str, object]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER: Final = "0001-01-01T00:00:00Z"
_SEVERITY: Final = [State.INACTIVE, State.PENDING, State.FIRING]


def rules(groups: Sequence[RunningGroup]) -> Json:
    """The `data` of `/api/v1/rules`."""
    return {"groups": [_group(group) for group in groups]}


def alerts(groups: Sequence[RunningGroup]) -> Json:
    """The `data` of `/api/v1/alerts`: what is pending or firing."""
    return {"alerts": [_alert(alert) for group in groups for rule in group.rules for alert in rule.active]}


def _group(running: RunningGroup) -> Json:
    return {
        "name": running.group.name,
        "file": running.group.file,
        "rules": [_rule(rule) for rule in running.rules],
        "interval": running.interval_ms / 1000,
        "limit": running.group.limit,
        "evaluationTime": running.seconds,
        "lastEvaluation": _time(running.evaluated_at_ms),
    }


def _rule(running: RunningRule) -> Json:
    rule = running.rule
    shown: Json = {"name": rule.name, "query": show(rule.node), "labels": dict(rule.labels)}
    if isinstance(rule, AlertingRule):
        shown = {"state": _state(running).value, **shown, **_alerting(rule, running), "type": "alerting"}
    else:
        shown["type"] = "recording"
    if running.last_error:
        shown["lastError"] = running.last_error
    return {
        **shown,
        "health": running.health,
        "evaluationTime": running.seconds,
        "lastEvaluation": _time(running.evaluated_at_ms),
    }


def _alerting(rule: AlertingRule, running: RunningRule) -> Json:
    return {
        "duration": rule.hold_ms / 1000,
        "keepFiringFor": rule.keep_firing_ms / 1000,
        "annotations": dict(rule.annotations),
        "alerts": [_alert(alert) for alert in running.active],
    }


def _state(running: RunningRule) -> State:
    return max((alert.state for alert in running.active), key=_SEVERITY.index, default=State.INACTIVE)


def _alert(alert: AlertState) -> Json:
    shown: Json = {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "state": alert.state.value,
        "activeAt": _time(alert.active_at_ms),
        "value": scientific(alert.value),
    }
    if alert.keep_firing_since_ms is not None:
        shown["keepFiringSince"] = _time(alert.keep_firing_since_ms)
    return shown


def _time(at_ms: int | None) -> str:
    """RFC 3339 as Go prints it: no more digits than needed."""
    if at_ms is None:
        return _NEVER
    text = (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").removesuffix("+00:00")
    whole, _, part = text.partition(".")
    part = part.rstrip("0")
    return f"{whole}.{part}Z" if part else f"{whole}Z"
