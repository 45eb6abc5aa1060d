"""Right files are read as Prometheus reads them; each wrong one in `testdata/wrong` has one fault, named for it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from otel_latency.errors import ConfigError
from otel_latency.rules.promql.parse import parse
from otel_latency.rules.rule import AlertingRule, RecordingRule, RuleGroup
from otel_latency.rules.rulefile import load, read

WRONG = Path(__file__).parent / "testdata" / "wrong"

MESSAGES = (WRONG / "messages.txt").read_text().splitlines()
REFUSED_BY_US_ALONE = {  # what promtool 2.42 takes, although it can never work or is not in our subset
    "empty",
    "expr_at_modifier",
    "expr_native_histogram",
    "expr_range",
    "expr_string",
    "no_groups",
    "second_document",
    "subquery_endless",
    "tag",
}

RIGHT = """
groups:
- name: latency
  interval: 250ms
  limit: 10
  rules:
  - record: stage:p99
    expr: max by (stage) (x)
    labels: {team: voice}
  - alert: Slow
    expr: |
      stage:p99
        > 1
    for: 1h30m
    keep_firing_for: 500ms
    labels: {severity: page, empty: }
    annotations:
      summary: "{{ $labels.stage }} takes {{ $value | humanizeDuration }}"
"""


def test_right_file():
    """A file becomes groups of rules, durations in milliseconds and labels in order."""
    recorded = RecordingRule("stage:p99", "max by (stage) (x)", parse("max by (stage) (x)"), (("team", "voice"),))
    alert = AlertingRule(
        name="Slow",
        expr="stage:p99\n  > 1",
        node=parse("stage:p99 > 1"),
        labels=(("empty", ""), ("severity", "page")),
        annotations=(("summary", "{{ $labels.stage }} takes {{ $value | humanizeDuration }}"),),
        hold_ms=5_400_000,
        keep_firing_ms=500,
    )
    expected = RuleGroup("latency", "latency.yaml", (recorded, alert), interval_ms=250, limit=10)
    assert [expected] == load("latency.yaml", RIGHT)


def test_lines():
    """A rule knows the line that it begins on, which makes it no other rule."""
    [group], [moved] = load("f", RIGHT), load("f", "\n" + RIGHT)
    assert [7, 10] == [rule.line for rule in group.rules]
    assert group == moved


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.split(".")[0])
def test_wrong_file(message):
    """A wrong file is refused with file, line, column, group, rule, fact and cure."""
    name = message.split(":")[0]
    assert [message] == [str(fault) for fault in read(name, (WRONG / name).read_text())[1]]


def test_every_wrong_file_is_told_of():
    """There is a message for each of the files."""
    assert sorted(path.name for path in WRONG.glob("*.yaml")) == [message.split(":")[0] for message in MESSAGES]


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed")
def test_promtool_refuses_them_too():
    """We refuse nothing that Prometheus takes, but for what is listed here with its reason."""
    paths = sorted(WRONG.glob("*.yaml"))
    taken = {
        path.stem
        for path in paths
        if subprocess.run(["promtool", "check", "rules", path], capture_output=True, check=False).returncode == 0
    }
    assert taken == REFUSED_BY_US_ALONE


def test_all_faults_are_told():
    """Reading goes on after a fault, and the rules that are right come along."""
    text = (
        RIGHT
        + """
  - {alert: B, expr: "x >", for: soon}
  - {alert: C, expr: x > 1}
- {name: latency, rules: []}
"""
    )
    groups, faults = read("f", text)
    assert [
        'f:20:26: group "latency", rule "B": unexpected end of input',
        'f:20:34: group "latency", rule "B": for: not a valid duration string: "soon": write 250ms, 30s, 5m or 1h30m',
        'f:22:10: group "latency": a group on line 3 has this name already: rename one',
    ] == [str(fault) for fault in faults]
    assert ["stage:p99", "Slow", "C"] == [rule.name for rule in groups[0].rules]


def test_load_raises_the_first():
    """Who wants all or nothing gets the first fault as an exception."""
    with pytest.raises(ConfigError, match=r"^f:1:1: the file is empty"):
        load("f", "# nothing yet\n")


def test_fields_of_prometheus_3():
    """A group's labels lie under those of its rules; with semantics 2 such a file is refused, as by promtool 2.42."""
    text = "groups: [{name: g, query_offset: 1s, labels: {a: g, b: g}, rules: [{record: r, expr: x, labels: {a: r}}]}]"
    [group] = load("f", text)
    assert (1000, (("a", "r"), ("b", "g"))) == (group.query_offset_ms, group.rules[0].labels)
    assert [
        'f:1:20: group "g": query_offset came with Prometheus 3: remove it, or set semantics: 3',
        'f:1:38: group "g": labels came with Prometheus 3: remove it, or set semantics: 3',
    ] == [str(fault) for fault in read("f", text, semantics=2)[1]]


def test_functions_of_later_templates():
    """A template function is known from the version on that has it."""
    text = 'groups: [{name: g, rules: [{alert: A, expr: x, annotations: {a: "{{ now }}"}}]}]'
    assert [] == read("f", text)[1]
    assert ['f:1:69: group "g", rule "A": function "now" not defined'] == [
        str(fault) for fault in read("f", text, semantics=2)[1]
    ]


def test_anchors():
    """What an anchor names may be used again, as in Prometheus."""
    text = "groups: [{name: g, rules: [{alert: A, expr: x, labels: &l {a: b}}, {alert: B, expr: y, labels: *l}]}]"
    [group] = load("f", text)
    assert [(("a", "b"),)] * 2 == [rule.labels for rule in group.rules]


def test_json_is_yaml():
    """Generated rule files may be JSON."""
    rules = [{"alert": "A", "expr": "x > 1", "for": "1m"}]
    [group] = load("f", json.dumps({"groups": [{"name": "g", "rules": rules}]}))
    assert 60_000 == group.rules[0].hold_ms
