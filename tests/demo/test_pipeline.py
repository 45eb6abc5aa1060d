from itertools import islice, pairwise

import pytest

from otel_latency import semconv
from otel_latency.demo.pipeline import (
    LLM_TIMEOUT,
    PROVIDERS,
    SCENARIOS,
    TURNS_PER_CALL,
    arrivals,
    plan,
    slow_provider,
)

SEED = 7
TURNS = [plan(number, seed=SEED) for number in range(3000)]


def with_status(status):
    found = [turn for turn in TURNS if turn.status == status]
    assert found, f"no turn is {status}"
    return found


def stages(turn):
    return {step.stage: step for step in turn.steps}


def test_overlap():
    """Speech begins at the model's first sentence, while the model still writes."""
    for turn in with_status("ok"):
        llm, tts = stages(turn)["llm"], stages(turn)["tts"]
        assert llm.milestones["first_sentence"] == tts.start < llm.end < tts.end
        assert ("llm", "first_sentence") == tts.after


def test_stages_in_order():
    """Before that, each stage begins when the one before it has ended, and the turn ends with the last."""
    for turn in with_status("ok"):
        stt, retrieval, llm, tts = turn.steps
        assert ("stt", "retrieval", "llm", "tts") == tuple(step.stage for step in turn.steps)
        assert (0.0, stt.end, retrieval.end, tts.end) == (stt.start, retrieval.start, llm.start, turn.end)


def test_milestones_in_order():
    """Chunk, token, sentence, speech, audio: a turn has them all, in this order, and before its end."""
    names = ["first_chunk", "first_token", "first_sentence", "tts_start", "first_audio"]
    for turn in with_status("ok"):
        times = [turn.milestones[name] for name in names]
        assert times == sorted(times)
        assert 0.0 < times[0] < times[1] < times[2]
        assert times[4] < turn.end
        assert set(names) == set(turn.milestones) <= set(semconv.MILESTONES)


def test_realistic():
    """The median turn speaks within about a second, and few take three."""
    audio = sorted(turn.milestones["first_audio"] for turn in with_status("ok"))
    ends = sorted(turn.end for turn in with_status("ok"))
    assert 0.5 < audio[len(audio) // 2] < 1.2
    assert 0.8 < ends[len(ends) // 2] < 2.0
    assert ends[int(0.95 * len(ends))] < 3.0


def test_model_call():
    """A call has the attributes of the GenAI conventions, and its usage once it has ended well."""
    for turn in with_status("ok"):
        llm = stages(turn)["llm"]
        said = {**llm.attributes, **llm.results}
        assert f"chat {said['gen_ai.request.model']}" == llm.span_name
        assert ("chat", True, LLM_TIMEOUT) == (
            said["gen_ai.operation.name"],
            said["gen_ai.request.stream"],
            said[semconv.TIMEOUT],
        )
        assert said["gen_ai.provider.name"] in PROVIDERS
        assert said["gen_ai.usage.input_tokens"] > said["gen_ai.usage.output_tokens"] > 1
        writing = said[semconv.TIME_PER_OUTPUT_TOKEN] * (said["gen_ai.usage.output_tokens"] - 1)
        assert writing == pytest.approx(llm.end - llm.milestones["first_token"])


def test_error():
    """A failed call ends the turn early, without a token and without speech."""
    for turn in with_status("error"):
        llm = stages(turn)["llm"]
        assert {"stt", "retrieval", "llm"} == set(stages(turn))
        assert ("error", turn.end, {}) == (llm.status, llm.end, llm.results)
        assert llm.error_type.endswith("Error")
        assert "first_token" not in turn.milestones


def test_timeout():
    """A call that hangs is given up at its timeout."""
    for turn in with_status("timeout"):
        llm = stages(turn)["llm"]
        assert ("timeout", "timeout") == (llm.status, llm.error_type)
        assert LLM_TIMEOUT == pytest.approx(llm.end - llm.start)
        assert turn.end == llm.end


def test_interrupted():
    """A caller can only interrupt what is being said; what was still running then ends at once."""
    for turn in with_status("interrupted"):
        tts = stages(turn)["tts"]
        assert ("interrupted", turn.end) == (tts.status, tts.end)
        assert turn.milestones["first_audio"] <= turn.end
        assert {"ok", "interrupted"} >= {step.status for step in turn.steps}
        assert all(step.end <= turn.end for step in turn.steps)


def test_moments():
    """Everything that happens comes in the order of time, and a stage starts before it ends."""
    for turn in TURNS[:200]:
        moments = turn.moments()
        assert [at for at, _, _ in moments] == sorted(at for at, _, _ in moments)
        for step in turn.steps:
            assert [True, False] == [is_start for _, one, is_start in moments if one is step]


def test_deterministic():
    """A seed and a number make the same turn every time; another seed makes another."""
    assert plan(41, seed=SEED) == TURNS[41]
    assert plan(41, seed=SEED + 1) != TURNS[41]
    assert list(islice(arrivals(4.0, seed=1), 5)) == list(islice(arrivals(4.0, seed=1), 5))


def test_slow_provider():
    """Only calls to the slow provider are slower: three times."""
    for number, usual in enumerate(TURNS[:300]):
        if usual.status != "ok":
            continue
        llm = stages(usual)["llm"]
        slow = plan(number, seed=SEED, slow_provider="openai")
        factor = 3.0 if llm.attributes["gen_ai.provider.name"] == "openai" else 1.0
        if slow.status == "ok":
            slowed = stages(slow)["llm"]
            assert factor == pytest.approx((slowed.end - slowed.start) / (llm.end - llm.start))


def test_spells():
    """Each minute has one spell of 20 s, of one provider; in an hour everyone has had one."""
    hour = [[slow_provider(60.0 * minute + second, seed=SEED) for second in range(60)] for minute in range(60)]
    for minute in hour:
        (slow,) = set(minute) - {""}
        assert minute.count(slow) in (20, 21)
        assert minute[0] == ""
    assert set(PROVIDERS) == {name for minute in hour for name in minute if name}


def test_sessions():
    """A session is one caller with a few turns of one scenario, at different times."""
    calls = {}
    for number, turn in enumerate(TURNS):
        calls.setdefault(turn.session, []).append((number, turn.service, turn.name))
    lines = sum(scenario.lines for scenario in SCENARIOS)
    for turns in calls.values():
        assert 1 == len({(service, name) for _, service, name in turns})
        assert len(turns) <= TURNS_PER_CALL
        assert {lines} >= {later - sooner for (sooner, _, _), (later, _, _) in pairwise(turns)}
    full = [turns for turns in calls.values() if len(turns) == TURNS_PER_CALL]
    assert len(full) > len(calls) / 2
    assert {(one.service, one.turn) for one in SCENARIOS} == {(turn.service, turn.name) for turn in TURNS}


def test_arrivals():
    """Callers arrive at the rate asked for."""
    times = list(islice(arrivals(4.0, seed=SEED), 4000))
    assert times == sorted(times)
    assert 4.0 == pytest.approx(len(times) / times[-1], rel=0.05)
