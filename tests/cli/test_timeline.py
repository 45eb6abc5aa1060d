import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from answers import serving
from insight_agent import MemoryInsight, insight_agent
from voice_log import EXAMPLE, START, line, lines, write

from otel_latency.aggregate.stages import build
from otel_latency.cli import main, timeline
from otel_latency.instrument.rotation import archive_path
from otel_latency.records import LLMProfile, Profile

SECOND = 1_000_000_000
BASE_NS = 1_764_253_805 * SECOND


def turn(number, start=0.0, request_id="", *, call="llm"):
    """A turn of 2.9 s: half a second of listening, then the model."""

    def span(index, profile, begun, ended, **measures):
        times = (BASE_NS + round((start + at) * SECOND) for at in (begun, ended))
        ids = bytes([number]) * 16, bytes([number, index]) * 4, b"" if index == 1 else bytes([number, 1]) * 4
        return (profile, *ids, *times, measures)

    rows = [
        span(
            1, Profile("bot", turn="answer"), 0, 2.9, session="s", **({"request_id": request_id} if request_id else {})
        ),
        span(2, Profile("bot", stage="stt"), 0, 0.5),
        span(3, Profile("bot", stage=call, llm=LLMProfile("openai", "gpt-4o", "reply", "chat")), 0.5, 2.9, ttft=0.5),
    ]
    return build(rows[0], rows)


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


def test_own_target(folder, capsys):
    """A stage that is too slow without anything to check for it is told in a sentence that ends."""
    Path("otel-latency.yaml").write_text("targets: {shop: {target: 100ms}}\n")
    write(Path("log.jsonl"), [line(0, "shop_sent"), line(250, "shop_received")])
    assert 0 == main(["timeline", "log.jsonl"])
    assert "shop took 250 ms, more than 100 ms." == capsys.readouterr().out.splitlines()[-2]


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
    assert f"log.jsonl: cleared, {size:,} bytes; its 1 archive stays\n" == capsys.readouterr().out
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


def test_agent(folder, capsys):
    """With --agent its latest turns are shown by their start, each with its critical path."""
    with insight_agent(MemoryInsight([turn(1, start=5.0), turn(2), turn(3, start=9.0)])) as url:
        found = shown(capsys, "--agent", url)
        assert ["02" * 16, "01" * 16, "03" * 16] == [one["request_id"] for one in found]
        path = [(tile["stage"], tile["seconds"]) for tile in found[0]["critical_path"]]
        assert [("stt", 0.5), ("llm", 0.5), ("llm", 1.9)] == path
        assert ["llm start", "llm end"] == [found[0]["deltas"][1][end] for end in ("from", "to")]
        assert (2.9, 2) == (found[0]["total_seconds"], len(found[0]["deltas"]))
        assert ["03" * 16] == [one["request_id"] for one in shown(capsys, "--agent", url, "--tail", "1")]
        assert 0 == main(["timeline", "--agent", url, "--tail", "1"])
        out = capsys.readouterr().out
    assert "CRITICAL PATH (what the end waited for)" in out
    assert f"   500ms | {'█' * 6}{'·' * 26} | stt → " in out
    assert "TOTAL: 2.90 s\n" in out


def test_calls_of_models(folder, capsys):
    """A call of a model is held against the target of llm whatever it is called: by an agent, and in a file."""
    Path("otel-latency.yaml").write_text("targets: {llm: {critical: 2s}}\n")
    with insight_agent(MemoryInsight([turn(1, call="chat gpt-4o")])) as url:
        [request] = shown(capsys, "--agent", url)
    attribute = {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}
    times = {"startTimeUnixNano": str(BASE_NS), "endTimeUnixNano": str(BASE_NS + 5 * SECOND // 2)}
    spans = [
        {"traceId": "01" * 16, "spanId": "01" * 8, **times, "name": "answer"},
        {"traceId": "01" * 16, "spanId": "02" * 8, "parentSpanId": "01" * 8, **times, "name": "chat gpt-4o"},
    ]
    spans[1]["attributes"] = [attribute]
    Path("trace.json").write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}))
    for found, seconds in ((request, 2.4), (shown(capsys, "trace.json")[0], 2.5)):
        advice = found["advice"][-1]
        assert ("chat gpt-4o", seconds, 2.0) == (advice["stage"], advice["seconds"], advice["limit_seconds"])
        assert "use a smaller or quantized model" in advice["checks"]


@pytest.mark.parametrize("request_id", ["r/1 é", "01" * 16, "r/1", "0101"])
def test_request_of_an_agent(folder, capsys, request_id):
    """A request of an agent is found by its id, by that of its trace, or by how either begins."""
    with insight_agent(MemoryInsight([turn(1, request_id="r/1 é"), turn(2)])) as url:
        assert ["r/1 é"] == [one["request_id"] for one in shown(capsys, "--agent", url, "--request", request_id)]


@pytest.mark.parametrize("request_id", ["nobody", "../status", "..", "?", "f" * 32])
def test_unknown_request_of_an_agent(folder, capsys, request_id):
    """A request that the agent does not know is told so, whatever was written."""
    with insight_agent(MemoryInsight([turn(1)])) as url:
        assert 1 == main(["timeline", "--agent", url, "--request", request_id])
        err = capsys.readouterr().err
    assert err.startswith(f"{url}: /api/v1/turns/")
    assert 1 == err.count("\n")


def test_no_turns(folder, capsys):
    """An agent that has seen no turn is no fault."""
    with insight_agent(MemoryInsight()) as url:
        assert 0 == main(["timeline", "--agent", url])
    assert "no requests\n" == capsys.readouterr().out


LINE = {"trace_id": "f" * 32}
NO_AGENTS = {
    "no agent": ({"/api/v1/turns": "<html>"}, "/api/v1/turns answered 200, and no JSON: is it an agent?"),
    "no such path": ({}, "/api/v1/turns: the agent has no such path: is it of our version?"),
    "an earlier version": (
        {"/api/v1/turns": {"status": "success"}},
        "its answer has no turns: is the agent of our ver",
    ),
    "another one": (
        {"/api/v1/turns": {"turns": [LINE]}, f"/api/v1/turns/{'f' * 32}": {"trace_id": "f" * 32}},
        f"/api/v1/turns/{'f' * 32}: the agent's answer is no turn: is it of our version?",
    ),
}


@pytest.mark.parametrize(("answers", "message"), NO_AGENTS.values(), ids=NO_AGENTS)
def test_no_agent(folder, answers, message, capsys):
    """What answers as no agent of ours does is told so, in a line."""
    with serving(answers) as (url, _):
        assert 1 == main(["timeline", "--agent", url])
    err = capsys.readouterr().err
    assert message in err
    assert 1 == err.count("\n")


def test_turns_that_go(folder, capsys):
    """A turn that the agent lets go of between two questions is left out."""
    insight = MemoryInsight([turn(1), turn(2)])
    known = insight.turn
    insight.turn = lambda identity, span_id: known(identity if identity != "01" * 16 else "gone", span_id)
    with insight_agent(insight) as url:
        assert ["02" * 16] == [one["request_id"] for one in shown(capsys, "--agent", url)]


def test_without_root(folder, capsys):
    """What is left of a turn without its root is shown if it is alone in its trace, and doubles no other turn."""
    rest = turn(1, start=9.0)._replace(span_id=b"")
    with insight_agent(MemoryInsight([turn(1), rest, turn(2)._replace(span_id=b"")])) as url:
        assert ["01" * 16, "02" * 16] == [one["request_id"] for one in shown(capsys, "--agent", url)]


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
