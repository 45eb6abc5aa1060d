"""Finished spans teach what to expect of those to come, and show what was not as expected."""

from __future__ import annotations

import random
import re

import pytest

from otel_latency.aggregate.forecasts import LIVE, Forecasts
from otel_latency.predict import Estimate
from otel_latency.predict.estimate import LEVELS
from otel_latency.records import LLMProfile, Profile

NOW = 1_700_000_000.0
GPT, MINI = (LLMProfile("openai", model, "draft", "chat") for model in ("gpt-4o", "gpt-4o-mini"))


def profile(llm=None, *, stage="llm", status="ok", service="bot"):
    return Profile(service, stage, status=status, llm=llm)


CALL, SMALL = profile(GPT), profile(MINI)
RETRIEVAL = profile(stage="retrieval")


def row(of, seconds, end, number=1, **measures):
    """A span of *seconds* that ended at *end*."""
    span_id = number.to_bytes(8, "big")
    return (of, b"\x01" * 16, span_id, b"", round((end - seconds) * 1e9), round(end * 1e9), measures or None)


class Past:
    """Calls one after the other, a second and a tick apart."""

    def __init__(self, forecasts=None):
        self.forecasts = forecasts or Forecasts()
        self.now = NOW
        self.draw = random.Random(1)

    def call(self, of, seconds, **measures):
        self.now += 1.0
        self.forecasts.add([row(of, seconds, self.now, **measures)])
        self.forecasts.learn(self.now)
        return self

    def calls(self, count, of, median, spread=0.1, **measures):
        for _ in range(count):
            self.call(of, median * self.draw.lognormvariate(0, spread), **measures)
        return self

    def score(self):
        return {
            tuple(value for _, value in series.labels): series.value
            for family in self.forecasts.families(self.now)
            for series in family.series
        }

    def kinds(self):
        return [one["kind"] for one in self.forecasts.anomalies(self.now)]

    def wait(self, seconds):
        """Ticks without a call."""
        for _ in range(int(seconds)):
            self.now += 1.0
            self.forecasts.learn(self.now)
        return self


# --- estimates ----------------------------------------------------------------------------------------------------


def test_learnt():
    """Sixty calls of a model are enough to say what it typically takes."""
    found = Past().calls(60, CALL, 2.0).forecasts.estimate("draft", provider="openai", model="gpt-4o")
    assert (pytest.approx(2.0, rel=0.1), 60, "high", "typically takes 1") == (
        found.seconds,
        found.samples,
        found.level,
        found.text[:17],
    )


def test_tokens():
    """Longer prompts take longer where they always did."""
    past = Past()
    for _ in range(60):
        past.calls(1, CALL, 1.0, input_tokens=100).calls(1, CALL, 4.0, input_tokens=10_000)
    few, many = (
        past.forecasts.estimate("draft", provider="openai", model="gpt-4o", input_tokens=tokens).seconds
        for tokens in (100, 10_000)
    )
    assert [pytest.approx(1.0, rel=0.2), pytest.approx(4.0, rel=0.2)] == [few, many]


UNLEARNT = {
    "failed": profile(GPT, status="error"),
    "interrupted": profile(GPT, status="interrupted"),
    "a turn alone": Profile("bot", "", "answer"),
}


@pytest.mark.parametrize("of", UNLEARNT.values(), ids=UNLEARNT)
def test_not_learnt(of):
    """What failed, was cut off, or is no stage teaches nothing, and is not missed."""
    forecasts = Past().calls(5, of, 1.0).forecasts
    assert (0, 0) == (forecasts.learnt, forecasts.passed_over)


def test_models_and_providers_apart():
    """Each model and provider has its own past."""
    past = Past().calls(60, CALL, 2.0).calls(60, SMALL, 0.5)
    past.calls(60, profile(LLMProfile("ollama", "llama", "draft", "chat")), 9.0)
    asked = [("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("ollama", "llama"), ("ollama", None), ("", "llama")]
    found = [past.forecasts.estimate("draft", provider=provider, model=model).seconds for provider, model in asked]
    assert pytest.approx([2.0, 0.5, 9.0, 9.0, 9.0], rel=0.1) == found


def test_whatever_the_model():
    """A task without a model is any of those in use, by how often they are."""
    past = Past()
    for _ in range(60):
        past.calls(3, SMALL, 0.5).calls(1, CALL, 5.0)
    found = past.forecasts.estimate("draft")
    assert (240, pytest.approx(0.5, rel=0.2), pytest.approx(5.0, rel=0.3)) == (
        found.samples,
        found.seconds,
        found.high,
    )


def test_a_new_model():
    """Of a model that was never called, it is the task's others that are told, as little history."""
    found = Past().calls(60, CALL, 2.0).forecasts.estimate("draft", provider="openai", model="new")
    assert (pytest.approx(2.0, rel=0.1), 0, "low") == (found.seconds, found.samples, found.level)


def test_a_new_task():
    """Of a task that nobody called it is the provider's calls, and of a new provider all calls."""
    past = Past().calls(60, CALL, 2.0).calls(60, profile(LLMProfile("ollama", "llama", "draft")), 9.0)
    found = [past.forecasts.estimate("refine", provider=provider) for provider in ("openai", "ollama", "new")]
    assert pytest.approx([2.0, 9.0], rel=0.1) == [one.seconds for one in found[:2]]
    assert (True, [0, 0, 0]) == (2.0 < found[2].seconds < 9.0, [one.samples for one in found])


def test_without_a_task():
    """A call whose task was not told is known by its operation."""
    past = Past().calls(20, profile(LLMProfile("openai", "gpt-4o", "", "chat")), 2.0)
    assert 20 == past.forecasts.estimate("chat", provider="openai").samples


def test_stages():
    """Other stages are known by their name, each service's apart, and teach nothing about LLM calls."""
    past = Past().calls(60, RETRIEVAL, 0.3).calls(60, profile(stage="retrieval", service="shop"), 0.1)
    both = past.forecasts.estimate("retrieval")
    assert (120, True) == (both.samples, both.low < 0.12 < 0.25 < both.high)
    assert Forecasts().estimate("draft").seconds == past.forecasts.estimate("draft").seconds


def test_what_a_host_measures():
    """A call as its model's host saw it is a stage of that service: it is not learnt as a second call."""
    host = profile(LLMProfile("openai", "gpt-4o", "draft", origin="server"), service="vllm")
    past = Past().calls(20, CALL, 2.0).calls(20, host, 1.0)
    assert (20, 20) == (past.forecasts.estimate("draft").samples, past.forecasts.estimate("llm").samples)


def test_the_duration_that_was_told():
    """A span that tells its duration is believed; one without times is passed by."""
    past = Past().calls(30, CALL, 9.0, duration=2.0)
    assert pytest.approx(2.0, rel=0.01) == past.forecasts.estimate("draft").seconds
    past.forecasts.add([(CALL, bytes(16), bytes(8), b"", 0, 0, None)])
    past.forecasts.learn(past.now)
    assert 30 == past.forecasts.learnt


def test_bounded_per_tick():
    """Of a flood only a few calls are learnt at each tick, and in the end what was passed over is told."""
    forecasts = Forecasts(per_tick=10)
    forecasts.add([row(CALL, 1.0, NOW, number) for number in range(10_000)])
    learnt = []
    for tick in range(30):
        forecasts.learn(NOW + tick)
        learnt.append(forecasts.learnt)
    assert ([10, 20, 30], 10_000) == (learnt[:3], forecasts.learnt + forecasts.passed_over)
    assert 100 <= forecasts.learnt <= 200


def test_bounded_keys():
    """Of too many tasks those unused for longest are forgotten."""
    past = Past(Forecasts(max_keys=10))
    for number in range(20):
        past.call(profile(LLMProfile("openai", "gpt-4o", f"task-{number}")), 1.0)
    found = [past.forecasts.estimate(f"task-{number}", provider="openai").samples for number in range(20)]
    assert [0] * 15 + [1] * 5 == found


def test_running():
    """A running operation is told what its own past, or its task's, lets expect; without one nothing is."""
    forecasts = Past().calls(20, CALL, 2.0).calls(20, RETRIEVAL, 0.3).forecasts
    operations = [
        {"service": "bot", "stage": "llm", "task": "draft", "provider": "openai", "model": "gpt-4o"},
        {"service": "bot", "stage": "llm", "task": "draft", "provider": "openai", "model": "new"},
        {"service": "bot", "stage": "retrieval", "task": "", "provider": "", "model": ""},
        {"service": "bot", "stage": "llm", "task": "new", "provider": "openai", "model": "gpt-4o"},
        {"service": "shop", "stage": "retrieval", "task": "", "provider": "", "model": ""},
    ]
    expected = [*[pytest.approx(seconds, rel=0.1) for seconds in (2.0, 2.0, 0.3)], None, None]
    assert expected == [forecasts.expected(operation) for operation in operations]


def test_running_is_kept_until_the_next_tick():
    """Many alike are looked up once; the next tick's calls count."""
    past = Past().calls(1, CALL, 2.0)
    operation = {"service": "bot", "stage": "llm", "task": "draft", "provider": "openai", "model": "gpt-4o"}
    before = past.forecasts.expected(operation)
    past.calls(60, CALL, 5.0)
    assert (True, pytest.approx(5.0, rel=0.2)) == (before < 4.0, past.forecasts.expected(operation))


def test_json_of_nothing():
    """Before any call there are no seconds, and the words say why."""
    asked = Forecasts().estimate_json("draft", "openai", "gpt-4o", 500)
    assert {
        "task": "draft",
        "provider": "openai",
        "model": "gpt-4o",
        "seconds": None,
        "low": None,
        "high": None,
        "confidence": None,
        "level": "low",
        "text": "nothing is known yet: no LLM call has been seen",
        "samples": 0,
        "basis": None,
        "quantiles": [],
    } == asked


def test_json():
    """Everything an estimate says, and its quantiles, from which it can be made again."""
    past = Past().calls(20, CALL, 2.0)
    answer = past.forecasts.estimate_json("draft", "openai", "gpt-4o", 500)
    found = past.forecasts.estimate("draft", provider="openai", model="gpt-4o", input_tokens=500)
    assert {
        "task": "draft",
        "provider": "openai",
        "model": "gpt-4o",
        "seconds": found.seconds,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence,
        "level": "medium",
        "text": found.text,
        "samples": 20,
        "basis": "task",
        "quantiles": [[level, seconds] for level, seconds in zip(LEVELS, found.quantiles, strict=True)],
    } == answer
    again = Estimate(tuple(seconds for _, seconds in answer["quantiles"]), answer["samples"])
    assert (found.text, found.confidence) == (again.text, again.confidence)


def test_json_of_a_cold_start():
    """Where only others are known, that is told with little confidence in words."""
    answer = Past().calls(20, CALL, 2.0).forecasts.estimate_json("refine", "anthropic")
    assert ("low", 0, True) == (answer["level"], answer["samples"], "(limited historical data)" in answer["text"])


BASES = {
    "its model": ("draft", "openai", "gpt-4o", "task"),
    "any model": ("draft", "", None, "task"),
    "another model": ("draft", "openai", "gpt-9", "models"),
    "another model of whoever": ("draft", "", "gpt-9", "models"),
    "another provider": ("draft", "anthropic", None, "all"),
    "another task": ("refine", "openai", "gpt-4o", "model"),
    "another task of any model": ("refine", "openai", None, "provider"),
    "another task and model": ("refine", "openai", "gpt-9", "provider"),
    "nothing of it": ("refine", "", None, "all"),
    "a stage": ("retrieval", "", None, "task"),
}


@pytest.mark.parametrize(("task", "provider", "model", "basis"), BASES.values(), ids=BASES)
def test_basis(task, provider, model, basis):
    """It is told what an estimate was learnt from; of what was never seen, that is something else."""
    past = Past().calls(20, CALL, 2.0).calls(20, RETRIEVAL, 0.1)
    answer = past.forecasts.estimate_json(task, provider, model)
    assert (basis, basis == "task") == (answer["basis"], answer["samples"] > 0)


@pytest.mark.parametrize("tokens", [-1, 1e12, float("inf"), float("nan")])
def test_impossible_tokens(tokens):
    """Tokens that cannot be true count as untold, in calls and in questions."""
    past = Past().calls(30, CALL, 2.0, input_tokens=tokens, output_tokens=tokens)
    found = past.forecasts.estimate("draft", input_tokens=tokens)
    assert (30, pytest.approx(2.0, rel=0.1)) == (found.samples, found.seconds)


def test_numbers_beyond_arithmetic():
    """Calls whose numbers fit together in no way are counted at most; the others of the tick are learnt."""
    past = Past()
    for seconds in [1e-9, 86_400.0] * 50:
        past.now += 1.0
        past.forecasts.add([row(CALL, 1.0, past.now, duration=seconds, output_tokens=90), row(SMALL, 2.0, past.now)])
        past.forecasts.learn(past.now)
    assert (200, 100) == (
        past.forecasts.learnt + past.forecasts.failed,
        past.forecasts.estimate("draft", provider="openai", model="gpt-4o-mini").samples,
    )


# --- anomalies ----------------------------------------------------------------------------------------------------


def test_slow_call():
    """A call in the tail of its own past is told with what was expected, how unlikely it is, and its trace."""
    past = Past().calls(100, CALL, 2.0, 0.05)
    past.call(CALL, 8.0)
    (one,) = past.forecasts.anomalies(past.now)[:1]
    facts = {
        "kind": "slow_call",
        "time": past.now,
        "since": pytest.approx(past.now - 8.0),
        "service": "bot",
        "stage": "llm",
        "provider": "openai",
        "model": "gpt-4o",
        "task": "draft",
        "seconds": pytest.approx(8.0),
        "expected_seconds": pytest.approx(2.0, rel=0.05),
        "factor": None,
        "trace_id": "01" * 16,
        "span_id": "0000000000000001",
    }
    assert facts == {name: one[name] for name in facts}
    assert one["probability"] < 1e-4
    assert re.match(r"openai gpt-4o: draft took 8 s where (1\.9|2)\d* s were expected \(", one["text"])


def test_slow_for_its_tokens():
    """With the tokens told, a slow call is told apart from a long answer."""
    past = Past()
    for _ in range(100):
        tokens = past.draw.randint(50, 500)
        past.calls(1, CALL, 0.2 + 0.01 * tokens, 0.03, output_tokens=tokens)
    before = len(past.kinds())
    past.call(CALL, 3.0, output_tokens=70)
    (one,) = past.forecasts.anomalies(past.now)[: len(past.kinds()) - before]
    assert True is one["text"].endswith("slower per token")


def test_few_calls_are_no_past():
    """While there are few calls, none of them is called slow."""
    assert [] == Past().calls(20, CALL, 2.0, 0.05).call(CALL, 60.0).kinds()


def test_too_small_to_feel():
    """A millisecond more is no anomaly, however rare."""
    assert [] == Past().calls(100, RETRIEVAL, 0.001, 0.02).call(RETRIEVAL, 0.01).kinds()


def test_level_shift():
    """A model that has become slower is told: what, since when, by how much; and its score says so for minutes."""
    past = Past().calls(150, CALL, 1.2)
    begun = past.now
    quiet = max(past.score().values())
    past.calls(40, CALL, 1.9)
    (one,) = [each for each in past.forecasts.anomalies(past.now) if each["kind"] == "level_shift"]
    assert (True, "openai", "gpt-4o", "", None) == (
        abs(one["since"] - begun) <= 5,
        one["provider"],
        one["model"],
        one["task"],
        one["probability"],
    )
    assert (pytest.approx(1.2, rel=0.1), pytest.approx(1.9, rel=0.1), pytest.approx(1.6, rel=0.15)) == (
        one["expected_seconds"],
        one["seconds"],
        one["factor"],
    )
    assert one["text"].startswith("openai gpt-4o is slower since 22:15 UTC: 1.")
    assert (True, 1.0) == (quiet < 0.9, past.score()["bot", "llm"])


def test_shift_of_a_stage():
    """A stage is watched by itself: its neighbour in the same service stays as it was."""
    past = Past()
    for _ in range(150):
        past.calls(1, RETRIEVAL, 0.3).calls(1, profile(stage="tts"), 0.2)
    for _ in range(40):
        past.calls(1, RETRIEVAL, 0.5).calls(1, profile(stage="tts"), 0.2)
    (one,) = [each for each in past.forecasts.anomalies(past.now) if each["kind"] == "level_shift"]
    assert True is one["text"].startswith("retrieval of bot is slower since")
    score = past.score()
    assert (1.0, True) == (score["bot", "retrieval"], score["bot", "tts"] < 0.9)


def test_tail_shift():
    """When more calls than before take far longer, that is told by the slowest."""
    past = Past().calls(200, CALL, 1.0, 0.1)
    for number in range(200):
        past.calls(1, CALL, 6.0 if number % 8 == 0 else 1.0, 0.1)
    (one,) = [each for each in past.forecasts.anomalies(past.now) if each["kind"].endswith("shift")]
    assert ("tail_shift", True, True) == (
        one["kind"],
        one["text"].startswith("openai gpt-4o has more far slower calls than usual since"),
        one["seconds"] > 4.0,
    )


def test_backfill():
    """What ended minutes ago is learnt, and is no news."""
    past = Past()
    for seconds in [2.0] * 100 + [20.0] * 50:
        past.forecasts.add([row(CALL, seconds * past.draw.lognormvariate(0, 0.05), past.now - LIVE - 10)])
        past.wait(1)
    assert (150, [], {}) == (past.forecasts.learnt, past.kinds(), past.score())


def test_a_clock_that_is_ahead():
    """A span from the future ended now."""
    past = Past()
    past.forecasts.add([row(CALL, 2.0, past.now + 3600)])
    past.wait(1).calls(100, CALL, 2.0, 0.05).call(CALL, 9.0)
    assert ["slow_call"] == past.kinds()[:1]


# --- over a restart -----------------------------------------------------------------------------------------------


def test_restart():
    """After a restart everything is known as before, the anomalies too, and learning goes on alike."""
    past = Past().calls(100, CALL, 2.0, 0.05, input_tokens=300, output_tokens=50).calls(40, RETRIEVAL, 0.3)
    past.call(CALL, 9.0, input_tokens=300, output_tokens=50)
    again = Past(Forecasts())
    again.forecasts.load(past.forecasts.dump())
    again.now = past.now
    again.forecasts.learn(past.now)
    for forecasts in (past.forecasts, again.forecasts):
        forecasts.add([row(CALL, 2.5, past.now + 1, input_tokens=300, output_tokens=50)])
        forecasts.learn(past.now + 1)
    asked = [("draft", "openai", "gpt-4o", 400), ("draft",), ("retrieval",), ("refine", "openai")]
    before, after = ([one.forecasts.estimate_json(*each)["seconds"] for each in asked] for one in (past, again))
    assert pytest.approx(before, rel=1e-4) == after
    assert past.forecasts.anomalies(past.now) == again.forecasts.anomalies(past.now) != []


def damaged(blob):
    return {
        "nothing": b"",
        "another file": b"SQLite format 3\0" + blob,
        "cut short": blob[: len(blob) // 2],
        "cut in the head": blob[:30],
        "a flipped bit": blob[:-100] + bytes([blob[-100] ^ 1]) + blob[-99:],
        "more than all": blob + b"!",
    }


@pytest.mark.parametrize("damage", damaged(b"?" * 200))
def test_damaged(damage):
    """A state that is damaged is refused, and what is known stays."""
    past = Past().calls(30, CALL, 2.0)
    before = past.forecasts.dump()
    with pytest.raises(ValueError, match=r"state of forecasts"):
        past.forecasts.load(damaged(Past().calls(5, CALL, 9.0).forecasts.dump())[damage])
    assert before == past.forecasts.dump()


def test_empty_state():
    """A state without any past can be kept, too."""
    forecasts = Forecasts()
    forecasts.load(Forecasts().dump())
    assert Forecasts().dump() == forecasts.dump()
