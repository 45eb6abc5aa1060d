"""Prometheus' own test scripts: what is floats and inside the subset passes, and all else is refused for a reason."""

import re
from collections import Counter
from pathlib import Path

import pytest
from rules.promql.promqltest import NATIVE, RANGE, run

SCRIPTS = sorted(Path(__file__).with_name("testdata").glob("*.test"))
PASSED = {
    "aggregators.test": 123,
    "collision.test": 2,
    "functions.test": 245,
    "literals.test": 25,
    "range_queries.test": 11,
    "selectors.test": 31,
    "staleness.test": 17,
}
EXPERIMENTS = {
    "double_exponential_smoothing": 4,
    "end": 10,
    "mad_over_time": 7,
    "limit_ratio": 1,
    "limitk": 1,
    "max_of": 7,
    "min_of": 7,
    "range": 8,
    "sort_by_label": 9,
    "sort_by_label_desc": 4,
    "start": 8,
    "step": 7,
    "ts_of_first_over_time": 5,
    "ts_of_last_over_time": 4,
    "ts_of_max_over_time": 1,
    "ts_of_min_over_time": 1,
}
EXPERIMENTAL = "{} is not supported: it is experimental in Prometheus, behind a feature flag"
REFUSED = {
    NATIVE: 136,
    RANGE: 4,
    "the @ modifier is not supported: rules ask about their evaluation time": 6,
    **{EXPERIMENTAL.format(name): count for name, count in EXPERIMENTS.items()},
}


@pytest.fixture(scope="module")
def outcomes():
    return {script.name: list(run(script)) for script in SCRIPTS}


def test_differences(outcomes):
    """No evaluation of floats inside the subset comes out differently than in Prometheus 3."""
    every = [outcome for each in outcomes.values() for outcome in each]
    assert [] == [(o.evaluation.place, o.evaluation.expr, o.difference) for o in every if o.difference]


def test_how_many_are_made(outcomes):
    """Each evaluation of each script has an outcome, and as many are made as ever."""
    asked = {script.name: len(re.findall("^eval", script.read_text(), re.MULTILINE)) for script in SCRIPTS}
    assert asked == {name: len(each) for name, each in outcomes.items()}
    assert PASSED == {name: sum(not outcome.refused for outcome in each) for name, each in outcomes.items()}


def test_what_is_refused(outcomes):
    """Each evaluation that is not made has its reason, and as many have it as ever."""
    assert REFUSED == Counter(outcome.refused for each in outcomes.values() for outcome in each if outcome.refused)
