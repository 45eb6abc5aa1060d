"""Objectives in, rules out; what the rules do is in `testdata/slo.test.yaml`, which promtool runs as well (e2e)."""

from math import isclose
from pathlib import Path

import pytest

from otel_latency.aggregate.distribution import DURATION_BOUNDS
from otel_latency.errors import ConfigError
from otel_latency.rules import rulefile, slo, testfile, testrun
from otel_latency.rules.lint import lint
from otel_latency.web.exposition.text import floatToGoString

TESTDATA = Path(__file__).parent / "testdata"
OBJECTIVES = (TESTDATA / "slo.yaml").read_text()
DAY = 86_400


@pytest.mark.parametrize("semantics", [2, 3])
def test_rules_fire_and_stay_silent(semantics):
    """Fast and slow burns fire and end, and neither a kept promise nor a quiet service does."""
    text = slo.rules(slo.read("slo.yaml", OBJECTIVES, {}), max_window=None)
    groups = rulefile.load("slo.rules.yaml", text, semantics=semantics)
    path = TESTDATA / "slo.test.yaml"
    tests, faults = testfile.read(path.name, path.read_text(), semantics=semantics)
    assert [] == faults
    assert [] == testrun.run(tests, groups, semantics=semantics)


@pytest.mark.parametrize("max_window", [3_600, 6 * 3_600, None])
def test_lint(max_window):
    """Our own linter has nothing to say about what we write."""
    text = slo.rules(slo.read("slo.yaml", OBJECTIVES, {}), max_window=max_window)
    assert [] == [str(one) for one in lint(text, rulefile.load("slo.rules.yaml", text))]


def test_names_that_yaml_reads_otherwise():
    """Names stay texts, whatever they look like."""
    objectives = slo.read(
        "slo.yaml", "slos: [{name: 'null', objective: 99, stage: 'a: b #c'}, {name: 1.0, objective: 99}]", {}
    )
    first, second = rulefile.load("a.rules.yaml", slo.rules(objectives))
    assert [{"null"}, {"1.0"}] == [{dict(rule.labels)["slo"] for rule in group.rules} for group in (first, second)]
    assert all('{stage="a: b #c"' in rule.expr for rule in first.rules)


def test_burn_rates():
    """The factors of the workbook for 30 days; another period scales them."""
    assert [14.4, 6, 3, 1] == [float(pair.burn(30 * DAY)) for pair in slo.PAIRS]
    assert [6.72, 2.8, 1.4] == [float(pair.burn(14 * DAY)) for pair in slo.PAIRS[:3]]
    assert {12} == {pair.long // pair.short for pair in slo.PAIRS}


def test_what_is_left_out():
    """A comment says which windows are missing, and why."""
    (objective,) = slo.read("slo.yaml", "slos: [{name: a, objective: 90, window: 7d}]", {})
    shown = slo.rules([objective])
    assert [
        "  # Left out: 2h and 1d, as windows may be 6h long.",
        "  # Left out: 6h and 3d, as windows may be 6h long.",
    ] == [line for line in shown.splitlines() if "Left out" in line]
    assert 2 == slo.rules([objective], max_window=None).count("for that may be spent within them")
    (objective,) = slo.read("slo.yaml", "slos: [{name: a, objective: 50}]", {})
    assert 2 == slo.rules([objective]).count("for no failure can be large enough")
    (group,) = rulefile.load("a.rules.yaml", slo.rules([objective]))
    assert () == group.rules


@pytest.mark.parametrize("bound", DURATION_BOUNDS)
def test_bounds(bound):
    """Every bound of the histograms can be promised, and is spelled as /metrics spells it."""
    text = f"slos: [{{name: a, objective: 99, latency: {round(bound * 1000)}ms}}]"
    if not isclose(round(bound * 1000), bound * 1000):
        text = text.replace(f"{round(bound * 1000)}ms", f"{bound:g}s")
    (objective,) = slo.read("slo.yaml", text, {})
    assert f'le="{floatToGoString(bound)}"' in slo.rules([objective])


FAULTS = {
    "slos: [{name: a, objective: 0}]": "slos[0].objective: 0 promises nothing: write 99 or 99.9",
    "slos: [{name: a, objective: 100}]": "slos[0].objective: '100' is not a percentage: write 99 or 99.9",
    "slos: [{name: a, objective: 99, stage: llm, turn: b}]": (
        "slos[0].stage: a stage belongs to no single turn or milestone here: remove stage, or the others"
    ),
    "slos: [{name: a, objective: 99, milestone: first_word, latency: 640ms}]": (
        "slos[0].milestone: this milestone has no histogram: write first_token, first_sentence, tts_start, first_audio"
    ),
    "slos: [{name: a, objective: 99, milestone: first_audio}]": (
        "slos[0].latency: a milestone is good if it comes soon enough: add latency: 1280ms"
    ),
    "slos: [{name: a, objective: 99, latency: 1s}]": (
        "slos[0].latency: no bucket of the histogram ends at 1 s: write 640ms or 1280ms"
    ),
    "slos: [{name: a, objective: 99}, {name: a, objective: 98}]": "slos[1].name: a is there already: choose another",
    "slos: [{name: 'a\"b', objective: 99}]": "slos[0].name: 'a\"b' is not a short name: write answers-in-time",
    "slos: [{name: a, objective: 99, service: 'a\u2028b'}]": (
        "slos[0].service: 'a\\u2028b' is not a name without quotes, braces and line breaks: write support-bot"
    ),
    "slos: [{name: a, objective: 99, turn: '}'}]": (
        "slos[0].turn: '}' is not a name without quotes, braces and line breaks: write support-bot"
    ),
    "# nothing": "slos is missing: add it",
}


@pytest.mark.parametrize("text", FAULTS)
def test_faults(text):
    """What is wrong is told with its key, the fact and the cure."""
    with pytest.raises(ConfigError) as raised:
        slo.read("slo.yaml", text, {})
    assert f"slo.yaml: {FAULTS[text]}" == str(raised.value)
