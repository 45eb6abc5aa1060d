import json

import pytest
from insight_agent import MemoryInsight, insight_agent

from otel_latency.cli import estimate, main

KNOWN = {
    "task": "draft_reply",
    "provider": "openai",
    "model": "gpt-4o",
    "seconds": 2.1,
    "low": 1.24,
    "high": 3.86,
    "confidence": 0.412,
    "level": "high",
    "text": "typically takes 1.2\N{EN DASH}3.9 seconds",
    "samples": 180,
    "quantiles": [],
}


def test_help_tells_the_truth(examples, capsys):
    """The call in the help prints what the help says, and asks for what was said."""
    [(argv, output)] = examples(estimate.__doc__)
    insight = MemoryInsight(estimate=KNOWN)
    with insight_agent(insight) as url:
        assert 0 == main([*argv, "--agent", url])
    assert output == capsys.readouterr().out
    asked = {"provider": "openai", "model": "gpt-4o", "input_tokens": 500.0}
    assert [("estimate", ("draft_reply",), asked)] == insight.asked


def test_json(capsys):
    """--json prints what the agent answers."""
    with insight_agent(MemoryInsight(estimate=KNOWN)) as url:
        assert 0 == main(["estimate", "draft_reply", "--agent", url, "--json"])
    assert KNOWN == json.loads(capsys.readouterr().out)


def test_nothing_learnt(capsys):
    """An agent that has seen no call says so; what it says cannot move the cursor."""
    nothing = {**KNOWN, "seconds": None, "text": "nothing is known yet\x1b[2J"}
    with insight_agent(MemoryInsight(estimate=nothing)) as url:
        assert 0 == main(["estimate", "draft", "--agent", url])
    assert "draft: nothing is known yet\N{REPLACEMENT CHARACTER}[2J\n" == capsys.readouterr().out


UNKNOWN = {
    "of anything": ("all", [], "", "all calls of language models together take"),
    "of a provider": ("provider", ["--provider", "openai"], " with openai", "other calls of that provider take"),
    "of a model": (
        *("model", ["--provider", "openai", "--model", "gpt-4o"]),
        *(" with openai/gpt-4o", "other tasks of that model take"),
    ),
    "with a model": ("models", ["--model", "gpt-9"], " with gpt-9", "the same task with other models takes"),
    "to an agent of an earlier version": (None, [], "", "other calls take"),
}


@pytest.mark.parametrize(("basis", "argv", "of", "source"), UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_task(basis, argv, of, source, capsys):
    """Of a task that was never seen it is said so, and what the figures are taken from."""
    with insight_agent(MemoryInsight(estimate={**KNOWN, "samples": 0, "basis": basis})) as url:
        assert 0 == main(["estimate", "draft", "--agent", url, *argv])
    told = [f"draft: nothing is known of this task{of}", f"{source} 1.24 s to 3.86 s, half of them less than 2.10 s"]
    assert told == capsys.readouterr().out.splitlines()


def test_one_call(capsys):
    """A single call is one."""
    with insight_agent(MemoryInsight(estimate={**KNOWN, "samples": 1})) as url:
        assert 0 == main(["estimate", "draft", "--agent", url])
    assert capsys.readouterr().out.endswith("; learnt from 1 call\n")


FAULTS = {
    "no task": ([""], 1, "/api/v1/estimate: task: it is missing: write task=script_generation\n"),
    "no address": (["draft", "--agent", "https://h"], 2, "--agent: https://h: this is not a plain http URL"),
    "no estimate": (["other"], 1, "the answer is no estimate: is the agent of our version?\n"),
}


@pytest.mark.parametrize(("argv", "code", "message"), FAULTS.values(), ids=FAULTS)
def test_faults(argv, code, message, capsys):
    """What goes wrong is told in a line."""
    with insight_agent(MemoryInsight(estimate={"status": "success"})) as url:
        assert code == main(["estimate", "--agent", url, *argv])
    assert message in capsys.readouterr().err


def test_tokens(capsys):
    """A prompt has a whole number of tokens."""
    with pytest.raises(SystemExit):
        main(["estimate", "draft", "--input-tokens", "-5"])
    assert "'-5' is no number of tokens: write 0 or more" in capsys.readouterr().err
