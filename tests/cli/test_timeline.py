import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from answers import serving
from voice_log import EXAMPLE, START, line, lines, write

from otel_latency.cli import main, timeline
from otel_latency.instrument.rotation import archive_path

TURN = {
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "service": "bot",
    "turn": "answer",
    "session": "s",
    "status": "ok",
    "start": 1_764_253_805.0,
    "duration_seconds": 2.9,
    "milestones": {"first_audio": 1.2},
    "stages": [
        {"stage": "stt", "start": 1_764_253_805.0, "end": 1_764_253_805.5, "milestones": {}},
        {"stage": "llm", "start": 1_764_253_805.5, "end": 1_764_253_807.9, "milestones": {"first_token": 0.5}},
    ],
    "critical_path": [
        {"stage": "stt", "gate": "end", "from": 1_764_253_805.0, "to": 1_764_253_805.5},
        {"stage": "llm", "gate": "end", "from": 1_764_253_805.5, "to": 1_764_253_807.9},
    ],
    "verdict": "Sequential: the stages take 2.90 s one after the other.",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OTEL_LATENCY_LOG", raising=False)
    return tmp_path


def shown(capsys, *argv):
    """The document that --json prints."""
    assert 0 == main(["timeline", "--json", *argv])
    return json.loads(capsys.readouterr().out)["requests"]


def test_help_tells_the_truth(folder, examples, capsys):
    """The call in the help prints what the help says."""
    write(Path("latency.jsonl"), lines())
    [(argv, output)] = examples(timeline.__doc__)
    assert 0 == main(argv)
    assert output.splitlines() == [line for line in capsys.readouterr().out.splitlines() if line]


def test_published_example(folder, capsys):
    """The published example: every offset, the four deltas, the slowest step, and the total of its own offsets."""
    write(Path("latency.jsonl"), lines())
    assert 0 == main(["timeline", "latency.jsonl"])
    out = capsys.readouterr().out
    for event, at in EXAMPLE.items():
        assert f"{at:6}ms | {event.partition('_')[0]:10} | {event}\n" in out
    assert [
        ("102", "v34_webhook_received → v34_classification_complete"),
        ("725", "v34_classification_complete → v34_retrieval_complete"),
        ("4320", "v34_ollama_sent → v34_ollama_received  ← slowest step"),
        ("445", "tts_synthesis_start → tts_audio_playback_start"),
    ] == re.findall(r"^ *(\d+)ms \| [█·]{32} \| (.*)$", out, re.MULTILINE)
    assert "\nTOTAL: 8.45 s\nSequential: speech starts 0.245 s after the model has ended.\n" in out
    assert "llm took 4.32 s, more than 3 s:\n  - use a smaller or quantized model\n" in out


def test_json(folder, capsys):
    """--json has the same in numbers."""
    write(Path("latency.jsonl"), lines())
    [request] = shown(capsys, "latency.jsonl")
    assert ("abc123de", START, 8.45) == (request["request_id"], request["start"], request["total_seconds"])
    assert {"offset_seconds": 5.89, "service": "tts", "event": "tts_audio_playback_start"} in request["events"]
    slowest = {"from": "v34_ollama_sent", "to": "v34_ollama_received", "seconds": 4.32, "slowest": True, "stage": "llm"}
    assert [slowest] == [delta for delta in request["deltas"] if delta["slowest"]]
    assert 4 == len(request["deltas"])
    assert [("llm", 3.0)] == [(one["stage"], one["limit_seconds"]) for one in request["advice"]]
    assert request["verdict"].startswith("Sequential")


def test_default_log(folder, monkeypatch, capsys):
    """Without a name it is the file that log_timing writes: the variable's, or else the default one."""
    write(Path("otel-latency-timing.jsonl"), lines(request_id="default"))
    write(Path("other.jsonl"), lines(request_id="other"))
    assert ["default"] == [one["request_id"] for one in shown(capsys)]
    monkeypatch.setenv("OTEL_LATENCY_LOG", "other.jsonl")
    assert ["other"] == [one["request_id"] for one in shown(capsys)]
    monkeypatch.setenv("OTEL_LATENCY_LOG", "off")
    assert 2 == main(["timeline"])
    assert capsys.readouterr().err.startswith("OTEL_LATENCY_LOG=off: nothing is logged: name a log")


def test_choice(folder, capsys):
    """All requests by their start, the last of them, or the one of an id or of its beginning; archives included."""
    path = Path("log.jsonl").absolute()
    write(archive_path(path, START), lines(request_id="first"))
    write(path, lines(request_id="third", start=START + 20), lines(request_id="second", start=START + 10))
    ids = lambda *argv: [one["request_id"] for one in shown(capsys, "log.jsonl", *argv)]
    assert ["first", "second", "third"] == ids()
    assert ["second", "third"] == ids("--tail", "2")
    assert ["second"] == ids("--request", "second")
    assert ["first"] == ids("--request", "fir")
    assert 1 == main(["timeline", "log.jsonl", "--request", "nobody"])
    assert "no request 'nobody' among 3: see the ids without --request\n" == capsys.readouterr().err


def test_damage(folder, capsys):
    """Damaged lines are told on stderr by their numbers, a few of them in full, and the rest is shown."""
    path = Path("log.jsonl")
    path.write_text("\n".join([*lines(), *["garbage"] * 8, ""]))
    out, err = run_json(capsys, "log.jsonl")
    [request] = json.loads(out)["requests"]
    assert (14, 8.45) == (len(request["events"]), request["total_seconds"])
    expected = [
        *(f"log.jsonl:{number}: left out: no JSON" for number in range(15, 20)),
        "log.jsonl: 3 more lines like these",
    ]
    assert expected == err.splitlines()


def run_json(capsys, *argv):
    assert 0 == main(["timeline", "--json", *argv])
    return capsys.readouterr()


def test_clock_back(folder, capsys):
    """A clock that goes back is told with its line; nothing is negative."""
    path = write(Path("log.jsonl"), [line(9000, "v34_ollama_sent"), line(2000, "v34_ollama_received"), line(2100, "z")])
    out, err = run_json(capsys, str(path))
    [request] = json.loads(out)["requests"]
    assert [0.0, 0.0, 0.1] == [event["offset_seconds"] for event in request["events"]]
    assert err.startswith("log.jsonl:2: the clock went back 7.000 s between v34_ollama_sent and v34_ollama_received")


FAULTS = {
    "no file": (["nowhere.jsonl"], "nowhere.jsonl: there is no such file: name an event log or an OTLP/JSON file\n"),
    "no log": (["notes.txt"], "notes.txt: no line of it is an event: is it an event log, or OTLP/JSON?\n"),
    "both": (["log.jsonl", "--agent", "http://h"], "both a log and --agent are named: keep one\n"),
    "clear more": (
        ["log.jsonl", "--clear", "--tail", "2"],
        "--clear empties a log, all of it: name nothing else with it\n",
    ),
    "clear what is no log": (["notes.txt", "--clear"], "notes.txt: this is no event log, and is left as it is\n"),
}


@pytest.mark.parametrize(("argv", "message"), FAULTS.values(), ids=FAULTS)
def test_faults(folder, argv, message, capsys):
    """What cannot be done ends with 2 and says why; nothing is lost."""
    Path("notes.txt").write_text("Dear diary\n")
    write(Path("log.jsonl"), lines())
    assert 2 == main(["timeline", *argv])
    assert capsys.readouterr().err.endswith(message)
    assert "Dear diary\n" == Path("notes.txt").read_text()
    assert Path("log.jsonl").read_text()


def test_clear(folder, capsys):
    """--clear empties the log where it stands, so that its writers go on, and leaves archives alone."""
    path = write(Path("log.jsonl").absolute(), lines())
    archived = write(archive_path(path, START), lines())
    size, inode = path.stat().st_size, path.stat().st_ino
    assert 0 == main(["timeline", "log.jsonl", "--clear"])
    assert f"log.jsonl: cleared, {size:,} bytes; its 1 archives stay\n" == capsys.readouterr().out
    assert (0, inode) == (path.stat().st_size, path.stat().st_ino)
    assert archived.read_text()
    assert 0 == main(["timeline", "nowhere.jsonl", "--clear", "--json"])
    assert {"cleared": "nowhere.jsonl", "bytes": 0, "archives": 0} == json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("tail", ["0", "-1", "x", "1.5"])
def test_wrong_tail(tail, capsys):
    """A number of requests is 1 or more."""
    with pytest.raises(SystemExit):
        main(["timeline", f"--tail={tail}"])
    assert f"{tail!r} is no number of requests: write 1 or more" in capsys.readouterr().err


def test_empty(folder, capsys):
    """An empty log is no fault."""
    Path("log.jsonl").touch()
    assert 0 == main(["timeline", "log.jsonl"])
    assert ("no requests\n", "") == capsys.readouterr()


def test_hostile_names(folder, capsys):
    """Names that would move the cursor are made harmless."""
    write(Path("log.jsonl"), [line(0, "\x1b[2Jx\ny", request_id="\x1b]0;owned\x07")])
    assert 0 == main(["timeline", "log.jsonl"])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "\ufffd[2Jx y" in out


def test_agent(capsys):
    """With --agent the latest turns are shown with their critical path; a request is found by its id."""
    other = {**TURN, "trace_id": "f" * 32, "start": TURN["start"] - 0.5, "duration_seconds": 3.4, "critical_path": []}
    answers = {
        "/api/v1/turns": {"turns": [{"trace_id": other["trace_id"]}, {"trace_id": TURN["trace_id"]}]},
        f"/api/v1/turns/{TURN['trace_id']}": TURN,
        f"/api/v1/turns/{other['trace_id']}": other,
    }
    with serving(answers) as (url, asked):
        found = shown(capsys, "--agent", url)
        assert [other["trace_id"], TURN["trace_id"]] == [one["request_id"] for one in found]
        assert "/api/v1/turns?limit=1000" == asked[0]
        assert [0.5, 2.4] == [tile["seconds"] for tile in found[1]["critical_path"]]
        assert ["llm start", "llm end"] == [found[1]["deltas"][1][end] for end in ("from", "to")]
        assert [other["trace_id"]] == [
            one["request_id"] for one in shown(capsys, "--agent", url, "--request", "f" * 32)
        ]
        assert 0 == main(["timeline", "--agent", url, "--tail", "1"])
        assert "/api/v1/turns?limit=1" in asked
        out = capsys.readouterr().out
        assert "CRITICAL PATH (what the end waited for)" in out
        assert f"   500ms | {'█' * 6}{'·' * 26} | stt → end\n" in out
        assert TURN["verdict"] in out
        assert 1 == main(["timeline", "--agent", url, "--request", "../status"])
        assert 1 == main(["timeline", "--agent", url, "--request", "0"])
        assert f"{url}: /api/v1/turns/0 answered 404\n" in capsys.readouterr().err


def test_otlp_file(folder, capsys):
    """An OTLP/JSON file is shown as turns."""
    base = 1_764_253_805_000_000_000
    ids = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}
    times = {"startTimeUnixNano": str(base), "endTimeUnixNano": str(base + 10**9)}
    spans = [{**ids, **times, "name": "answer"}]
    spans.append({**ids, **times, "spanId": "00f067aa0ba902b7", "parentSpanId": ids["spanId"], "name": "llm"})
    document = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    Path("trace.json").write_text(json.dumps(document))
    [request] = shown(capsys, "trace.json")
    assert (ids["traceId"], 1.0, ["llm"]) == (
        request["request_id"],
        request["total_seconds"],
        [tile["stage"] for tile in request["critical_path"]],
    )


def test_terminal(folder):
    """On a terminal it is coloured, and the same in words."""
    write(Path("log.jsonl"), lines())
    program = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'otel_latency', 'timeline', 'log.jsonl']))"
    seen = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=30,
        env={"TERM": "xterm-256color", "PATH": "/usr/bin"},
    ).stdout.decode()
    assert "\x1b[1;31m  4320ms" in seen
    assert "TOTAL: 8.45 s" in re.sub(r"\x1b\[[0-9;]*m", "", seen)
