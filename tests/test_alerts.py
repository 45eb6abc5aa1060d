"""The shipped alerts: legal in promtool and here, each tested both ways, over series that there are, and explained."""

import re
from pathlib import Path

import pytest
import yaml

from otel_latency.aggregate.targets import LatencyTargets
from otel_latency.config.sections import Config
from otel_latency.rules import rulefile, testfile, testrun
from otel_latency.rules.contract import METRICS, samples
from otel_latency.rules.demand import demands
from otel_latency.rules.promql.nodes import METRIC_NAME, MatchOp
from otel_latency.rules.rule import AlertingRule, RecordingRule

ALERTS = Path(__file__).parents[1] / "alerts"
FILES = sorted(ALERTS.glob("*.rules.yaml"))
TESTS = sorted((ALERTS / "tests").glob("*.test.yaml"))
ALWAYS_ON = {"Watchdog"}
OF_STATES = {
    *("OperationStuck", "TrafficStopped", "LLMCircuitOpen", "GPUNotAnswering", "CheckDown", "AgentRulesFailing"),
    *("AgentRulesNotLoaded", "AgentSpansDropped", "AgentMetricPointsDropped", "AgentLoopBlocked"),
    *("AgentSeriesOverflow", "AgentCollectorFailing", "AgentNotificationsFailing", "Watchdog"),
}
"""What is either so or not, or has happened within minutes; it does not hover about a threshold."""

RULES = [rule for path in FILES for group in rulefile.load(path.name, path.read_text()) for rule in group.rules]
ALERTING = {rule.name: rule for rule in RULES if isinstance(rule, AlertingRule)}
CASES = {path: yaml.safe_load(path.read_text()) for path in TESTS}


def cases(path):
    """(alert, the alerts expected) of every case in a test file."""
    for test in CASES[path]["tests"]:
        for case in test["alert_rule_test"]:
            yield case["alertname"], case["exp_alerts"]


def test_each_file_has_its_tests():
    """`x.rules.yaml` is tested by `tests/x.test.yaml`, and no test is left over."""
    assert [path.name.split(".")[0] for path in FILES] == [path.name.split(".")[0] for path in TESTS]
    assert [[f"../{path.name}"] for path in FILES] == [CASES[path]["rule_files"] for path in TESTS]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_alert_fires_and_stays_silent(path):
    """Each alert has a case in which it fires and one in which it does not, and all alerts are of their own file."""
    groups = rulefile.load(path.name, path.read_text())
    alerts = {rule.name for group in groups for rule in group.alerting()}
    found = list(cases(ALERTS / "tests" / path.name.replace(".rules.", ".test.")))
    assert alerts == {name for name, expected in found if expected}
    assert alerts - ALWAYS_ON == {name for name, expected in found if not expected}


@pytest.mark.parametrize("alert", ALERTING)
def test_conventions(alert):
    """A severity, and what a person on call reads: a summary without value, a description, a row of the runbook."""
    rule = ALERTING[alert]
    labels, annotations = dict(rule.labels), dict(rule.annotations)
    assert labels["severity"] in {"warning", "critical", "none"}
    assert {"summary", "description", "runbook_url"} == set(annotations)
    assert "$value" not in annotations["summary"]
    assert f"alerts/README.md#{alert.lower()}" == annotations["runbook_url"]


def test_measured_values_may_dip():
    """An alert on a measured value, which may hover about its threshold, fires for a minute more; others just end."""
    assert {0: OF_STATES, 60_000: ALERTING.keys() - OF_STATES} == {
        keep: {name for name, rule in ALERTING.items() if rule.keep_firing_ms == keep}
        for keep in {rule.keep_firing_ms for rule in ALERTING.values()}
    }


def test_runbook():
    """The runbook has one row for each alert, in the order of the files."""
    rows = re.findall(
        r'^\| <a id="(\w+)"></a>(\w+) \| \S.* \| \S.* \|$', (ALERTS / "README.md").read_text(), re.MULTILINE
    )
    order = ["latency", "errors", "llm", "voice", "machine", "agent"]
    paths = [ALERTS / f"{name}.rules.yaml" for name in order]
    names = [rule.name for path in paths for group in rulefile.load("", path.read_text()) for rule in group.alerting()]
    assert [(name.lower(), name) for name in names] == rows
    assert sorted(paths) == FILES


def test_series_exist():
    """Every series that a rule asks for is one that the agent exposes, or one that a rule records."""
    exposed = {name for name, one in samples(METRICS).items() if one.type != "histogram"}
    recorded = {rule.name for rule in RULES if isinstance(rule, RecordingRule)}
    asked = {
        one.value
        for rule in RULES
        for demand in demands(rule.node, interval_ms=1000)
        for one in demand.matchers
        if one.label == METRIC_NAME and one.op is MatchOp.EQUAL
    }
    assert set() == asked - exposed - recorded


def test_targets_are_the_configuration():
    """Thresholds of stages and milestones are read from the series of `targets:`, and the tests use the defaults."""
    defaults = {
        (family.name, *dict(series.labels).values()): series.value
        for family in LatencyTargets(Config().targets).families(0.0)
        for series in family.series
    }
    pattern = re.compile(r'(otel_latency_\w+_target_seconds)\{\w+="(\w+)",level="target"\}')
    used = {
        (*found.groups(), "target"): float(series["values"].split("x")[0])
        for document in CASES.values()
        for test in document["tests"]
        for series in test["input_series"]
        if (found := pattern.fullmatch(series["series"]))
    }
    assert {3} == {len(key) for key in used}
    assert used == {key: defaults[key] for key in used}
    assert all(
        re.search(r"_target_seconds\{.*level=", ALERTING[f"{what}Above{level}"].expr)
        for what in ("Stage", "Milestone")
        for level in ("Target", "Critical")
    )


@pytest.mark.parametrize("semantics", [2, 3])
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_promtools_tests_pass_here(path, semantics):
    """The tests that promtool passes (see e2e) pass in the agent's engine too, to the last byte of the annotations."""
    tests, faults = testfile.read(path.name, path.read_text(), semantics=semantics)
    assert [] == faults
    (rules,) = tests.rule_files
    groups = rulefile.load(rules, (path.parent / rules).read_text(), semantics=semantics)
    assert [] == testrun.run(tests, groups, semantics=semantics)
