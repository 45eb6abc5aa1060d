"""What operations took is remembered within bounds, told in summaries, and used for estimates."""

import pytest

from otel_latency.instrument import history as module
from otel_latency.instrument.agent_estimates import AgentEstimates
from otel_latency.instrument.guard import guard
from otel_latency.instrument.history import History, Outcome
from otel_latency.instrument.llm import llm_call


def outcome(seconds=1.0, **fields):
    return Outcome(**{"provider": "openai", "task": "draft", "seconds": seconds} | fields)


def filled(*outcomes, **bounds):
    history = History(**bounds)
    for each in outcomes:
        history.record(each)
    return history


def test_summary():
    """Times are those of the successes; rates and errors those of all."""
    failures = [
        outcome(99.0, status="error", category="api", retries=3),
        outcome(30.0, status="timeout", category="network"),
    ]
    summary = filled(*(outcome(float(s)) for s in range(1, 9)), *failures).summary("draft", provider="openai")
    assert (10, 0.8, 4.5, 4.0, 8.0, 8.0, 8.0, 0.3, {"api": 1, "network": 1}) == (
        summary.count,
        summary.success_rate,
        summary.mean,
        summary.p50,
        summary.p90,
        summary.p95,
        summary.p99,
        summary.mean_retries,
        summary.errors,
    )
    assert (
        "openai draft: 10 operations, mean 4.50 s, p50 4.00 s, p95 8.00 s, p99 8.00 s, 80% successful, "
        "0.30 retries each, 1 api errors, 1 network errors"
    ) == str(summary)


def test_empty_summary():
    """Without operations there are no numbers, rather than zeros."""
    summary = History().summary("draft", provider="openai")
    assert (0, None, None, "openai draft: no operations yet") == (
        summary.count,
        summary.success_rate,
        summary.mean,
        str(summary),
    )


def test_bounds():
    """Of each task the latest stay; of too many tasks the one unused for the longest time goes."""
    history = filled(*(outcome(float(s)) for s in range(5)), length=3, max_keys=2)
    history.record(outcome(task="b"))
    history.record(outcome(9.0))
    history.record(outcome(task="c"))
    assert ([3.0, 4.0, 9.0], [], 1) == (
        [each.seconds for each in history.of("openai", "draft")],
        history.of("openai", "b"),
        len(history.of("openai", "c")),
    )


def test_estimate_of_a_provider():
    """Providers are learned apart, models too where they are named, and failures teach nothing."""
    history = filled(
        *[outcome(2.0, model="small")] * 60,
        *[outcome(20.0, model="large")] * 60,
        *[outcome(40.0, provider="ollama")] * 60,
        *[outcome(0.01, status="error")] * 60,
    )
    models = [history.estimate("draft", provider="openai", model=model).seconds for model in ("small", "large")]
    assert pytest.approx([2.0, 20.0, 40.0], rel=0.01) == [*models, history.estimate("draft", provider="ollama").seconds]


def test_estimate_without_history():
    """A new task is expected to be like the provider's others, and the words say how little that is."""
    history = filled(*[outcome(3.0)] * 60)
    estimate = history.estimate("refine", provider="openai")
    assert (pytest.approx(3.0, rel=0.01), "low", True) == (
        estimate.seconds,
        estimate.level,
        estimate.text.endswith("(limited historical data)"),
    )
    assert History().estimate("draft", provider="openai").low > 0


def test_calls_are_remembered(monkeypatch):
    """A plain `llm_call` counts as well, once, with or without a provider of spans."""
    monkeypatch.setattr(module, "history", History())
    with llm_call("draft", provider="openai", model="m", input_tokens=500) as call:
        call.usage(output_tokens=90)
    with pytest.raises(TimeoutError), llm_call("draft", provider="openai"):
        raise TimeoutError
    call.close()
    assert [("ok", "m", 500, 90, ""), ("timeout", "", None, None, "network")] == [
        (each.status, each.model, each.input_tokens, each.output_tokens, each.category)
        for each in module.history.of("openai", "draft")
    ]


def test_a_fault_of_ours_is_no_fault_of_the_callers():
    """When asking the agent fails in us, the process's own history answers, and the fault is counted."""

    class Broken(AgentEstimates):
        def estimate(self, question, *, wait):
            raise KeyError(question)

    guard.faults.clear()
    history = History(agent=Broken())
    history.record(outcome(2.0))
    assert 1 == history.estimate("draft", provider="openai").samples
    assert {"estimate": 1} == dict(guard.faults)
    guard.faults.clear()
