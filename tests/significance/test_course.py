"""The course of a conversation: what a prompt's size does, what the model remembers, where it is going."""

from __future__ import annotations

import pytest

from otel_latency.significance.course import Course, course, prompt_line


def of(*seconds: float | None) -> Course:
    return course([(None, each) for each in seconds])


def test_kv_cache():
    """The first request's LLM time over the median of the later ones."""
    found = of(4.0, 1.0, 0.9, 1.1, 30.0)
    assert (4.0, pytest.approx(1.05), pytest.approx(4 / 1.05)) == (found.first_llm, found.later_llm, found.speedup)


def test_prompts():
    """LLM time grows with the prompt by the slope of the line through them; who does not know both says nothing."""
    calls = [(tokens, 0.2 + 0.0015 * tokens) for tokens in (100, 900, 400, 250)]
    found = course(calls)
    assert pytest.approx((0.0015, 0.2, 1.0)) == found.prompts
    assert found.prompts == prompt_line([*calls, (None, 5.0), (100, None)])


TRENDS = {
    "slower and slower": ([9.0, *(1.0 + 0.1 * n for n in range(10))], "slower", 0.1),
    "faster": ([1.0, *(3.0 - 0.1 * n for n in range(10))], "faster", -0.1),
    "to and fro": ([9.0, *([1.0, 1.2] * 6)], "steady", None),
    "all alike": ([9.0] * 12, "steady", None),
    "too short to tell": ([9.0, *(1.0 + n for n in range(7))], "unknown", 1.0),
}


@pytest.mark.parametrize(("taken", "trend", "slope"), TRENDS.values(), ids=TRENDS)
def test_trend(taken, trend, slope):
    """The trend is that of the later requests, if there are enough of them."""
    found = of(*taken)
    assert trend == found.trend
    if slope is not None:
        assert pytest.approx(slope) == found.per_request


@pytest.mark.parametrize("calls", [[], [(None, None), (100, None)]], ids=["none", "no model"])
def test_nothing_is_made_up(calls):
    """Requests that asked no model have no course."""
    assert Course(None, None, None, None, "unknown", None) == course(calls)
