"""`otel-latency top`: an agent's last minute in the terminal, read from a real HTTP server that answers as one."""

import io
import json

import pytest
from answers import serving
from rich.console import Console

from otel_latency.cli import main
from otel_latency.cli.top import screen

STAGE = {
    "service": "bot",
    "stage": "tts",
    "count": 30,
    "p50": 0.4,
    "p90": 0.9,
    "p95": 1.06,
    "p99": 1.3,
    "error_ratio": 0.0,
    "target": 0.2,
    "critical": 0.5,
    "verdict": "critical",
    "advice": ["check that synthesis runs on the GPU"],
}
OVERVIEW = {
    "timestamp": 1_700_000_000.0,
    "turns_per_second": 3.456,
    "error_ratio": 0.025,
    "operations": {"running": 1, "warning": 0, "oldest_seconds": 2.0},
    "stages": [{**STAGE, "stage": "stt", "verdict": "ok", "advice": [], "p95": 0.1}, STAGE],
    "turns": [
        {"service": "bot", "turn": "answer", "count": 40, "p50": 1.34, "p90": 1.8, "p95": 2.0, "p99": 2.3}
        | {"error_ratio": None}
    ],
    "alerts": [{"labels": {"alertname": "Slow", "severity": "page"}, "annotations": {"summary": "tts is slow"}}],
    "checks": [{"check": "openai", "up": False, "error": "connection refused"}, {"check": "db", "up": True}],
    "top_errors": [
        {"kind": "llm", "service": "bot", "provider": "openai", "model": "gpt-4o", "status": "error", "count": 3}
        | {"error_types": {"RateLimitError": 2}}
    ],
}
RUNNING = {"stage": "llm", "task": "draft", "elapsed_seconds": 2.0, "estimate_seconds": 1.0, "is_warning": False}
ANSWERS = {"/api/v1/overview": OVERVIEW, "/api/v1/operations/running": {"operations": [RUNNING]}}
EMPTY = {
    **OVERVIEW,
    "turns_per_second": None,
    "error_ratio": None,
    "operations": {"running": 0, "warning": 0, "oldest_seconds": None},
    **{key: [] for key in ("stages", "turns", "alerts", "checks", "top_errors")},
}


def printed(capsys, *arguments, answers=ANSWERS):
    with serving(answers) as (url, _):
        code = main(["top", "--agent", url, *arguments])
    return code, capsys.readouterr().out.replace(url, "URL")


def words(text):
    return [" ".join(line.split()) for line in text.splitlines()]


LINES = (
    "3.46 turns/s errors 2.5 % running 1 alerts 1",
    "answer bot 40 1.34 s 1.80 s 2.00 s 2.30 s -",
    "tts bot 30 400 ms 1.06 s 200 ms critical: check that synthesis runs on the GPU",
    "stt bot 30 400 ms 100 ms 200 ms ok",
    "llm draft ████████████████████████████████ 2.00 s of 1.00 s, late",
    "firing Slow tts is slow",
    "down openai connection refused",
    "3 x openai gpt-4o of bot error RateLimitError 2",
)


@pytest.mark.parametrize("line", LINES)
def test_once(capsys, line):
    """Every part of the overview is there, the worst stage first; a pipe gets it once, without being asked to."""
    code, text = printed(capsys)
    found = words(text)
    assert (0, 1) == (code, sum(one.endswith(line) for one in found))
    assert found.index("tts bot 30 400 ms 1.06 s 200 ms critical: check that synthesis runs on the GPU") < found.index(
        "stt bot 30 400 ms 100 ms 200 ms ok"
    )


def test_json(capsys):
    """With --json --once the document is printed as it came, with what runs."""
    code, text = printed(capsys, "--json", "--once")
    assert (0, {**OVERVIEW, "running": [RUNNING]}) == (code, json.loads(text))


def test_nothing_yet(capsys):
    """An agent without traffic is told of as such, with dashes for what is not known."""
    answers = {"/api/v1/overview": EMPTY, "/api/v1/operations/running": {"operations": []}}
    _, text = printed(capsys, "--once", answers=answers)
    heading, _, *rest = words(text)
    assert heading.endswith("- turns/s errors - running 0 alerts 0")
    assert ["no turn has ended in the last minute", "", "no stage has ended in the last minute"] == rest


def test_no_agent(capsys):
    """Where nobody answers that is said, with exit code 1."""
    assert 1 == main(["top", "--once", "--agent", "http://127.0.0.1:9"])
    assert "http://127.0.0.1:9: Connection refused: is an agent running there?" in capsys.readouterr().err


def test_the_last_figures_stay():
    """A note above the figures says since when they are old."""
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(screen({**OVERVIEW, "running": []}, "http://agent", "no answer since 12:00:00: gone"))
    text = console.export_text()
    assert text.index("no answer since 12:00:00: gone") < text.index("answer")


def test_text_of_others_is_harmless(capsys):
    """Names that came with spans cannot move the cursor or colour the terminal."""
    hostile = {**OVERVIEW, "turns": [{**OVERVIEW["turns"][0], "turn": "\x1b[2J[red]x[/red]", "service": "a\u202eb\nc"}]}
    _, text = printed(capsys, answers={**ANSWERS, "/api/v1/overview": hostile})
    assert ("\x1b" not in text, "\u202e" not in text, "[red]x[/red]" in text) == (True, True, True)
