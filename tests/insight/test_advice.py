import pytest

from otel_latency.config.sections import DEFAULT_TARGETS, Duration, LatencyTarget
from otel_latency.insight.advice import CHECKS, advise
from otel_latency.insight.requests import Step

LIMITS = {"llm": 3.0, "classification": 0.2, "retrieval": 1.0, "tts": 0.5}


@pytest.mark.parametrize(("stage", "limit"), LIMITS.items(), ids=LIMITS)
def test_limits(stage, limit):
    """Each stage of the voice pipeline has its limit, and what to check beyond it."""
    assert [] == advise([Step(stage, 0, 1, limit)], DEFAULT_TARGETS)
    [found] = advise([Step(stage, 0, 1, limit + 0.001)], DEFAULT_TARGETS)
    assert (stage, limit + 0.001, limit, CHECKS[stage]) == found
    assert found.checks


def test_the_slowest_step_counts():
    """A stage that ran twice is told once, by its slowest step."""
    assert [5.0] == [one.seconds for one in advise([Step("llm", 0, 1, 5.0), Step("llm", 2, 3, 4.0)], DEFAULT_TARGETS)]


def test_own_targets():
    """A stage of the user's own has the limit that was configured: critical, or else the target; without one none."""
    targets = {
        "rerank": LatencyTarget(target=Duration(0.1), critical=Duration(0.3)),
        "shop": LatencyTarget(target=Duration(0.1)),
        "free": LatencyTarget(),
    }
    steps = [Step(stage, 0, 1, 0.2) for stage in ("rerank", "shop", "free", "unknown")]
    assert [("shop", 0.2, 0.1, ())] == advise(steps, targets)
