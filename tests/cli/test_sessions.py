import json
from pathlib import Path

import pytest
from insight_agent import MemoryInsight, insight_agent
from voice_log import call, write

from otel_latency.aggregate.stages import build
from otel_latency.cli import main, sessions
from otel_latency.records import LLMProfile, Profile

KITCHEN = [
    call(n, s, session_id="kitchen", prompt_tokens=t) for n, (s, t) in enumerate([(2.0, 1900), *[(0.5, 400)] * 3])
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_tells_the_truth(folder, examples, capsys):
    """The call in the help prints what the help says."""
    write(Path("latency.jsonl"), *KITCHEN)
    [(argv, output)] = examples(sessions.__doc__)
    assert 0 == main(argv)
    assert output.splitlines() == [line.rstrip() for line in capsys.readouterr().out.splitlines() if line]


def test_json(folder, capsys):
    """--json has each session in numbers, and all requests together."""
    write(Path("log.jsonl"), *KITCHEN, call(9, 1.25, session_id="hall"))
    assert 0 == main(["sessions", "log.jsonl", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert {
        "session": "kitchen",
        "requests": 4,
        "first_llm_seconds": 2.0,
        "later_llm_seconds": 0.5,
        "kv_cache_speedup": 4.0,
        "prompt_correlation": 1.0,
        "slope_ms_per_token": 1.0,
        "trend": "unknown",
        "trend_ms_per_request": None,
    } == document["sessions"][0]
    hall = document["sessions"][1]
    assert ("hall", 1, 1.25, None, None) == (
        hall["session"],
        hall["requests"],
        hall["first_llm_seconds"],
        hall["later_llm_seconds"],
        hall["kv_cache_speedup"],
    )
    assert {"prompt_correlation": 1.0, "slope_ms_per_token": 1.0} == document["all"]


WORDS = {
    "no prompts": ([{}] * 3, "All 3 requests: what the prompt's size does to the LLM's time is not known."),
    "one request": (
        [{"prompt_tokens": 5}],
        "The only request: what the prompt's size does to the LLM's time is not known.",
    ),
    "two requests": (
        [{"prompt_tokens": tokens} for tokens in (5, 9)],
        "All 2 requests: what the prompt's size does to the LLM's time is not known.",
    ),
    "a cached prompt": (
        [{"prompt_tokens": 10**6 * (n + 1)} for n in range(3)],
        "All 3 requests: 0.001 ms more for each token of the prompt (correlation 1.00).",
    ),
    "no relation": (
        [{"prompt_tokens": tokens} for tokens in (500, 100, 500, 100)],
        "All 4 requests: the prompt's size explains little of the LLM's time (correlation -0.45).",
    ),
    "the other way round": (
        [{"prompt_tokens": tokens} for tokens in (500, 400, 300)],
        "All 3 requests: 10.00 ms less for each token of the prompt (correlation -1.00).",
    ),
}


@pytest.mark.parametrize(("metadata", "sentence"), WORDS.values(), ids=WORDS)
def test_words(folder, metadata, sentence, capsys):
    """What the prompt's size does is said in a sentence; request n takes n + 1 seconds."""
    write(Path("log.jsonl"), *(call(n, n + 1.0, **known) for n, known in enumerate(metadata)))
    assert 0 == main(["sessions", "log.jsonl"])
    assert sentence == capsys.readouterr().out.splitlines()[-1]


def turn(number, seconds, tokens):
    """A turn that is a single call of a model."""
    start_ns = 1_700_000_000_000_000_000 + number * 10**11
    profile = Profile("bot", stage="generate", turn="answer", llm=LLMProfile("openai", "gpt-4o", "reply", "chat"))
    measures = {"session": "s", "input_tokens": tokens}
    row = (profile, bytes([number]) * 16, bytes([number]) * 8, b"", start_ns, start_ns + round(seconds * 1e9), measures)
    return build(row, [row])


def test_agent(capsys):
    """With --agent sessions are made of its turns: calls are known as such, and their prompts' sizes."""
    turns = [turn(1, 3.0, 1900.0), turn(2, 1.5, 400.0), turn(3, 1.5, 400.0)]
    with insight_agent(MemoryInsight(turns)) as url:
        assert 0 == main(["sessions", "--agent", url, "--json"])
    [found] = json.loads(capsys.readouterr().out)["sessions"]
    assert ("s", 3, 2.0, 1.0, 1.0) == (
        *(found["session"], found["requests"], found["kv_cache_speedup"]),
        *(found["prompt_correlation"], found["slope_ms_per_token"]),
    )


def test_nothing(folder, capsys):
    """An empty log has no sessions; a log and an agent are one too many."""
    Path("log.jsonl").touch()
    assert 0 == main(["sessions", "log.jsonl"])
    assert "no sessions\n" == capsys.readouterr().out
    assert 2 == main(["sessions", "log.jsonl", "--agent", "http://h"])
    assert "both a log and --agent are named: keep one\n" == capsys.readouterr().err
