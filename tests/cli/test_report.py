import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from answers import serving

from otel_latency.cli import main, report
from otel_latency.insight.report import Figure, Report, dump

PAGE = """\
# TYPE otel_latency_agent_resident_memory_bytes gauge
otel_latency_agent_resident_memory_bytes 52428800
# TYPE otel_latency_agent_received_spans_total counter
otel_latency_agent_received_spans_total{transport="http"} %d
# TYPE otel_latency_build_info gauge
otel_latency_build_info{version="9.8"} 1
# TYPE otel_latency_check_up gauge
otel_latency_check_up{check="openai"} 1
otel_latency_check_up{check="gone"} 0
# TYPE otel_latency_check_duration_seconds gauge
otel_latency_check_duration_seconds{check="openai"} 0.125
otel_latency_check_duration_seconds{check="gone"} 0.000125
# TYPE otel_latency_llm_window_seconds summary
otel_latency_llm_window_seconds{provider="openai",model="gpt-4o",task="reply",window="5m",quantile="0.5"} 1.5
otel_latency_llm_window_seconds{provider="openai",model="gpt-4o",task="reply",window="10s",quantile="0.5"} 9
otel_latency_llm_window_seconds{provider="groq",model="llama",task="",window="5m",quantile="0.95"} NaN
"""


def answering(memory=52428800):
    """A stand-in for an agent that received a thousand spans between two looks at its metrics."""
    pages = iter([PAGE % 0, (PAGE % 1000).replace("52428800", str(memory))])
    return serving(
        {"/metrics": lambda _: next(pages), "/health/live": {"alive": True}, "/status": {"uptime_seconds": 60.5}}
    )


def test_help_tells_the_truth(examples, capsys):
    """The call in the help prints what the help says."""
    [(argv, output)] = examples(report.__doc__)
    assert 1 == main(argv)
    assert ("", output) == capsys.readouterr()


def test_running_agent(capsys):
    """What an agent says of itself and of the services that it knows; nothing is sent to it."""
    with answering() as (url, asked):
        assert 0 == main(["report", "--agent", url, "--seconds", "0.1", "--json"])
    assert {"/metrics", "/health/live", "/status"} == set(asked)
    document = json.loads(capsys.readouterr().out)
    values = {figure["name"]: figure["values"][0] for figure in document["figures"]}
    assert ("9.8", url) == (document["version"], document["machine"])
    assert (60.5, 50.0, 1.0, 0.0, 125.0, 1500.0) == (
        values["uptime"],
        values["memory"],
        values["check openai, up"],
        values["check gone, up"],
        values["check openai"],
        values["openai gpt-4o reply, p50"],
    )
    assert 0 < values["received spans"] <= 10_000
    assert [] == [name for name in values if "groq" in name or name == "check gone"]
    assert [] == document["changes"]


def test_regression(tmp_path, monkeypatch, capsys):
    """Against an earlier report a figure that became worse ends it with 1; a larger tolerance lets it pass."""
    monkeypatch.chdir(tmp_path)
    with answering() as (url, _):
        assert 0 == main(["report", "--agent", url, "--seconds", "0.1", "--save", "before.json"])
    assert "50 MiB" in capsys.readouterr().out
    before = json.loads(Path("before.json").read_text())
    kept = [figure for figure in before["figures"] if figure["name"] in ("memory", "check openai")]
    Path("before.json").write_text(json.dumps({**before, "figures": kept}))
    for tolerance, code in (("25", 1), ("70%", 0)):
        with answering(memory=83886080) as (url, _):
            argv = ["report", "--agent", url, "--seconds", "0.1", "--against", "before.json", "--tolerance", tolerance]
            assert code == main(argv)
    assert ["memory", "50", "MiB", "80", "MiB", "+60", "%", "worse"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


@pytest.mark.parametrize("command", ["report", "bench"])
def test_own_agent(tmp_path, command):
    """Without --agent agents of its own are measured: start-up, memory, throughput, sessions, answers."""
    environ = {**os.environ, "OTEL_LATENCY_WEB__PORT": "nonsense", "TMPDIR": str(tmp_path)}
    argv = [command, "--rounds", "1", "--seconds", "0.2", "--sessions", "20", "--save", "r.json", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "otel_latency", *argv], cwd=tmp_path, env=environ, capture_output=True, check=False
    )
    assert (0, b"") == (done.returncode, done.stderr)
    figures = {figure["name"]: figure["values"] for figure in json.loads(done.stdout)["figures"]}
    assert {
        "start-up",
        "memory, idle",
        "throughput",
        "20 sessions",
        "20 sessions, request, p50",
        "20 sessions, request, p95",
        "answer of the agent, p50",
        "answer of the agent, p95",
        "memory, loaded",
    } == set(figures)
    assert all(len(values) == 1 and values[0] > 0 for values in figures.values())
    assert ["r.json"] == [file.name for file in tmp_path.iterdir()]


FAULTS = {
    "no report": (["--against", "nowhere.json"], "nowhere.json: the file cannot be read (No such file or directory)"),
    "another file": (["--against", "other.json"], "other.json: this is no report: write one with --save"),
    "no agent's address": (["--agent", "https://h"], "--agent: https://h: this is not a plain http URL"),
}


@pytest.mark.parametrize(("argv", "message"), FAULTS.values(), ids=FAULTS)
def test_faults(tmp_path, monkeypatch, argv, message, capsys):
    """What is wrong is told before anything is measured."""
    monkeypatch.chdir(tmp_path)
    Path("other.json").write_text("{}")
    assert 2 == main(["report", *argv])
    assert capsys.readouterr().err.startswith(message)


def test_unwritable(tmp_path, capsys):
    """A report that cannot be saved is told with its name."""
    with answering() as (url, _):
        assert 2 == main(["report", "--agent", url, "--seconds", "0.1", "--save", str(tmp_path)])
    assert f"{tmp_path}: the file cannot be written (Is a directory): check its folder\n" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--rounds=0", "'0' is no whole number from 1 to 10,000"),
        ("--seconds=-1", "'-1' is no number of seconds up to 3600"),
        ("--seconds=soon", "'soon' is no number of seconds up to 3600"),
        ("--tolerance=much", "'much' is no percentage: write 25"),
    ],
)
def test_wrong_options(option, reason, capsys):
    """Numbers are numbers."""
    with pytest.raises(SystemExit):
        main(["report", option])
    assert reason in capsys.readouterr().err


def test_table_of_changes(tmp_path, capsys):
    """A figure that is gone is shown as gone."""
    old = tmp_path / "old.json"
    old.write_bytes(dump(Report(0.0, "0.1", "a\x1b[2J", (Figure("start-up", "s", (1.0,)),))))
    with answering() as (url, _):
        assert 0 == main(["report", "--agent", url, "--seconds", "0.1", "--against", str(old)])
    lines = capsys.readouterr().out.splitlines()
    assert "before: otel-latency 0.1, a\N{REPLACEMENT CHARACTER}[2J, 1970-01-01 00:00 UTC" == lines[0]
    assert lines[1].startswith(f"now:    otel-latency 9.8, {url}, ")
    rows = [line.split() for line in lines]
    assert ["start-up", "1", "s", "-", "-", "gone"] in rows
    assert ["memory", "-", "50", "MiB", "-", "new"] in rows
