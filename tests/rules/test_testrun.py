"""Each file of `testdata/parity` gets the same verdict from promtool 2.42 and from us; `fails_...` fail on purpose."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from otel_latency.cli import main
from otel_latency.rules import rulefile, testfile
from otel_latency.rules.testrun import format_go, run
from tests.fuzz.alert_states import case, difference

PARITY = Path(__file__).parent / "testdata" / "parity"
FILES = sorted(path.name for path in PARITY.glob("*.test.yaml"))
OWN_WORDS = {  # faults of the files themselves, for which we have places and cures
    "fails_notation.test.yaml",
    "fails_number_in_quotes.test.yaml",
    "fails_order_twice.test.yaml",
    "fails_unknown_field.test.yaml",
    "fails_without_alertname.test.yaml",
    "fails_wrong_rules.test.yaml",
}
NO_PROMTOOL = shutil.which("promtool") is None


@pytest.fixture
def parity(monkeypatch):
    monkeypatch.chdir(PARITY)


@pytest.mark.parametrize("name", FILES)
def test_verdict(name, parity, capsys):
    """A file fails if its name says so."""
    assert name.startswith("fails_") == main(["rules", "test", "--semantics", "2", name])


@pytest.mark.e2e
@pytest.mark.skipif(NO_PROMTOOL, reason="promtool (Debian's prometheus) is not installed")
@pytest.mark.parametrize("name", FILES)
def test_promtool(name, parity, capsys):
    """promtool says the same, word for word unless the file itself is at fault."""
    theirs = subprocess.run(["promtool", "test", "rules", name], capture_output=True, text=True, check=False)
    assert theirs.returncode == main(["rules", "test", "--semantics", "2", name])
    if name not in OWN_WORDS:
        assert complaints(theirs.stderr) == complaints(capsys.readouterr().out)


def complaints(output):
    verdicts = ("  FAILED:", "  SUCCESS", "Unit Testing:", "  WARNING:")
    return [line for line in output.splitlines() if line and not line.startswith(verdicts)]


def failures(tests, rules="groups: []", *, semantics=3):
    found, faults = testfile.read("t", tests, semantics=semantics)
    assert found is not None, faults
    return run(found, rulefile.load("r", rules, semantics=semantics), semantics=semantics)


def expect(expr, at, *samples, head=""):
    shown = ", ".join(f"{{labels: '{labels}', value: {value}}}" for labels, value in samples)
    return (
        f"{head}\ntests:\n- interval: 250ms\n  input_series: [{{series: a, values: '0.1+0.2x9'}}]\n"
        f"  promql_expr_test: [{{expr: '{expr}', eval_time: {at}, exp_samples: [{shown}]}}]"
    )


QUARTERS = "evaluation_interval: 250ms"


@pytest.mark.parametrize(("semantics", "expected"), [(2, 5), (3, 4)])
def test_semantics(semantics, expected):
    """A range of Prometheus 2 has both its ends, one of Prometheus 3 only the later."""
    test = expect("count_over_time(a[1s])", "2s", ("{}", expected), head=QUARTERS)
    assert [] == failures(test, semantics=semantics)


def test_fuzzy_compare():
    """A difference in the last bit may be overlooked, and only that."""
    almost = expect("a", "250ms", ("a", 0.3), head=QUARTERS)
    [fault] = failures(almost)
    assert ['exp: {__name__="a"} 3E-01', 'got: {__name__="a"} 3.0000000000000004E-01'] == [
        line.strip() for line in fault.splitlines()[1:]
    ]
    assert [] == failures(f"fuzzy_compare: true\n{almost}")
    assert 1 == len(failures(expect("a", "250ms", ("a", 0.300001), head=f"fuzzy_compare: true\n{QUARTERS}")))


@pytest.mark.parametrize("start", ["2026-01-01T00:00:00Z", "1767225600", "2026-01-01T01:00:00+01:00"])
def test_start_timestamp(start):
    """The first sample and the first evaluation lie where the test says."""
    test = expect("timestamp(a)", "1m", ("{}", 1767225602.25), head=QUARTERS)
    assert [] == failures(test.replace("- interval", f"- start_timestamp: {start}\n  interval"))


@pytest.mark.parametrize(("semantics", "expected"), [(2, 0.1), (3, 0.30000000000000004)])
def test_samples_without_an_interval(semantics, expected):
    """They lie one evaluation apart; in Prometheus 2 they all lay at the start, where the first one counts."""
    test = expect("a", "1m", ("a", expected)).replace("interval: 250ms", "name: n")
    assert [] == failures(test, semantics=semantics)


def test_a_broken_rule_ends_its_test():
    """What a rule that cannot be evaluated leaves behind is not worth looking at."""
    rules = "groups: [{name: g, rules: [{alert: A, expr: a, labels: {k: v}}]}]"
    tests = """
evaluation_interval: 1m
tests:
- input_series: [{series: 'a{k="1"}', values: 1 1 1}, {series: 'a{k="2"}', values: _ 1 1}]
  promql_expr_test: [{expr: vector(1), eval_time: 5m}]
"""
    fault = "vector contains metrics with the same labelset after applying alert labels"
    assert [f"    rule: A, time: 1m0s, err: {fault}"] == failures(tests, rules)


GO = {0: "0s", 250: "250ms", 1500: "1.5s", 60_000: "1m0s", 90_250: "1m30.25s", 3_600_000: "1h0m0s", 7_261_000: "2h1m1s"}


@pytest.mark.parametrize(("milliseconds", "expected"), GO.items(), ids=GO.values())
def test_go_durations(milliseconds, expected):
    """Durations of evaluations are spelled as Go does."""
    assert expected == format_go(milliseconds)


@pytest.mark.e2e
@pytest.mark.skipif(NO_PROMTOOL, reason="promtool (Debian's prometheus) is not installed")
def test_alert_states():
    """ALERTS is the same at every tick of 300 random timelines; `python -m tests.fuzz.alert_states` does more."""
    source = random.Random(4)
    for _ in range(3):
        assert "" == difference("promtool", case(source, 100))
