"""One bad rule per check, with the place and the words of what is said about it, and good rules that are left alone."""

from pathlib import Path

import pytest

from otel_latency.rules.contract import Surroundings, metric
from otel_latency.rules.lint import Check, lint
from otel_latency.rules.rulefile import read

ALERTS = Path(__file__).parents[2] / "alerts"
FILE = """\
groups:
  - name: g
    rules:
      - alert: A
        expr: {expr}
        for: {hold}
        labels: {{severity: warning, {labels}}}
        annotations: {{summary: '{summary}'}}
"""
TURNS = "sum by (turn) (rate(otel_latency_turns_total[5m]))"
LOAD = "otel_latency_host_load1"
BUCKETS = "otel_latency_turn_duration_seconds_bucket"


def found(text, **around):
    groups, faults = read("f.yaml", text)
    assert [] == faults
    return lint(text, groups, Surroundings(**around))


def said(expr, *, hold="1m", labels="", summary="s", **around):
    """What is said about one alert, without its name."""
    text = FILE.format(expr=expr, hold=hold, labels=labels, summary=summary)
    return [str(one).replace(' group "g", rule "A":', "") for one in found(text, **around)]


EXPRESSIONS = {
    "otel_latency_stage_total > 5": (
        "5:15: the agent exposes no otel_latency_stage_total, so this never has a result: did you mean "
        "otel_latency_stages_total? (error: unknown-series)"
    ),
    "1 < otel_latency_nothing_like_it": (
        "5:19: the agent exposes no otel_latency_nothing_like_it, so this never has a result: see /metrics for the "
        "names that there are (error: unknown-series)"
    ),
    "otel_latncy_host_load1 > 5": (
        "5:15: otel_latncy_host_load1 is not known: did you mean otel_latency_host_load1? (warning: unknown-series)"
    ),
    "gen_ai_client_operation_duration_seconds > 5": (
        "5:15: gen_ai_client_operation_duration_seconds is a histogram, and no series has its name: take "
        "gen_ai_client_operation_duration_seconds_bucket, gen_ai_client_operation_duration_seconds_count or "
        "gen_ai_client_operation_duration_seconds_sum (error: unknown-series)"
    ),
    f"1 < rate({LOAD}[5m])": (
        f"5:19: rate() of {LOAD}, which is a gauge: take delta(), deriv() or avg_over_time() (error: rate-on-gauge)"
    ),
    "increase(queue_length[5m]) > 5": (
        "5:15: increase() of queue_length, which is not named as a counter: take delta() if it is a gauge "
        "(warning: rate-on-gauge)"
    ),
    "otel_latency_turns_total > 5": (
        "5:15: otel_latency_turns_total is a counter, which only grows: take rate(otel_latency_turns_total[5m]) or "
        "increase() (warning: missing-rate)"
    ),
    f"histogram_quantile(0.9, sum by (le) ({BUCKETS})) > 5": (
        f"5:52: {BUCKETS} is a histogram's bucket, which only grows: take rate({BUCKETS}[5m]) or increase() "
        "(error: missing-rate)"
    ),
    "rate(otel_latency_turns_total[1s]) > 5": (
        "5:15: rate() needs two samples, and there is one every 1s, so at most one in [1s]: take [4s] or more "
        "(error: short-window)"
    ),
    "rate(otel_latency_turns_total[3s]) > 5": (
        "5:15: there is a sample every 1s, and [3s] may hold too few of them: take [4s] or more (warning: short-window)"
    ),
    "rate(otel_latency_turns_total[5m])": (
        "5:15: nothing is compared, so the alert fires as long as there is a series: add a threshold, as in > 0.5 "
        "(error: always-fires)"
    ),
    f"{TURNS} > bool 1": "5:15: > bool gives 0 or 1, and both are alerts: leave bool out (error: always-fires)",
    f"histogram_quantile(0.9, sum by (turn) (rate({BUCKETS}[5m]))) > 5": (
        "5:15: histogram_quantile() finds no label le: keep it, as in sum by (le) (...) (error: histogram-quantile)"
    ),
    "histogram_quantile(0.9, rate(http_seconds_count[5m])) > 5": (
        "5:44: histogram_quantile() of http_seconds_count, which has no buckets: take http_seconds_bucket "
        "(error: histogram-quantile)"
    ),
    f'{LOAD}{{instance=~"a"}} > 5': '5:15: instance=~"a" is no pattern: write instance="a" (warning: plain-regex)',
    "up == 0": (
        "5:15: a threshold on up can only fire in a real Prometheus: an agent that is gone evaluates nothing. Watch "
        "the Watchdog (warning: prometheus-only)"
    ),
    "absent(otel_latency_build_info)": (
        "5:15: absent() of the agent's own series can only fire in a real Prometheus: an agent that is gone evaluates "
        "nothing. Watch the Watchdog (warning: prometheus-only)"
    ),
    f"sum by (service) (rate(a_total[5m])) / on (turn) {TURNS} > 1": (
        "5:15: the left side of / has no label turn, so nothing matches: keep it there (error: matching)"
    ),
    f"{TURNS} / sum by (service, turn) (rate(b_total[5m])) > 1": (
        "5:15: only one side of / has service, so nothing matches: say on which labels, as in on (...) group_left () "
        "(error: matching)"
    ),
    f"{TURNS} > 1 and {LOAD} > 5": (
        "5:15: only one side of and has turn, so nothing matches: say on which labels, as in on (...) (error: matching)"
    ),
}


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_expression(expr):
    """Exactly one thing is said about each, with place, fact and cure."""
    assert [f"f.yaml:{EXPRESSIONS[expr]}"] == said(expr)


def test_places_in_blocks():
    """In an expression of several lines the line is that of the culprit."""
    (finding,) = found(
        FILE.replace("{expr}", "|\n          1\n            < rate({expr}[5m])").format(
            expr=LOAD, hold="1m", labels="", summary="s"
        )
    )
    assert (7, 15, Check.RATE_ON_GAUGE) == (finding.line, finding.column, finding.check)


def test_label_that_is_aggregated_away():
    """A template cannot show a label that the result does not have; the label's name is where the finding is."""
    expected = (
        "f.yaml:8:38: summary shows label service, which the result of expr does not have: keep it there, as in by "
        "(service) (error: unknown-label)"
    )
    assert [expected] == said(f"{TURNS} > 1", summary="x {{ $labels.service }}")
    assert [expected] == said(f"{TURNS} > 1", summary="x {{ .Labels.service }}")
    assert [] == said(f"{TURNS} > 1", summary="{{ $labels.turn }}")


def test_label_of_another_series_in_a_template():
    """Inside `with` the dot is what was queried, of which nothing is known."""
    assert [] == said(
        f"{TURNS} > 1", summary='{{ with query "up" }}{{ . | first | label "a" }}{{ .Labels.b }}{{ end }}'
    )


def test_value_in_label():
    """A label with the value in it is a new alert at every value."""
    assert [
        (
            "f.yaml:7:44: the value in label v makes a new alert whenever it changes: put it into an annotation "
            "(error: value-in-label)"
        )
    ] == said(f"{LOAD} > 5", labels="v: '{{ $value }}'")


def test_short_for():
    """`for` below the interval is not what it says."""
    assert [
        (
            "f.yaml:6:14: for: 100ms is shorter than the interval of 1s, which is what it will be: write for: 1s "
            "(warning: short-for)"
        )
    ] == said(f"{LOAD} > 5", hold="100ms")
    assert [] == said(f"{LOAD} > 5", hold="100ms", interval_ms=100)


def test_missing_words():
    """Severity and summary are what notifiers and people go by."""
    text = f"groups: [{{name: g, rules: [{{alert: A, expr: {LOAD} > 5}}]}}]"
    assert [
        (
            'f.yaml:1:28: group "g", rule "A": no label severity, by which notifiers choose: add severity: warning or '
            "critical (warning: missing-severity)"
        ),
        (
            'f.yaml:1:28: group "g", rule "A": no annotation summary, which messages begin with: add one '
            "(warning: missing-summary)"
        ),
    ] == [str(one) for one in found(text)]


def test_duplicate():
    """The second of two rules with one name and one set of labels is told where the first is."""
    rule = f"    - {{record: a:b, expr: {LOAD}}}\n"
    text = f"groups:\n  - name: g\n    rules:\n{rule}{rule}    - {{record: a:b, expr: {LOAD}, labels: {{c: d}}}}\n"
    assert [
        (
            'f.yaml:5:7: group "g", rule "a:b": line 4 has a rule with the same name and labels: rename one, or tell '
            "them apart by a label (warning: duplicate-rule)"
        )
    ] == [str(one) for one in found(text)]


def test_slow_sampling():
    """Whether a window is long enough depends on how often samples are taken."""
    expr = "rate(otel_latency_turns_total[1m]) > 1"
    assert [] == said(expr)
    (finding,) = said(expr, sample_ms=60_000)
    assert finding.endswith("so at most one in [1m]: take [4m] or more (error: short-window)")


def test_series_of_others():
    """Series that are made known are checked like ours."""
    known = {"queue_length": metric("gauge", "queue")}
    (finding,) = said("max by (queue) (rate(queue_length[5m])) > 1", series=known, owned=())
    assert finding.endswith("(error: rate-on-gauge)")
    assert [] == said("sum by (queue) (queue_length) > 1", series=known, owned=())


SILENT = {
    "a recorded series": "job:a:rate5m > 1",
    "counters whose value is not what is asked for": "count(otel_latency_turns_total) > 3",
    "counters that only have to be there": f"{LOAD} > 5 and on () otel_latency_turns_total",
    "a difference of counters": "otel_latency_turns_total - otel_latency_turns_total offset 5m > 5",
    "absence of what others send": 'absent(queue_length{queue="a"})',
    "the state of another alert": 'ALERTS{alertname="B"}',
    "a fallback": f"{TURNS} > 5 or {TURNS} < 1",
    "a join with all that others may add": (
        "otel_latency_stage_window_seconds > on (stage) group_left () otel_latency_stage_target_seconds"
    ),
    "a target's label": f'{LOAD}{{pod=~"a.*"}} > on (pod) max by (pod) ({LOAD} offset 1h)',
}


@pytest.mark.parametrize("expr", SILENT.values(), ids=SILENT)
def test_nothing_to_say(expr):
    """What is right is left alone."""
    assert [] == said(f"|\n          {expr}")


def test_ignored():
    """A comment above or within a rule silences the checks that it names, for this rule only."""
    rule = "      - alert: {name}\n        expr: {expr}\n        labels: {{severity: x}}\n"
    rule += "        annotations: {{summary: s}}\n"
    good, bad = (rule.format(name=name, expr=expr) for name, expr in (("A", "vector(1)"), ("B", "vector(2)")))
    head = "groups:\n  - name: g\n    rules:\n"
    comment = "      # otel-latency: ignore short-for, always-fires\n"
    within = good.replace("        labels", "        # otel-latency: ignore always-fires\n        labels")
    assert ["B"] == [one.rule for one in found(head + comment + good + bad)]
    assert ["B"] == [one.rule for one in found(head + within + bad)]
    assert ["A"] == [one.rule for one in found(head + good + comment + bad)]
    assert ["A"] == [one.rule for one in found(head + comment.replace("always-fires", "x") + good)]


def test_rules_on_one_line():
    """Rules that begin on the same line are told apart."""
    rule = "{{record: {}, expr: 'rate(x_total[1s])'}}".format
    text = f"groups: [{{name: g, rules: [{rule('a:b')}, {rule('a:c')}]}}]"
    assert [("a:b", 1, 49), ("a:c", 1, 91)] == [(one.rule, one.line, one.column) for one in found(text)]


@pytest.mark.parametrize("path", sorted(ALERTS.glob("*.rules.yaml")), ids=lambda path: path.name)
def test_shipped_rules(path):
    """Nothing is said about the rules that we ship."""
    assert [] == [str(one) for one in found(path.read_text())]


def test_every_check_has_its_bad_rule():
    """No check without an example above."""
    text = Path(__file__).read_text()
    assert [] == [check.value for check in Check if f": {check.value})" not in text]
