"""Verdicts on stages, and what to check where they are too slow."""

import pytest

from otel_latency.aggregate.advice import CHECKS, Judgement, advise, judge
from otel_latency.config.sections import DEFAULT_TARGETS, Duration, LatencyTarget

LIMITS = {"llm": 3.0, "classification": 0.2, "retrieval": 1.0, "tts": 0.5}
OWN = {
    "rerank": LatencyTarget(target=Duration(0.1), critical=Duration(0.3)),
    "shop": LatencyTarget(target=Duration(0.1)),
    "strict": LatencyTarget(critical=Duration(0.1)),
    "free": LatencyTarget(),
}
VERDICTS = {
    "at the target": ("rerank", 0.1, Judgement(0.1, 0.3, "ok", ())),
    "over the target": ("rerank", 0.2, Judgement(0.1, 0.3, "slow", ())),
    "at the limit": ("rerank", 0.3, Judgement(0.1, 0.3, "slow", ())),
    "over the limit": ("rerank", 0.4, Judgement(0.1, 0.3, "critical", ())),
    "over a target without a limit": ("shop", 0.2, Judgement(0.1, None, "slow", ())),
    "below a limit without a target": ("strict", 0.05, Judgement(None, 0.1, "ok", ())),
    "over a limit without a target": ("strict", 0.2, Judgement(None, 0.1, "critical", ())),
    "no target is set": ("free", 9.0, Judgement(None, None, "unknown", ())),
    "no such stage": ("other", 9.0, Judgement(None, None, "unknown", ())),
    "nothing was measured": ("rerank", None, Judgement(0.1, 0.3, "unknown", ())),
}


@pytest.mark.parametrize(("stage", "seconds", "expected"), VERDICTS.values(), ids=VERDICTS)
def test_verdict(stage, seconds, expected):
    """A stage is judged by its own target and critical limit; what is exactly on one is still within it."""
    assert expected == judge(stage, seconds, OWN)


@pytest.mark.parametrize(("stage", "limit"), LIMITS.items(), ids=LIMITS)
def test_limits(stage, limit):
    """Each stage of the voice pipeline has its limit, and what to check beyond it, and only there."""
    assert [] == advise([(stage, limit)], DEFAULT_TARGETS)
    assert () == judge(stage, limit, DEFAULT_TARGETS).advice
    assert [(stage, limit + 0.001, limit, CHECKS[stage])] == advise([(stage, limit + 0.001)], DEFAULT_TARGETS)
    assert CHECKS[stage] == judge(stage, limit + 0.001, DEFAULT_TARGETS).advice != ()


def test_only_a_target():
    """Where there is no limit, what is over the target is advised upon."""
    targets = {"llm": LatencyTarget(target=Duration(0.1))}
    assert CHECKS["llm"] == judge("llm", 0.2, targets).advice


def test_calls_of_models():
    """A call of a model, whatever its stage is called, has the target of llm unless it has one of its own."""
    targets = {**DEFAULT_TARGETS, **OWN}
    assert judge("llm", 4.0, targets) == judge("chat gpt-4o", 4.0, targets, is_llm=True)
    assert "unknown" == judge("chat gpt-4o", 4.0, targets).verdict
    assert Judgement(0.1, 0.3, "critical", CHECKS["llm"]) == judge("rerank", 0.4, targets, is_llm=True)
    assert "unknown" == judge("free", 4.0, targets, is_llm=True).verdict
    assert "unknown" == judge("chat gpt-4o", 4.0, {}, is_llm=True).verdict
    assert [("chat gpt-4o", 4.0, 3.0, CHECKS["llm"])] == advise(
        [("chat gpt-4o", 4.0), ("execute_tool", 9.0)], targets, llm_stages={"chat gpt-4o"}
    )


def test_the_slowest_step_counts():
    """A stage that ran twice is told once, by its slowest step."""
    assert [5.0] == [one.seconds for one in advise([("llm", 5.0), ("llm", 4.0)], DEFAULT_TARGETS)]


def test_own_targets():
    """A stage of the user's own has the limit that was configured: critical, or else the target; without one none."""
    durations = [(stage, 0.2) for stage in ("rerank", "shop", "free", "unknown")]
    assert [("shop", 0.2, 0.1, ())] == advise(durations, OWN)
