import json
from math import log
from pathlib import Path
from random import Random
from urllib.parse import parse_qs

import pytest
from answers import serving
from insight_agent import MemoryInsight, insight_agent
from store.past import NOW, finish, minute, span, write_spans
from store.past import write as write_windows
from voice_log import call, write

from otel_latency.cli import compare, main
from otel_latency.cli.periods import Period
from otel_latency.errors import ConfigError
from otel_latency.store import lines, operations, selector
from otel_latency.store.operations import Filter
from otel_latency.store.schema import connect, prepare
from otel_latency.store.windows import compact


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


def a_span(name, seconds, number, status):
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
        spans = [a_span("answer", 1.0, n, 1) for n in range(30)] + [
            a_span("answer", failed, n, 2) for n in range(30, 60)
        ]
        document = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
        Path(f"{name}.json").write_text(json.dumps(document))
    assert 0 == main(["compare", "--json", "a.json", "b.json"])
    [total] = json.loads(capsys.readouterr().out)["stages"]
    assert ("total", 1.0, 1.0, {"a": 30, "b": 30}) == (total["stage"], total["a"], total["b"], total["samples"])


LONG_AGO = ["1700000100..1700003700", "1700003700..1700007300"]
"""Two hours from `NOW` on."""


class Past(MemoryInsight):
    """Answers from a real history, in which operations are known from a time on."""

    def __init__(self, complete_from=0.0):
        super().__init__()
        self.connection = connect(":memory:")
        prepare(self.connection)
        self.complete_from = complete_from

    async def history(self, series, since, until, step):
        self.asked.append((series, since, until, step))
        return lines.history(self.connection, selector.parse(series), since, until, step)

    async def durations(self, which, by, limit):
        found = operations.durations(self.connection, Filter(which.texts, which.kind, which.since, which.until), by)
        rows = [
            {"labels": dict(zip(by, group, strict=True)), "seconds": list(seconds)}
            for group, seconds in found.groups.items()
        ]
        return {"durations": rows, "complete_from": max(found.complete_from, self.complete_from)}

    def add(self, *calls):
        """Calls of the stage `llm`: when each ended, in seconds from `NOW`, and how long it took."""
        minutes = {}
        for at, seconds in calls:
            minutes.setdefault(int(NOW + at) // 60, []).append(seconds)
        write_spans(self.connection, [span(end=NOW + at, seconds=seconds) for at, seconds in calls], NOW + 10_000)
        write_windows(self.connection, [minute(slot, values) for slot, values in sorted(minutes.items())])


@pytest.fixture
def past():
    opened = Past()
    yield opened
    opened.connection.close()


def an_hour_each(factor):
    """Restless calls, ten a minute; in the second hour they take *factor* times as long."""
    random = Random(5)
    return [(at, random.lognormvariate(log(0.5), 0.2) * (factor if at >= 3600 else 1)) for at in range(0, 7200, 6)]


def compared(capsys, insight, a, b):
    """The stages that --json prints."""
    with insight_agent(insight) as url:
        assert 0 == main(["compare", "--json", "--agent", url, a, b])
    return json.loads(capsys.readouterr().out)["stages"]


def test_operations_of_an_agent(past, capsys):
    """Of periods that it has every operation of, these are what is compared, to the second."""
    past.add(*an_hour_each(1.2))
    [llm] = compared(capsys, past, "1700000110..1700003700", "1700003700..1700007295.5")
    assert ("bot llm", "durations", "slower", {"a": 598, "b": 600}) == (
        *(llm["stage"], llm["evidence"], llm["verdict"]),
        llm["samples"],
    )
    assert 0.2 == pytest.approx(llm["shift"], abs=0.05)


def test_a_minute_in_two_periods(past, capsys):
    """What ended in the minute in which one period ends and the other begins is in the first one only."""
    past.add(*((at, 1.0) for at in range(331)))
    with insight_agent(past) as url:
        assert 1 == main(["compare", "--agent", url, "1700000100..1700000435", "1700000435..1700000700"])
    told = "nothing was measured in both periods: 1700000100..1700000435 has bot llm; 1700000435..1700000700 has none\n"
    assert f"{url}: {told}" == capsys.readouterr().err


def test_windows_of_an_agent(past, capsys):
    """Of periods whose operations are gone, the percentiles are those of the whole, the evidence its pieces."""
    past.complete_from = NOW + 1
    past.add(*an_hour_each(1.2))
    [llm] = compared(capsys, past, *LONG_AGO)
    assert ("bot llm", "windows", "slower", {"a": 600, "b": 600}) == (
        *(llm["stage"], llm["evidence"], llm["verdict"]),
        llm["samples"],
    )
    for side, factor in (("a", 1.0), ("b", 1.2)):
        assert factor * 0.5 == pytest.approx(llm[side], rel=0.05)
    steps = {step for series, *_, step in past.asked if series == "otel_latency_stage_duration_seconds"}
    assert {60.0, 3600.0} == steps


def test_windows_are_never_cut(past, capsys):
    """A minute that does not lie within a period as a whole counts for neither, in whatever place it is."""
    past.complete_from = NOW + 7200
    past.add(
        (0, 8.0), *((at, 1.0) for at in range(60, 180)), (200, 8.0), *((at, 2.0) for at in range(240, 420)), (421, 8.0)
    )
    periods = "1700000101..1700000310", "1700000310..1700000525"
    [llm] = compared(capsys, past, *periods)
    assert ({"a": 120, "b": 180}, 1.0, 2.0, 1.0, 2.0) == (
        *(llm["samples"], pytest.approx(llm["a"], rel=0.006), pytest.approx(llm["b"], rel=0.006)),
        *(pytest.approx(llm["p95"][side], rel=0.006) for side in "ab"),
    )
    with insight_agent(past) as url:
        assert 0 == main(["compare", "--agent", url, *periods])
    out = capsys.readouterr().out
    assert "\nbot llm *  120 / 180 " in out
    windows = "2023-11-14 22:16..22:18 UTC against 2023-11-14 22:19..22:22 UTC"
    assert out.endswith(f"\n* by the medians of windows, failures included: {windows}\n")


def test_quarters_are_never_cut(past, capsys):
    """Of what is so long ago that it is known by the quarter of an hour, whole quarters count."""
    past.complete_from = NOW + 7200
    past.add(
        (30, 8.0), *((at, 1.0) for at in range(900, 2700, 9)), *((at, 2.0) for at in range(2700, 5400, 9)), (5430, 8.0)
    )
    finish(compact(past.connection, NOW + 10_000))
    past.connection.execute("DELETE FROM minutes")
    [llm] = compared(capsys, past, "1700000160..1700002830", "1700002830..1700006160")
    assert ({"a": 200, "b": 200}, 1.0, 2.0) == (
        llm["samples"],
        *(pytest.approx(llm[side], rel=0.006) for side in "ab"),
    )


def test_no_whole_minute(past, capsys):
    """Periods too short for a window have what single operations tell."""
    past.add(*((at, 1.0 + at / 1000) for at in range(100)))
    [llm] = compared(capsys, past, "1700000105..1700000135", "1700000135..1700000180")
    assert ("durations", {"a": 30, "b": 45}) == (llm["evidence"], llm["samples"])


def test_some_kinds_by_window(past, capsys):
    """Milestones are known by window only, and stand beside the durations; each is told for what it is."""
    past.add(*an_hour_each(1.0))
    audio = "otel_latency_turn_time_to_first_audio_seconds"
    labels = (("service", "bot"), ("turn", "answer"))
    slots = range(int(NOW) // 60, int(NOW) // 60 + 120)
    write_windows(past.connection, [minute(slot, [0.7, 0.8], labels, audio) for slot in slots])
    found = [(one["stage"], one["evidence"], one["samples"]["a"]) for one in compared(capsys, past, *LONG_AGO)]
    assert [("bot answer first_audio", "windows", 120), ("bot llm", "durations", 600)] == found


def test_nothing_in_an_agent(capsys):
    """An agent that has measured nothing says so; what is no period is told before anybody is asked."""
    nothing = MemoryInsight(history={"series": []}, durations={"complete_from": 0.0, "durations": []})
    with insight_agent(nothing) as url:
        assert 1 == main(["compare", "--agent", url, "2h..1h", "1h..now"])
        assert f"{url}: nothing was measured in both periods" in capsys.readouterr().err
    assert 2 == main(["compare", "--agent", "http://127.0.0.1:1", "yesterday", "1h..now"])
    assert capsys.readouterr().err.startswith("'yesterday' is not a period: write 2h..1h, 90m..now or ")


def test_earlier_version(past, capsys):
    """An agent that tells no durations is compared by its history alone."""

    past.add(*an_hour_each(1.2))

    def told(query):
        asked = {key: values[0] for key, values in parse_qs(query).items()}
        period = (float(asked[key]) for key in ("from", "to", "step"))
        return lines.history(past.connection, selector.parse(asked["series"]), *period)

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
