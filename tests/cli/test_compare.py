import json
from math import log
from pathlib import Path
from random import Random
from urllib.parse import parse_qs

import pytest
from answers import serving
from insight_agent import MemoryInsight, insight_agent
from voice_log import call, write

from otel_latency.cli import compare, main
from otel_latency.cli.periods import Period
from otel_latency.errors import ConfigError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two runs of 60 requests, the second with a model that is 40 % slower."""
    monkeypatch.chdir(tmp_path)
    runs(tmp_path, 1.4)
    return tmp_path


def runs(folder, factor):
    for name, scale in (("before", 1.0), ("after", factor)):
        random = Random(3)
        taken = [(random.lognormvariate(log(0.5), 0.1), random.lognormvariate(log(0.1), 0.2)) for _ in range(60)]
        write(folder / f"{name}.jsonl", *(call(n, llm * scale, tts) for n, (llm, tts) in enumerate(taken)))


def test_help_tells_the_truth(folder, examples, capsys):
    """The call in the help prints what the help says."""
    [(argv, output)] = examples(compare.__doc__)
    assert 0 == main(argv)
    assert output.splitlines() == [line.rstrip() for line in capsys.readouterr().out.splitlines() if line]


def test_json(folder, capsys):
    """--json has each stage with its shift, the adjusted p and the verdict."""
    assert 0 == main(["compare", "--json", "before.jsonl", "after.jsonl"])
    llm, tts, total = json.loads(capsys.readouterr().out)["stages"]
    assert ("llm", "slower", pytest.approx(0.4, abs=1e-6)) == (llm["stage"], llm["verdict"], llm["shift"])
    assert llm["a"] * 1.4 == pytest.approx(llm["b"], rel=1e-6)
    assert llm["p_value"] < 1e-6
    assert {"a": 60, "b": 60} == llm["samples"]
    assert llm["shift_interval"][0] < 0.4 < llm["shift_interval"][1]
    assert ("tts", "same") == (tts["stage"], tts["verdict"])
    assert ("total", "slower", None) == (total["stage"], total["verdict"], total["p95"]["shift_interval"])


def test_exit_code(folder, capsys):
    """A slower stage is news, not a fault, unless that is asked for."""
    assert 0 == main(["compare", "before.jsonl", "after.jsonl"])
    assert 1 == main(["compare", "--fail-if-slower", "before.jsonl", "after.jsonl"])
    assert 0 == main(["compare", "--fail-if-slower", "after.jsonl", "before.jsonl"])
    assert 0 == main(["compare", "--fail-if-slower", "before.jsonl", "before.jsonl"])


def test_nothing_in_common(folder, capsys):
    """Two files without a stage in common are told with what each has."""
    Path("empty.jsonl").touch()
    assert 1 == main(["compare", "before.jsonl", "empty.jsonl"])
    assert "no stage is in both: before.jsonl has llm, tts, total; empty.jsonl has none\n" == capsys.readouterr().err


def span(name, seconds, number, status):
    base = 1_764_253_805_000_000_000
    return {
        "traceId": f"{number + 1:032x}",
        "spanId": f"{number + 1:016x}",
        "name": name,
        "startTimeUnixNano": str(base),
        "endTimeUnixNano": str(base + round(seconds * 1e9)),
        "status": {"code": status},
    }


def test_failures_do_not_count(folder, capsys):
    """Turns that failed are no latency: in OTLP/JSON files they are left out."""
    for name, failed in (("a", 0.001), ("b", 60.0)):
        spans = [span("answer", 1.0, n, 1) for n in range(30)] + [span("answer", failed, n, 2) for n in range(30, 60)]
        document = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
        Path(f"{name}.json").write_text(json.dumps(document))
    assert 0 == main(["compare", "--json", "a.json", "b.json"])
    [total] = json.loads(capsys.readouterr().out)["stages"]
    assert ("total", 1.0, 1.0, {"a": 30, "b": 30}) == (total["stage"], total["a"], total["b"], total["samples"])


BOUNDARY = 1_764_000_000.0
LONG_AGO = ["1763990000..1763993600", "1764000000..1764003600"]


def history(series, since, until, step):
    """Lines of the stage `llm`: 0.5 s before the boundary, 0.6 s after it, restless by some milliseconds."""
    if series != "otel_latency_stage_duration_seconds":
        return {"series": []}
    level = 0.5 if since < BOUNDARY else 0.6
    points = [
        {"start": at, "count": 10, "p50": level + at % 7 / 1000, "p95": 2 * level}
        for at in range(int(since), int(until), int(step))
    ]
    empty = {"start": until, "count": 0, "p50": None, "p95": None}
    return {"series": [{"labels": {"service": "bot", "stage": "llm"}, "points": [*points, empty]}]}


def durations(complete_from):
    """Those of the stage `llm`, 20 % longer after the boundary, and none of turns."""

    def answer(which, by, limit):
        random = Random(5)
        factor = 1.0 if which.since < BOUNDARY else 1.2
        seconds = [factor * random.lognormvariate(log(0.5), 0.2) for _ in range(300)]
        of_stages = [{"labels": {"service": "bot", "stage": "llm"}, "seconds": seconds}]
        return {"complete_from": complete_from, "durations": of_stages if by == ("service", "stage") else []}

    return answer


def test_periods_of_an_agent(capsys):
    """Of periods whose operations are gone, the percentiles are those of the whole, the evidence its pieces."""
    insight = MemoryInsight(history=history, durations=durations(BOUNDARY + 1))
    with insight_agent(insight) as url:
        assert 0 == main(["compare", "--json", "--agent", url, *LONG_AGO])
    [llm] = json.loads(capsys.readouterr().out)["stages"]
    assert ("bot llm", "slower", 0.5, 0.6) == (
        *(llm["stage"], llm["verdict"]),
        *(pytest.approx(llm[side], abs=0.007) for side in "ab"),
    )
    assert {"a": 10, "b": 10} == llm["samples"]
    assert any(step == 60.0 for name, (*_, step), _ in insight.asked if name == "history")


def test_operations_of_an_agent(capsys):
    """Of periods that it has every operation of, these are what is compared."""
    insight = MemoryInsight(history=history, durations=durations(0.0))
    with insight_agent(insight) as url:
        assert 0 == main(["compare", "--json", "--agent", url, *LONG_AGO])
    [llm] = json.loads(capsys.readouterr().out)["stages"]
    assert ("bot llm", "slower", {"a": 300, "b": 300}) == (llm["stage"], llm["verdict"], llm["samples"])
    assert 0.2 == pytest.approx(llm["shift"])


def test_nothing_in_an_agent(capsys):
    """An agent that has measured nothing says so; what is no period is told before anybody is asked."""
    nothing = MemoryInsight(history={"series": []}, durations={"complete_from": 0.0, "durations": []})
    with insight_agent(nothing) as url:
        assert 1 == main(["compare", "--agent", url, "2h..1h", "1h..now"])
        assert f"{url}: nothing was measured in both periods" in capsys.readouterr().err
    assert 2 == main(["compare", "--agent", "http://127.0.0.1:1", "yesterday", "1h..now"])
    assert capsys.readouterr().err.startswith("'yesterday' is not a period: write 2h..1h, 90m..now or ")


def test_earlier_version(capsys):
    """An agent that tells no durations is compared by its history alone."""

    def told(query):
        asked = {key: values[0] for key, values in parse_qs(query).items()}
        return history(asked["series"], *(float(asked[key]) for key in ("from", "to", "step")))

    with serving({"/api/v1/history": told, "/api/v1/durations": None}) as (url, _):
        assert 0 == main(["compare", "--json", "--agent", url, *LONG_AGO])
    assert "slower" == json.loads(capsys.readouterr().out)["stages"][0]["verdict"]


PERIODS = {
    "2h..1h": (2_800, 6_400),
    "90m..now": (4_600, 10_000),
    "1970-01-01T01:00..1970-01-01T02:00:00Z": (3_600, 7_200),
    "1000000000..1000000060.5": (1_000_000_000, 1_000_000_060.5),
}


@pytest.mark.parametrize(("text", "expected"), PERIODS.items(), ids=PERIODS)
def test_period(text, expected):
    """Ends are ages, times or Unix seconds; it is 10,000 s after the epoch."""
    assert Period(*map(float, expected)) == Period.parse(text, 10_000.0)


@pytest.mark.parametrize("text", ["", "1h", "1h..2h", "now..now", "..", "soon..now", "1h..soon"])
def test_no_period(text):
    """What is no period is told with what to write."""
    with pytest.raises(ConfigError, match=r"is not a period: write 2h..1h"):
        Period.parse(text, 10_000.0)
