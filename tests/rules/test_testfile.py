import math

import pytest

from otel_latency.rules.sequence import Gap
from otel_latency.rules.testfile import (
    AlertTest,
    ExpectedAlert,
    ExpectedSample,
    ExpressionTest,
    InputSeries,
    RuleTest,
    RuleTestFile,
    read,
)

EVERYTHING = """
rule_files: [latency.yaml, "more/*.yaml"]
evaluation_interval: 30s
group_eval_order: [b, a]
fuzzy_compare: true
tests:
- name: slow
  interval: 15s
  start_timestamp: 2026-01-01T00:00:00Z
  external_labels: {cluster: eu}
  external_url: http://agent.example
  input_series:
  - {series: 'x{stage="llm"}', values: 1 _ stale}
  alert_rule_test:
  - eval_time: 1m
    alertname: Slow
    exp_alerts:
    - exp_labels: {stage: llm}
      exp_annotations: {summary: s}
  promql_expr_test:
  - expr: x
    eval_time: 1m30s
    exp_samples:
    - {labels: 'x{stage="llm"}', value: -.inf}
    - {labels: 'x{', value: 1_0.5e1}
"""


def test_everything():
    """Each field finds its place."""
    test = RuleTest(
        name="slow",
        interval_ms=15_000,
        series=[InputSeries((("__name__", "x"), ("stage", "llm")), [1.0, Gap.BLANK, Gap.STALE])],
        alert_tests=[
            AlertTest(
                60_000,
                "Slow",
                [ExpectedAlert((("alertname", "Slow"), ("stage", "llm")), (("summary", "s"),))],
            )
        ],
        expression_tests=[
            ExpressionTest(
                "x",
                90_000,
                [
                    ExpectedSample((("__name__", "x"), ("stage", "llm")), -math.inf),
                    ExpectedSample((), 105.0, 'labels "x{": 1:3: parse error: unexpected end of input inside braces'),
                ],
            )
        ],
        external_labels={"cluster": "eu"},
        external_url="http://agent.example",
        start_ms=1_767_225_600_000,
    )
    expected = RuleTestFile(["latency.yaml", "more/*.yaml"], 30_000, ["b", "a"], [test], is_fuzzy=True)
    assert (expected, []) == read("t", EVERYTHING)
    assert 1_767_225_690_000 == test.end_ms


def test_defaults():
    """A minute between evaluations, and as much between samples, from the beginning of 1970."""
    found, _ = read("t", "tests: [{}]")
    assert RuleTestFile([], 60_000, [], [RuleTest("", 60_000, [], [], [])]) == found
    assert 0 == found.tests[0].end_ms


def test_nan():
    """A sample may be expected to be no number."""
    found, _ = read("t", "tests: [{promql_expr_test: [{expr: x, eval_time: 1m, exp_samples: [{value: .nan}]}]}]")
    assert math.isnan(found.tests[0].expression_tests[0].expected[0].value)


WRONG = {
    "": "t:1:1: the file is empty: begin with rule_files: and tests:",
    "[]": "t:1:1: the file holds no fields: write rule_files: and so on",
    "test: []": "t:1:1: unknown field 'test': did you mean tests?",
    "evaluation_interval: 90": 't:1:22: evaluation_interval: not a valid duration string: "90": write 250ms, 30s, 5m or'
    " 1h30m",
    "rule_files: a.yaml": "t:1:13: rule_files holds no list: begin each entry with -",
    "rule_files: [[a]]": "t:1:14: rule_files holds more than one value: write a text",
    "group_eval_order: [a, a]": "t:1:19: group name repeated in evaluation order: a",
    "fuzzy_compare: maybe": "t:1:16: fuzzy_compare: 'maybe' is neither true nor false: write one of them",
    "tests: [x]": "t:1:9: a test holds no fields: write name: and so on",
    "tests: [{start_timestamp: soon}]": "t:1:27: start_timestamp: 'soon' is no time: write 2026-01-01T00:00:00Z or Unix"
    " seconds",
    "tests: [{start_timestamp: 2026-01-01}]": "t:1:27: start_timestamp: '2026-01-01' is no time: write"
    " 2026-01-01T00:00:00Z or Unix seconds",
    "tests: [{input_series: [{series: x}]}]": "t:1:25: values is missing: write it",
    "tests: [{input_series: [{series: x, values: 1 2y}]}]": "t:1:47: '2y' is no value of a series: write 1, 1x5, 1+2x5,"
    " _, _x5, stale, NaN or Inf",
    "tests: [{alert_rule_test: [{eval_time: 1m}]}]": "t:1:28: alertname is missing: name the alert that is expected",
    "tests: [{promql_expr_test: [{exp_samples: [{value: '1'}]}]}]": "t:1:52: value: '1' is not a number of YAML: write"
    " 1.5, .inf or .nan",
    "tests: [{promql_expr_test: [{exp_samples: [{histogram: '{{}}'}]}]}]": "t:1:45: native histograms are not part of"
    " the rules' language: expect _bucket, _sum and _count samples",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=range(len(WRONG)))
def test_wrong(text, message):
    """A fault has its place, fact and cure."""
    found, faults = read("t", text)
    assert (None, [message]) == (found, [str(fault) for fault in faults])


def test_fields_of_prometheus_3():
    """promtool 2.42 does not know them."""
    _, faults = read("t", "fuzzy_compare: true\ntests: [{start_timestamp: 0}]", semantics=2)
    assert [
        "t:1:1: fuzzy_compare came with Prometheus 3: remove it, or run with --semantics 3",
        "t:2:10: start_timestamp came with Prometheus 3: remove it, or run with --semantics 3",
    ] == [str(fault) for fault in faults]
