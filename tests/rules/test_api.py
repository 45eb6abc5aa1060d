import sys
from itertools import count

from otel_latency.rules import api
from otel_latency.rules.engine import Engine, Options
from otel_latency.rules.rulefile import load
from otel_latency.rules.series import SeriesTable

RULES = """
groups:
- name: latency
  interval: 500ms
  limit: 5
  rules:
  - {record: "stage:max", expr: max by(stage)(x), labels: {team: voice}}
  - alert: Slow
    expr: stage:max>1
    for: 250ms
    keep_firing_for: 1m
    labels: {severity: page}
    annotations: {summary: "{{ $value }} s"}
  - {alert: Broken, expr: x / on () x}
"""
NEVER = "0001-01-01T00:00:00Z"
START_MS = 1_767_225_600_000


def engine():
    table = SeriesTable(lambda _: sys.maxsize)
    made = Engine(table, Options(), timer=count().__next__)
    groups = load("latency.yaml", RULES)
    made.reload(groups, 0)
    return made, table, groups[0]


def test_before_the_first_evaluation():
    """What was not evaluated yet has an unknown health and Go's beginning of time."""
    made, _, _ = engine()
    [group] = api.rules(made.groups)["groups"]
    assert ("latency", "latency.yaml", 0.5, 5, NEVER) == tuple(
        group[key] for key in ("name", "file", "interval", "limit", "lastEvaluation")
    )
    assert {("unknown", NEVER)} == {(rule["health"], rule["lastEvaluation"]) for rule in group["rules"]}
    assert {"alerts": []} == api.alerts(made.groups)


def test_shapes():
    """Groups, rules and alerts have the fields of Prometheus' HTTP API, queries are in its own spelling."""
    made, table, group = engine()
    for at_ms, values in ((START_MS, "22"), (START_MS + 500, "31"), (START_MS + 1000, "00")):
        for stage, value in zip(("llm", "tts"), values, strict=True):
            table.append((("__name__", "x"), ("stage", stage)), at_ms, float(value))
        made.evaluate(group, at_ms)
    alert = {
        "labels": {"alertname": "Slow", "severity": "page", "stage": "llm", "team": "voice"},
        "annotations": {"summary": "3 s"},
        "state": "firing",
        "activeAt": "2026-01-01T00:00:00Z",
        "keepFiringSince": "2026-01-01T00:00:01Z",
        "value": "3e+00",
    }
    assert {"alerts": [alert]} == api.alerts(made.groups)
    recording, alerting, broken = api.rules(made.groups)["groups"][0]["rules"]
    assert {
        "name": "stage:max",
        "query": "max by (stage) (x)",
        "labels": {"team": "voice"},
        "health": "ok",
        "evaluationTime": 1,
        "lastEvaluation": "2026-01-01T00:00:01Z",
        "type": "recording",
    } == recording
    assert {
        "state": "firing",
        "name": "Slow",
        "query": "stage:max > 1",
        "duration": 0.25,
        "keepFiringFor": 60.0,
        "labels": {"severity": "page"},
        "annotations": {"summary": "{{ $value }} s"},
        "alerts": [alert],
        "health": "ok",
        "evaluationTime": 1,
        "lastEvaluation": "2026-01-01T00:00:01Z",
        "type": "alerting",
    } == alerting
    assert ("err", "inactive", []) == (broken["health"], broken["state"], broken["alerts"])
    assert "many-to-many matching not allowed" in broken["lastError"]


def test_fractions_of_seconds():
    """A time has no more digits than it needs."""
    made, _, group = engine()
    made.evaluate(group, START_MS + 250)
    assert "2026-01-01T00:00:00.25Z" == api.rules(made.groups)["groups"][0]["lastEvaluation"]
